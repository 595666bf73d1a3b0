"""Whose fault a crash of a host was, as far as its core tells: the stack of the thread that crashed."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from pathlib import Path

OURS = re.compile(r"rtserver|rtplugin|rtbridge")  # in a plugin's file, in its functions
FRAME = re.compile(r"^#\d+ +(.*)$", re.MULTILINE)


def let_it_leave_a_core(pid: int) -> None:
    """If the system writes cores where a process runs, this one will leave one."""
    hard = resource.prlimit(pid, resource.RLIMIT_CORE)[1]
    resource.prlimit(pid, resource.RLIMIT_CORE, (hard, hard))


def stack(program: Path, folder: Path) -> str:
    """The stack of the thread that crashed, from the core that `program` left in a folder; why there is none, if so.

    The core is removed: it is large.
    """
    cores = sorted(folder.glob("core*"))
    if not cores:
        pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
        return f"no core in {folder} (kernel.core_pattern is {pattern!r})"
    try:
        if not shutil.which("gdb"):
            return "no stack: gdb is not installed"
        command = ["gdb", "-batch", "-nx", "-ex", "bt", str(program), str(cores[-1])]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout
    finally:
        for core in cores:
            core.unlink()


def frames(told: str) -> list[str]:
    """The frames of a stack as gdb tells it, the innermost first."""
    return FRAME.findall(told[told.rfind("\n#0 ") + 1 :])


def not_ours(told: str, theirs: re.Pattern[str]) -> bool:
    """Whether a stack proves that a crash happened in the host's own code: one frame is `theirs`, none may be ours.

    A frame without a name in a file without a name may be anybody's.
    """
    found = frames(told)
    known = all(not ("?? ()" in frame and " from " not in frame) for frame in found)
    return known and not any(map(OURS.search, found)) and any(map(theirs.search, found))
