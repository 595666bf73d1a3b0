"""The pitch of the newest instant and the note next to it, for meters and screens.

Light enough to run twenty times a second beside the sound; `rtserver.pitch` is the one that measures translations.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

WINDOW_S = 0.042
LOWEST_HZ, HIGHEST_HZ = 60.0, 2100.0
QUIETEST = 1.8e-3  # rms, -55 dB of full scale
CLEAREST = 0.85  # of 1: what the normalised autocorrelation must reach for a pitch
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def window_frames(rate_hz: int) -> int:
    """How many frames are looked at: a power of two, about 42 ms."""
    return 1 << round(math.log2(WINDOW_S * rate_hz))


def pitch_hz(audio: npt.NDArray[np.float32], rate_hz: int) -> float | None:
    """Fundamental of the last window of float32 mono audio [N]; None where nothing clear sounds, or N is too small.

    The normalised square difference of McLeod and Wyvill ("A smarter way to find pitch", 2005): its first high peak.
    """
    frames = window_frames(rate_hz)
    if len(audio) < frames:
        return None
    heard = audio[-frames:].astype(np.float64)
    heard -= heard.mean()
    squares = heard**2
    if squares.mean() < QUIETEST**2:
        return None
    transform = np.fft.rfft(heard, 2 * frames)
    correlation = np.fft.irfft(transform * transform.conj())[:frames]
    longest = min(int(rate_hz / LOWEST_HZ), frames - frames // 8)
    passed = np.concatenate(([0.0], np.cumsum(squares)))
    lags = np.arange(longest)
    energy = passed[frames - lags] + passed[frames] - passed[lags]
    clarity = 2 * correlation[:longest] / np.maximum(energy, 1e-12)
    below = np.flatnonzero(clarity < 0)
    if not len(below):
        return None
    first = max(int(below[0]), int(rate_hz / HIGHEST_HZ))
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


def note_name(hz: float) -> str:
    """The nearest note of the tempered scale and how many cents beside it: `A4 +3`."""
    semitones = 69.0 + 12.0 * np.log2(hz / 440.0)
    nearest = round(semitones)
    return f"{NAMES[nearest % 12]}{nearest // 12 - 1} {round(100.0 * (semitones - nearest)):+d}"
