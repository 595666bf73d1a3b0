"""The control process yields to audio, its own worker's and everybody's."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

CONTROL_NICE = 5


def lower_priority() -> None:
    """Make the calling thread yield to audio. Linux only: elsewhere it would be the whole process, worker included."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), CONTROL_NICE)
