"""A client that plays in the background, at a sound card's pace, for as long as a test looks at it."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

import numpy as np

from rtserver.client import Bridge

RATE_HZ = 48000
BLOCK_FRAMES = 480


def sine(hz: float, seconds: float = 2.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A tone of -12 dB that can be repeated without a step."""
    periods = round(hz * seconds)
    return (0.25 * np.sin(2 * np.pi * periods * np.arange(int(seconds * rate_hz)) / (seconds * rate_hz))).astype("f4")


class Player:
    """Plays `sound` over and over through a bridge; a context manager."""

    def __init__(self, port: int, sound: np.ndarray | None = None, **options: Any) -> None:
        self.bridge = Bridge(port, RATE_HZ, BLOCK_FRAMES, **options)
        self._sound = sine(440.0) if sound is None else sound
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    @property
    def session(self) -> int:
        return self.bridge.session

    def __enter__(self) -> Player:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join()
        self.bridge.close()

    def _play(self) -> None:
        at, due = 0, time.monotonic()
        while not self._stopping.is_set():
            self.bridge.process(self._sound[at : at + BLOCK_FRAMES])
            at = (at + BLOCK_FRAMES) % (len(self._sound) // BLOCK_FRAMES * BLOCK_FRAMES)
            due = max(due + BLOCK_FRAMES / RATE_HZ, time.monotonic() - 0.05)
            time.sleep(max(0.0, due - time.monotonic()))
