"""Levels, spectrum and pitch of the newest frames of a ring: what the meters show. N frames, mono, float32.

For the eye: a picture every 50 ms, not a measurement. The evaluation's pitch tracker is another (`rtserver.pitch`).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]  # [N]

FLOOR_DB = -90.0
BANDS = 96  # of the spectrogram, equally wide in octaves
LOWEST_HZ, HIGHEST_HZ = 50.0, 8000.0  # the network hears no higher
WINDOW_S = 0.042
LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 60.0, 2100.0
QUIETEST_PITCH_DB = -55.0
CLEAREST = 0.85  # of 1: what the normalised autocorrelation must reach for a pitch


def window_frames(rate_hz: int) -> int:
    """How many frames `spectrum` and `pitch_hz` want: a power of two, about 42 ms."""
    return 1 << round(math.log2(WINDOW_S * rate_hz))


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


def pitch_hz(audio: Audio, rate_hz: int) -> float | None:
    """The pitch of the newest window, None where nothing clear sounds.

    The normalised square difference of McLeod and Wyvill ("A smarter way to find pitch", 2005): its first high peak.
    """
    frames = window_frames(rate_hz)
    if len(audio) < frames:
        return None
    heard = audio[-frames:].astype(np.float64)
    heard -= heard.mean()
    squares = heard**2
    if _db(math.sqrt(squares.mean())) < QUIETEST_PITCH_DB:
        return None
    transform = np.fft.rfft(heard, 2 * frames)
    correlation = np.fft.irfft(transform * transform.conj())[:frames]
    longest = min(int(rate_hz / LOWEST_PITCH_HZ), frames - frames // 8)
    passed = np.concatenate(([0.0], np.cumsum(squares)))
    lags = np.arange(longest)
    energy = passed[frames - lags] + passed[frames] - passed[lags]
    clarity = 2 * correlation[:longest] / np.maximum(energy, 1e-12)
    below = np.flatnonzero(clarity < 0)
    if not len(below):
        return None
    first = max(int(below[0]), int(rate_hz / HIGHEST_PITCH_HZ))
    inner = clarity[first + 1 : -1]
    if not len(inner):
        return None
    peaks = first + 1 + np.flatnonzero((inner >= clarity[first:-2]) & (inner > clarity[first + 2 :]))
    left, top, right = clarity[peaks - 1], clarity[peaks], clarity[peaks + 1]
    aside = 0.5 * (left - right) / np.minimum(left - 2 * top + right, -1e-12)  # of a parabola through the three
    heights = top - 0.25 * (left - right) * aside
    if not len(peaks) or heights.max() < CLEAREST:
        return None
    chosen = int(np.argmax(heights >= 0.93 * heights.max()))
    return float(rate_hz / (peaks[chosen] + aside[chosen]))


def _db(amplitude: float) -> float:
    return round(max(FLOOR_DB, 20 * math.log10(max(amplitude, 1e-9))), 1)
