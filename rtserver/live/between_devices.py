"""How much lies between two devices: as much as they need, learnt from the gaps that a performance has.

The ring between them (`csrc/live/drift_ring.h`) begins with what both were seen to move at once. Sound servers now and
then hold a device up for longer than that; each such moment is a gap that the audience hears.
"""

from __future__ import annotations

from collections import deque

SLACK_MS = 2.0  # beyond what the devices move at once
GAPS, GAPS_SECONDS = 2, 60.0  # so many gaps in so long mean that it is too little; one is an accident
GROWTH, MOST_MS = 1.5, 100.0


class Room:
    """Frames that should wait between the devices, at most 100 ms."""

    def __init__(self, rate_hz: int, moved_frames: int) -> None:
        """moved_frames: what both devices move at once."""
        self._most = round(MOST_MS * rate_hz / 1000.0)
        self.frames = min(self._most, moved_frames + round(SLACK_MS * rate_hz / 1000.0))
        self._seen = 0
        self._gaps: deque[float] = deque(maxlen=GAPS)

    def begin(self) -> None:
        """Both devices have been opened anew, and gaps are counted from 0."""
        self._seen = 0
        self._gaps.clear()

    def grows(self, gaps: int, now_s: float) -> bool:
        """Whether there has to be more room from now on, for so many gaps since `begin`.

        Room never shrinks: less delay would be heard as a skip, and the next gap would come.
        """
        self._gaps.extend([now_s] * min(GAPS, gaps - self._seen))
        self._seen = gaps
        if len(self._gaps) < GAPS or now_s - self._gaps[0] > GAPS_SECONDS or self.frames >= self._most:
            return False
        self._gaps.clear()
        self.frames = min(round(GROWTH * self.frames), self._most)
        return True
