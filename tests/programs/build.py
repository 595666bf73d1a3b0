"""Builds the C++ programs that tests drive, with CMake, under build/, so that only changes cost."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "build" / "tests"
IDLE = 19  # nice level of what nobody waits for


class Build(NamedTuple):
    """A target of the CMake project in `source`, built in `folder` with options -DNAME=VALUE."""

    target: str
    folder: Path
    options: tuple[str, ...] = ()
    source: Path = ROOT / "tests/programs"

    @property
    def file(self) -> Path:
        """What a target that is a program becomes."""
        return self.folder / self.target


_locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)  # in a folder one build at a time
_failures: dict[Build, str] = {}  # what was built in this run: what the compiler said, or nothing
_running: dict[subprocess.Popen[str], Path] = {}  # and the folder that it builds
_hurried: set[Path] = set()
_ended = threading.Event()


def build(wanted: Build, idle: bool = False) -> Path:
    """The file or folder that was built, once in a run; AssertionError with the compiler's words, for each who asks.

    idle: with the processors that nothing else wants, until somebody else asks for the same.
    CMake and Ninja come with the project's environment, which need not be in the path.
    """
    if not idle:
        _hurry(wanted.folder)
    with _locks[wanted.folder]:
        if wanted not in _failures:
            with _to_itself(wanted.folder, idle):
                _failures[wanted] = _build(wanted)
    assert not _failures[wanted], _failures[wanted]
    return wanted.file if wanted.file.exists() else wanted.folder


@contextlib.contextmanager
def _to_itself(folder: Path, idle: bool) -> Iterator[None]:
    """`make test` runs tests in two processes: what one builds here the other waits for, and may hurry."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock_file(folder).open("a") as file:
        while fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                group = _lock_file(folder).read_text()
                if group and not idle:
                    _set_nice(int(group), 0)
                time.sleep(0.2)
        yield


def _lock_file(folder: Path) -> Path:
    """It holds the process group that builds in the folder, if one does."""
    return folder.with_name(f"{folder.name}.lock")


def _build(wanted: Build) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    cmake = shutil.which("cmake", path=path)
    assert cmake, "cmake built the engine: it is needed here too"
    generator = ["-GNinja"] if shutil.which("ninja", path=path) else []
    folder = str(wanted.folder)
    configure = [cmake, "-S", str(wanted.source), "-B", folder, *generator, *wanted.options]
    for command in (configure, [cmake, "--build", folder, "--target", wanted.target, "--parallel", "2"]):
        status, said = _run(command, {**os.environ, "PATH": path}, wanted.folder)
        if status:
            return f"{' '.join(command)}\n{said}"
    return ""


def _run(command: list[str], environment: dict[str, str], folder: Path) -> tuple[int, str]:
    if _ended.is_set():
        return 1, "the tests have ended"
    # A group can be hurried and ended with all that it started. No session: Linux would give it a share of its own.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, process_group=0
    )
    if folder not in _hurried:
        _set_nice(process.pid, IDLE)
    _running[process] = folder
    if folder in _hurried:  # perhaps meanwhile
        _set_nice(process.pid, 0)
    _lock_file(folder).write_text(str(process.pid))
    said = process.communicate()[0]
    _lock_file(folder).write_text("")
    del _running[process]
    return process.returncode, said


def _set_nice(group: int, level: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not permitted, over already, not on this system
        os.setpriority(os.PRIO_PGRP, group, level)


def _hurry(folder: Path) -> None:
    """As quick as everything else from now on, where that is permitted."""
    _hurried.add(folder)
    for process, place in list(_running.items()):
        if place == folder:
            _set_nice(process.pid, 0)


def end() -> None:
    """Stop what is still being built."""
    _ended.set()
    for process in list(_running):
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGTERM)


def compiler() -> str:
    """The one that CMake takes."""
    found = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert found, "a C++ compiler built the engine: it is needed here too"
    return found


def has_sanitizer(kind: str, folder: Path) -> bool:
    """Whether the compiler has what -fsanitize=`kind` needs; tried in `folder`."""
    probe = folder / "probe.cpp"
    probe.write_text("int main() {}\n")
    command = [compiler(), f"-fsanitize={kind}", str(probe), "-o", str(folder / "probe")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def engine_library() -> Path:
    """The static library of the engine that the extension was linked from: whoever has that built it here."""
    found = [path for path in (ROOT / "build").rglob("librtengine.a") if PROGRAMS not in path.parents]
    assert found, "build the extension in this tree first (make setup)"
    return max(found, key=lambda path: path.stat().st_mtime)
