"""The sample loop asks nothing of the heap, of locks or of the kernel; planted faults show that the check can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rtserver import _engine
from tests.programs.build import engine_library

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts calls by means of glibc and seccomp")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ program that drives the loop, with the engine as it was built for the extension."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler, "a C++ compiler built the engine: it is needed here too"
    out = tmp_path_factory.mktemp("engine_allocation") / "engine_allocation"
    source = Path(__file__).with_name("engine_allocation.cpp")
    command = [compiler, "-std=c++20", "-O1", f"-I{ROOT / 'csrc'}", source, engine_library(), "-o", out]
    result = subprocess.run([*map(str, command), "-ldl", "-lpthread"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return out


def run(program: Path, isa: str, fault: str, precision: str = "fp32") -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, isa, precision, fault], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("precision", _engine.PRECISIONS)
@pytest.mark.parametrize("isa", _engine.available_isas())
def test_sample_loop_neither_allocates_nor_locks_nor_calls_the_kernel(program: Path, isa: str, precision: str) -> None:
    result = run(program, isa, "none", precision)
    assert (result.returncode, result.stdout) == (0, "allocations=0 locks=0 codes=800 latents=19 filtered=20\n")


@pytest.mark.parametrize(
    ("fault", "found"), [("new", "allocations=2 locks=0"), ("malloc", "allocations=2 locks=0"), ("lock", "locks=1")]
)
def test_planted_faults_are_counted(program: Path, fault: str, found: str) -> None:
    result = run(program, "auto", fault)
    assert result.returncode == 0
    assert found in result.stdout


def test_a_planted_system_call_is_fatal(program: Path) -> None:
    result = run(program, "auto", "syscall")
    assert result.returncode == -9
    assert result.stdout == ""


@pytest.mark.parametrize("precision", _engine.PRECISIONS)
@pytest.mark.parametrize("isa", _engine.available_isas())
def test_codes_do_not_depend_on_the_length_of_calls(program: Path, isa: str, precision: str) -> None:
    """The stream's threads ask for chunks of 16; Python asks for whole hops."""
    result = run(program, isa, "split", precision)
    assert result.returncode == 0
    assert result.stdout.startswith("splits=equal first=")
