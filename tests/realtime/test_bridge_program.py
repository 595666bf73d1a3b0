"""What only C++ can check of the bridge: no allocation, lock or blocking call on the audio thread, and no data race."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs.build import build, has_sanitizer
from tests.programs.variants import session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts calls by means of glibc")


@pytest.fixture(scope="module")
def bridge_program() -> Path:
    return build(session("bridge_program"))


@pytest.fixture
def bridge_program_watched(tmp_path: Path) -> Path:
    """Under the thread sanitizer."""
    if not has_sanitizer("thread", tmp_path):
        pytest.skip("no thread sanitizer here")
    return build(session("bridge_program", races=True))


def run(program: Path, mode: str) -> dict[str, int]:
    result = subprocess.run([program, mode], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-6000:]
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", result.stdout)}


def test_steady_streaming_allocates_nothing_on_any_thread(bridge_program: Path) -> None:
    found = run(bridge_program, "steady")
    assert (found["allocations"], found["locks"], found["waits"]) == (0, 0, 0)
    assert found["blocks"] == 400


def test_changing_servers_under_the_audio_thread_costs_it_nothing(bridge_program: Path) -> None:
    found = run(bridge_program, "turmoil")
    assert (found["allocations"], found["locks"], found["waits"]) == (0, 0, 0)
    assert found["misses"] > 0, "there was turmoil"


@pytest.mark.parametrize(
    ("fault", "counter", "count"), [("new", "allocations", 2), ("lock", "locks", 1), ("wait", "waits", 1)]
)
def test_planted_faults_are_found(bridge_program: Path, fault: str, counter: str, count: int) -> None:
    assert run(bridge_program, fault)[counter] == count


def test_no_data_race(bridge_program_watched: Path) -> None:
    assert run(bridge_program_watched, "turmoil")["blocks"] == 4000
