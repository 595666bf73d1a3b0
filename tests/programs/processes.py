"""Programs that a test has started."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

PATIENCE_SECONDS = 5


def end(started: Sequence[subprocess.Popen[str]] | Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate them, the last one first, and kill who doesn't listen."""
    for process in reversed(started):
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
