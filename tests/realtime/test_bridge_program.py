"""What only C++ can check of the bridge: no allocation, lock or blocking call on the audio thread, and no data race."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A compiler built the engine: it is needed here too.
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++") or "c++"
UNUSED = (  # by programs that drive sessions: they only cost time
    *("remote", "osc", "udp", "hmac", "jitter", "block_driver"),
    *("control_client", "json", "latency", "launch"),
)
SESSION_SOURCES = [
    source
    for folder in ("plugin_bridge/src", "csrc/stream")
    for source in sorted((ROOT / folder).glob("*.cpp"))
    if not source.stem.startswith(UNUSED)
]
SOURCES = [Path(__file__).with_name("bridge_program.cpp"), *SESSION_SOURCES]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts calls by means of glibc")


def build(folder: Path, *flags: str) -> Path:
    def compile_one(source: Path) -> Path:
        out = folder / f"{source.stem}.o"
        includes = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'plugin_bridge/include'}"]
        command = [COMPILER, "-std=c++20", "-O1", *flags, *includes, "-c", str(source), "-o", str(out)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return out

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, SOURCES))
    out = folder / "bridge_program"
    subprocess.run([COMPILER, *flags, *map(str, objects), "-o", str(out), "-ldl", "-lpthread", "-lrt"], check=True)
    return out


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("bridge_program"))


def run(program: Path, mode: str) -> dict[str, int]:
    result = subprocess.run([program, mode], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-6000:]
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", result.stdout)}


def test_steady_streaming_allocates_nothing_on_any_thread(program: Path) -> None:
    found = run(program, "steady")
    assert (found["allocations"], found["locks"], found["waits"]) == (0, 0, 0)
    assert found["blocks"] == 400


def test_changing_servers_under_the_audio_thread_costs_it_nothing(program: Path) -> None:
    found = run(program, "turmoil")
    assert (found["allocations"], found["locks"], found["waits"]) == (0, 0, 0)
    assert found["misses"] > 0, "there was turmoil"


@pytest.mark.parametrize(
    ("fault", "counter", "count"), [("new", "allocations", 2), ("lock", "locks", 1), ("wait", "waits", 1)]
)
def test_planted_faults_are_found(program: Path, fault: str, counter: str, count: int) -> None:
    assert run(program, fault)[counter] == count


def has_thread_sanitizer(folder: Path) -> bool:
    probe = folder / "probe.cpp"
    probe.write_text("int main() {}")
    command = [COMPILER, "-fsanitize=thread", str(probe), "-o", str(folder / "probe")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_no_data_race(tmp_path: Path) -> None:
    if not has_thread_sanitizer(tmp_path):
        pytest.skip("no thread sanitizer here")
    assert run(build(tmp_path, "-fsanitize=thread", "-g"), "turmoil")["blocks"] == 4000
