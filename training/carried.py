"""What a machine without a network needs to render a corpus: `python -m training.carried FOLDER` gathers it here.

fluidsynth with its libraries (all but the C library's), a soundfont of 23 MB, and the wheels of the Python packages
that rendering imports. `training.lease --carried FOLDER` makes them usable there. Linux, the same kind of processor.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SOUNDFONT = Path("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3")  # Debian: fluidr3mono-gm-soundfont
PACKAGES = ("mido", "soundfile", "soxr", "cffi", "pycparser", "rich", "markdown-it-py", "mdurl", "pygments")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# The C library comes with the machine: its own loader wouldn't take another one.
TOOLS = "tools.tar.xz"
OF_THE_MACHINE = re.compile(r"(ld-linux.*|libc|libm|libdl|librt|libpthread|libresolv|libutil)\.so")
RUN = """#!/bin/sh
here=$(cd "$(dirname "$0")/.." && pwd)
LD_LIBRARY_PATH="$here/lib" exec "$here/lib/fluidsynth.bin" "$@"
"""


def gather(folder: Path, python: str, soundfont: Path) -> None:
    """Fill a folder; ends the program if fluidsynth or the soundfont isn't here."""
    program = shutil.which("fluidsynth")
    if program is None or not soundfont.exists():
        sys.exit(f"fluidsynth or {soundfont} is missing here: apt-get install fluidsynth fluidr3mono-gm-soundfont")
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = [p for p in re.findall(r"=> (/\S+)", listed) if not OF_THE_MACHINE.match(Path(p).name)]
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(folder / TOOLS, "w:xz") as archive:
        start = Path(scratch, "fluidsynth")
        start.write_text(RUN)
        start.chmod(0o755)
        archive.add(start, "bin/fluidsynth")
        archive.add(os.path.realpath(program), "lib/fluidsynth.bin")
        for path in libraries:
            archive.add(os.path.realpath(path), f"lib/{Path(path).name}")
    shutil.copy(soundfont, folder / soundfont.name)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, *(f"--platform={p}" for p in PLATFORMS)]
    subprocess.run([*command, "-d", str(folder / "wheels"), *PACKAGES], check=True)


def install(folder: Path, site: Path) -> None:
    """Make what was gathered usable, in this process and in those that it starts."""
    if wheels := sorted((folder / "wheels").glob("*.whl")):
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
        subprocess.run([*command, "--target", str(site), *map(str, wheels)], check=True)
        sys.path.insert(0, str(site))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    if (folder / TOOLS).exists():
        with tarfile.open(folder / TOOLS) as archive:
            archive.extractall(site / "tools", filter="data")
        os.environ["PATH"] = os.pathsep.join([str(site / "tools" / "bin"), os.environ["PATH"]])
    if fonts := sorted(folder.glob("*.sf[23]")):
        os.environ.setdefault("RTSERVER_SOUNDFONT", os.pathsep.join(str(f.resolve()) for f in fonts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="Python there (default: %(default)s)")
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT)
    arguments = parser.parse_args()
    gather(arguments.folder, arguments.python, arguments.soundfont)
    files = [p for p in arguments.folder.rglob("*") if p.is_file()]
    print(f"{arguments.folder}: {len(files)} files, {sum(p.stat().st_size for p in files) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
