"""Latents of two sessions mixed on the way from the encoder to the decoder: the paper's semantic blending, live."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Latent = npt.NDArray[np.float32]  # [latent_channels]
STALE_SECONDS = 0.25  # a source that has stopped must not hold its last note


class Blending:
    """Which session is mixed with which. `mixed` belongs to the encoder thread, `set` to the thread of the pipe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sources: dict[int, tuple[float, int]] = {}  # replaced as a whole, never changed in place
        self._newest: dict[int, tuple[Latent, float]] = {}  # of every session, and when it came; the encoder thread's

    def set(self, session: int, amount: float, source: int) -> None:
        """amount: 0 (off) to 1 (the source alone)."""
        others = {key: value for key, value in self._sources.items() if key != session}
        self._sources = {**others, session: (amount, source)} if amount > 0 else others

    def mixed(self, session: int, latent: Latent) -> Latent:
        """What a session's decoder gets: its own latent, the very same, unless it is blended with a live source."""
        sources = self._sources
        if not sources:
            self._newest.clear()
            return latent
        now = self._clock()
        self._newest[session] = latent, now
        amount, source = sources.get(session, (0.0, 0))
        other, came = self._newest.get(source, (None, 0.0))
        if amount <= 0 or other is None or now - came > STALE_SECONDS or other.shape != latent.shape:
            return latent
        return (np.float32(1 - amount) * latent + np.float32(amount) * other).astype(np.float32, copy=False)
