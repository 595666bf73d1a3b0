"""Remote audio under the thread sanitizer: two threads a side, and a control thread that comes and goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs.build import build, has_sanitizer
from tests.programs.variants import session


@pytest.fixture
def remote_program(tmp_path: Path) -> Path:
    if not has_sanitizer("thread", tmp_path):
        pytest.skip("no thread sanitizer here")
    return build(session("remote_program", races=True))


@pytest.mark.skipif(sys.platform != "linux", reason="tested where the tests run")
def test_no_data_race(remote_program: Path) -> None:
    result = subprocess.run([remote_program], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr)[-6000:]
    assert result.stdout.strip() == "blocks=900 wrong=0"
