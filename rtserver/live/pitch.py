"""The pitch of what the microphone hears, for the screen: YIN (de Cheveigne and Kawahara, JASA 111(4), 2002).

Light enough to run ten times a second beside the sound; `rtserver.pitch` is the one that measures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LOWEST_HZ, HIGHEST_HZ = 50.0, 1600.0
THRESHOLD = 0.15  # of the normalised difference: eq. 8 and step 4 of the paper
QUIET = 1e-3  # rms
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def pitch_hz(audio: npt.NDArray[np.float32], rate_hz: int) -> float | None:
    """Fundamental of float32 mono audio [N], N at least two periods of the lowest; None where there is none."""
    step = max(1, rate_hz // 16000)
    x = np.asarray(audio, np.float64)
    x = x[: len(x) // step * step].reshape(-1, step).mean(axis=1)
    rate = rate_hz / step
    if len(x) < 64 or float(np.sqrt(np.mean(x**2))) < QUIET:
        return None
    longest = min(int(rate / LOWEST_HZ), len(x) // 2)
    shortest = max(2, int(rate / HIGHEST_HZ))
    window = len(x) - longest
    size = 1 << (len(x) + window - 1).bit_length()
    spectrum = np.fft.rfft(x, size) * np.conj(np.fft.rfft(x[:window], size))
    correlation = np.fft.irfft(spectrum, size)[: longest + 1]
    energy = np.concatenate(([0.0], np.cumsum(x**2)))
    difference = energy[window] + (energy[window : window + longest + 1] - energy[: longest + 1]) - 2.0 * correlation
    difference = np.maximum(difference, 0.0)
    normalised = np.ones(longest + 1)
    lags = np.arange(1, longest + 1)
    normalised[1:] = difference[1:] * lags / np.maximum(np.cumsum(difference[1:]), 1e-12)
    below = np.flatnonzero(normalised[shortest:] < THRESHOLD)
    if not len(below):
        return None
    lag = int(below[0]) + shortest
    while lag + 1 <= longest and normalised[lag + 1] < normalised[lag]:
        lag += 1
    return float(rate / (lag + _bend(normalised, lag)))


def _bend(curve: npt.NDArray[Any], at: int) -> float:
    """How far beside a sample the minimum of the parabola through it and its neighbours lies."""
    if not 0 < at < len(curve) - 1:
        return 0.0
    a, b, c = curve[at - 1 : at + 2]
    return float(0.5 * (a - c) / (a - 2 * b + c)) if a - 2 * b + c > 0 else 0.0


def note_name(hz: float) -> str:
    """The nearest note of the tempered scale and how many cents beside it: `A4 +3`."""
    semitones = 69.0 + 12.0 * np.log2(hz / 440.0)
    nearest = round(semitones)
    return f"{NAMES[nearest % 12]}{nearest // 12 - 1} {round(100.0 * (semitones - nearest)):+d}"
