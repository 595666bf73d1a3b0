"""Levels and spectrum of the newest frames of a ring: what the meters show. N frames, mono, float32.

For the eye: a picture every 50 ms, not a measurement.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rtserver.tuner import window_frames

Audio = npt.NDArray[np.float32]  # [N]

FLOOR_DB = -90.0
BANDS = 96  # of the spectrogram, equally wide in octaves
LOWEST_HZ, HIGHEST_HZ = 50.0, 8000.0  # the network hears no higher


def mono(frames: npt.NDArray[np.float32]) -> Audio:
    """The mean of the channels of frames [N, ch], with what is no number as silence."""
    mean: Audio = frames.mean(axis=1, dtype=np.float32)
    return np.nan_to_num(mean, nan=0.0, posinf=0.0, neginf=0.0)


def levels_db(frames: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Peak over the channels and RMS, dB of full scale, of frames [N, ch]; the floor when there are none."""
    if not frames.size:
        return FLOOR_DB, FLOOR_DB
    clean = np.nan_to_num(frames, nan=0.0, posinf=0.0, neginf=0.0)
    return _db(float(np.abs(clean).max())), _db(math.sqrt(float(np.mean(clean.astype(np.float64) ** 2))))


def spectrum(audio: Audio, rate_hz: int) -> bytes:
    """Levels of BANDS bands, low to high, a byte each: 0 is the floor, 255 full scale. Silence if N is too small."""
    frames = window_frames(rate_hz)
    if len(audio) < frames:
        return bytes(BANDS)
    window, starts = _bands(rate_hz, frames)
    power = np.abs(np.fft.rfft(audio[-frames:] * window)) ** 2
    loudest = np.maximum.reduceat(power, starts)[:-1]
    level_db = 10 * np.log10(np.maximum(loudest, 1e-12))
    return np.clip(255 * (1 - level_db / FLOOR_DB), 0, 255).astype(np.uint8).tobytes()


@lru_cache(maxsize=16)
def _bands(rate_hz: int, frames: int) -> tuple[Audio, npt.NDArray[np.intp]]:
    """The window, scaled so that a sine of full scale reads 0 dB, and each band's first bin, with an end after them.

    A band narrower than a bin shows the bin that it lies in.
    """
    window = np.hanning(frames)
    edges = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (np.arange(BANDS + 1) / BANDS)
    starts = np.minimum(np.round(edges * frames / rate_hz), frames // 2).astype(np.intp)
    return (window * 2 / window.sum()).astype(np.float32), starts


def _db(amplitude: float) -> float:
    return round(max(FLOOR_DB, 20 * math.log10(max(amplitude, 1e-9))), 1)
