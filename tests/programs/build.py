"""Builds the C++ programs that tests drive, with CMake, under build/, so that only changes cost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "build" / "tests"


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


def build(wanted: Build) -> Path:
    """The file or folder that was built.

    CMake and Ninja come with the project's environment, which need not be in the path.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    cmake = shutil.which("cmake", path=path)
    assert cmake, "cmake built the engine: it is needed here too"
    generator = ["-GNinja"] if shutil.which("ninja", path=path) else []
    folder = str(wanted.folder)
    configure = [cmake, "-S", str(wanted.source), "-B", folder, *generator, *wanted.options]
    for command in (configure, [cmake, "--build", folder, "--target", wanted.target, "--parallel", "2"]):
        result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return wanted.file if wanted.file.exists() else wanted.folder


def engine_library() -> Path:
    """The static library of the engine that the extension was linked from: whoever has that built it here."""
    found = [path for path in (ROOT / "build").rglob("librtengine.a") if PROGRAMS not in path.parents]
    assert found, "build the extension in this tree first (make setup)"
    return max(found, key=lambda path: path.stat().st_mtime)
