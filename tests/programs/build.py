"""Builds the engine without Python, with the C++ programs that test it; under build/, so that only changes cost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(program: str, variant: str, **options: str) -> Path:
    """The built `program`; `options` are cmake's, of a `variant` with a folder of its own."""
    cmake = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    assert cmake, "cmake built the engine: it is needed here too"
    folder = ROOT / "build" / "programs" / variant
    configure = [cmake, "-S", str(ROOT / "tests/programs"), "-B", str(folder)]
    configure += [f"-D{name}={value}" for name, value in options.items()]
    for command in (configure, [cmake, "--build", str(folder), "--target", program, "--parallel", "2"]):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return folder / program


def engine_library() -> Path:
    """The static library of the engine that the extension was linked from: whoever has that built it here."""
    programs = ROOT / "build" / "programs"
    found = [path for path in (ROOT / "build").rglob("librtengine.a") if programs not in path.parents]
    assert found, "build the extension in this tree first (make setup)"
    return max(found, key=lambda path: path.stat().st_mtime)
