"""Keys of a terminal as they are pressed, without Enter. Not on a terminal: none ever."""

from __future__ import annotations

import os
import select
import sys
from types import TracebackType
from typing import Any

_ARROWS = {"[A": "up", "[B": "down", "[C": "right", "[D": "left", "OA": "up", "OB": "down", "OC": "right", "OD": "left"}


class Keys:
    """Context manager; leaves the terminal as it found it."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None
        self._descriptor = -1

    def __enter__(self) -> Keys:
        if os.name == "nt" or not sys.stdin.isatty():
            return self
        import termios
        import tty

        self._descriptor = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def wait(self, seconds: float) -> list[str]:
        """Keys pressed by now, or until one is pressed or the time is over."""
        if os.name == "nt":
            return _wait_windows(seconds)
        if self._before is None:
            select.select([], [], [], seconds)
            return []
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        return split(os.read(self._descriptor, 64).decode(errors="replace")) if ready else []


def split(typed: str) -> list[str]:
    """Keys in what a terminal sent: letters, and `up`, `down`, `left`, `right`."""
    keys: list[str] = []
    at = 0
    while at < len(typed):
        if typed[at] == "\x1b":
            arrow = _ARROWS.get(typed[at + 1 : at + 3])
            if arrow:
                keys.append(arrow)
            at += 3 if arrow else 1
            continue
        keys.append(typed[at])
        at += 1
    return keys


def _wait_windows(seconds: float) -> list[str]:
    import time

    msvcrt: Any = __import__("msvcrt")
    deadline = time.monotonic() + seconds
    keys: list[str] = []
    while not keys and time.monotonic() < deadline:
        while msvcrt.kbhit():
            key = msvcrt.getwch()
            if key in ("\x00", "\xe0"):
                arrow = {"H": "up", "P": "down", "M": "right", "K": "left"}.get(msvcrt.getwch())
                keys += [arrow] if arrow else []
            else:
                keys.append(key)
        time.sleep(0.01)
    return keys
