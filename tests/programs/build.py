"""Builds the C++ programs that tests drive, with CMake, under build/, so that only changes cost.

What takes minutes is begun while other tests run: a module names it in AHEAD, for tests/conftest.py to call `ahead`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
IDLE = ("nice", "-n", "19")
PROGRAMS = ROOT / "build" / "tests"

_locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
_running: dict[subprocess.Popen[str], Path] = {}  # and the folders that they build
_waited_for: set[Path] = set()
_ended = threading.Event()


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


def build(wanted: Build, idle: bool = False) -> Path:
    """The file or folder that was built; `idle`: with the processors that nothing else wants, until somebody waits.

    CMake and Ninja come with the project's environment, which need not be in the path.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    cmake = shutil.which("cmake", path=path)
    assert cmake, "cmake built the engine: it is needed here too"
    generator = ["-GNinja"] if shutil.which("ninja", path=path) else []
    folder = str(wanted.folder)
    configure = [cmake, "-S", str(wanted.source), "-B", folder, *generator, *wanted.options]
    compile_it = [cmake, "--build", folder, "--target", wanted.target, "--parallel", "2"]
    if not idle:
        _waited_for.add(wanted.folder)
        _hurry(wanted.folder)
    with _locks[wanted.folder]:
        for command in (configure, compile_it):
            before = () if wanted.folder in _waited_for else IDLE
            _run([*before, *command], {**os.environ, "PATH": path}, wanted.folder)
    return wanted.file if wanted.file.exists() else wanted.folder


def _hurry(folder: Path) -> None:
    """As quick as everything else from now on, where that is permitted."""
    for process, place in list(_running.items()):
        if place == folder:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PGRP, process.pid, 0)


def _run(command: list[str], environment: dict[str, str], folder: Path = ROOT) -> None:
    assert not _ended.is_set(), "the tests have ended"
    # A group, which can be ended with all that it started; no session, which Linux would give a share of its own.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, process_group=0
    )
    _running[process] = folder
    try:
        said = process.communicate()[0]
    finally:
        del _running[process]
    assert process.returncode == 0, f"{' '.join(command)}\n{said}"


def ahead(work: Iterable[Build | tuple[str, ...]]) -> None:
    """Begin to build, and to run commands, one after the other, with the processors that nothing else wants.

    What fails is built again, and told, by the test that wants it.
    """

    def run() -> None:
        for wanted in dict.fromkeys(work):
            with contextlib.suppress(AssertionError, OSError):
                if isinstance(wanted, Build):
                    build(wanted, idle=True)
                else:
                    _run([*IDLE, *wanted], dict(os.environ))

    threading.Thread(target=run, daemon=True).start()


def end() -> None:
    """Stop what is still being built."""
    _ended.set()
    for process in list(_running):
        os.killpg(process.pid, signal.SIGTERM)


def engine_library() -> Path:
    """The static library of the engine that the extension was linked from: whoever has that built it here."""
    found = [path for path in (ROOT / "build").rglob("librtengine.a") if PROGRAMS not in path.parents]
    assert found, "build the extension in this tree first (make setup)"
    return max(found, key=lambda path: path.stat().st_mtime)
