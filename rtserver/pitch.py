"""How far the pitch of a translation follows its input: the figure that the demo, the cards and the evaluation report.

Pitch tracks come from swift-f0 (an ONNX network, 46.9 to 2,094 Hz, one value every 16 ms). Shapes: N samples, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rtserver.errors import UserError

FloatArray = npt.NDArray[np.float32]
TOLERANCE_CENTS = 50.0
FRAME_S = 256 / 16000
LARGEST_DELAY_S = 0.2


@dataclass(frozen=True)
class PitchTrack:
    """f0_hz [F]: the pitch of each 16 ms frame; voiced [F] bool: whether there is one."""

    f0_hz: FloatArray
    voiced: npt.NDArray[np.bool_]

    @property
    def times_s(self) -> FloatArray:
        return np.arange(len(self.f0_hz), dtype=np.float32) * np.float32(FRAME_S)


@dataclass(frozen=True)
class PitchAgreement:
    """Of the frames in which both are voiced: the share within 50 cents, as it is and with octaves folded.

    delay_s: the constant delay of the output, 0 to 0.2 s, at which the agreement was best and is stated.
    voiced_both: share of the input's voiced frames in which the output is voiced too.
    chance: the same share when the output is set against another part of the input (half its length away).
    """

    within_50_cents: float
    within_50_cents_any_octave: float
    median_cents: float
    voiced_both: float
    frames: int
    delay_s: float
    chance: float


def track(audio: FloatArray, rate_hz: int) -> PitchTrack:
    """Pitch of float32 mono audio [N]. UserError if swift-f0 is not installed."""
    try:
        from swift_f0 import SwiftF0
    except ImportError:
        raise UserError("measuring pitch needs swift-f0: `pip install --no-deps swift-f0`") from None
    result = SwiftF0(threads=1, spin=False).detect(audio, rate_hz)
    return PitchTrack(np.asarray(result.pitch_hz, np.float32), result.confidence >= 0.5)


def agreement(source: PitchTrack, output: PitchTrack) -> PitchAgreement:
    """Compare the track of a translation with that of its input."""
    frames = min(len(source.f0_hz), len(output.f0_hz))
    delays = range(min(frames, round(LARGEST_DELAY_S / FRAME_S) + 1))
    best = max(delays, key=lambda d: _within(*_cents(source, output, d)), default=0)
    cents, voiced_share = _cents(source, output, best)
    folded = np.abs((cents + 600.0) % 1200.0 - 600.0)
    chance, _ = _cents(source, output, best, turn=frames // 2)
    return PitchAgreement(
        within_50_cents=_share(np.abs(cents)),
        within_50_cents_any_octave=_share(folded),
        median_cents=float(np.median(np.abs(cents))) if len(cents) else float("nan"),
        voiced_both=voiced_share,
        frames=len(cents),
        delay_s=best * FRAME_S,
        chance=_share(np.abs(chance)),
    )


def _within(cents: FloatArray, voiced_share: float) -> float:
    return _share(np.abs(cents)) * voiced_share


def _share(distance: FloatArray) -> float:
    return float(np.mean(distance <= TOLERANCE_CENTS)) if len(distance) else 0.0


def _cents(source: PitchTrack, output: PitchTrack, delay: int, turn: int = 0) -> tuple[FloatArray, float]:
    """Differences in cents in commonly voiced frames, and the share of the source's voiced frames they make up."""
    frames = min(len(source.f0_hz), len(output.f0_hz) - delay)
    a, b = np.roll(source.f0_hz[:frames], turn), output.f0_hz[delay : delay + frames]
    voiced = np.roll(source.voiced[:frames], turn)
    both = voiced & output.voiced[delay : delay + frames]
    cents = 1200.0 * np.log2(np.maximum(b[both], 1.0) / np.maximum(a[both], 1.0))
    return cents.astype(np.float32), float(both.sum() / max(1, voiced.sum()))
