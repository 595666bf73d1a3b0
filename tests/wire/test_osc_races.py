"""Remote audio under the thread sanitizer: two threads a side, and a control thread that comes and goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STREAM = (
    *("audio_thread", "ensemble", "intake", "mu_law", "remote_hub", "remote_session", "renderer", "resampler"),
    *("session", "worker"),
)
SOURCES = [
    Path(__file__).with_name("remote_program.cpp"),
    *sorted((ROOT / "plugin_bridge/src").glob("*.cpp")),
    *(ROOT / "csrc/stream" / f"{name}.cpp" for name in STREAM),
]
FLAGS = ["-std=c++20", "-O1", "-g", "-fsanitize=thread"]


@pytest.mark.skipif(sys.platform != "linux", reason="tested where the tests run")
def test_no_data_race(tmp_path: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++")
    assert compiler, "a C++ compiler built the engine: it is needed here too"
    empty = tmp_path / "empty.cpp"
    empty.write_text("int main() {}\n")
    if subprocess.run([compiler, *FLAGS, empty, "-o", tmp_path / "empty"], capture_output=True, check=False).returncode:
        pytest.skip("no thread sanitizer here")

    def compiled(source: Path) -> Path:
        out = tmp_path / f"{source.stem}.o"
        includes = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'plugin_bridge/include'}"]
        subprocess.run([compiler, *FLAGS, *includes, "-c", source, "-o", out], check=True)
        return out

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, SOURCES))
    program = tmp_path / "remote_program"
    subprocess.run([compiler, *FLAGS, *objects, "-o", program, "-lpthread", "-lrt"], check=True)
    result = subprocess.run([program], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr)[-6000:]
    assert result.stdout.strip() == "blocks=900 wrong=0"
