"""The room and the recording: random equalisation and reverberation of a rendered reel.

Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve, sosfilt

RATE_HZ = 16000


def vary(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two bells and a shelf of up to 4 dB each, and in three of five cases a room; [N] in and out, delay-free."""
    out = audio
    for _ in range(2):
        out = sosfilt(_bell(rng.uniform(120.0, 5000.0), rng.uniform(-4.0, 4.0), rng.uniform(0.5, 1.2)), out)
    out = sosfilt(_high_shelf(rng.uniform(1500.0, 5000.0), rng.uniform(-4.0, 3.0)), out)
    if rng.random() < 0.6:
        out = reverberate(out, rng.uniform(0.25, 1.8), rng.uniform(0.03, 0.25), rng)
    return np.asarray(out, dtype=audio.dtype)


def reverberate(audio: np.ndarray, decay_s: float, wet: float, rng: np.random.Generator) -> np.ndarray:
    """Add `wet` of a diffuse room, whose energy falls by 60 dB in `decay_s`, beside the direct sound."""
    t = np.arange(int(decay_s * RATE_HZ)) / RATE_HZ
    room = rng.standard_normal(len(t)) * 10.0 ** (-3.0 * t / decay_s)
    # Air and walls take the treble first: a one-pole low-pass, and nothing before the first reflections.
    room = sosfilt(_one_pole(rng.uniform(0.2, 0.6)), room)
    room[: int(rng.uniform(0.005, 0.02) * RATE_HZ)] = 0.0
    room /= np.sqrt(np.sum(room**2)) + 1e-12
    tail = fftconvolve(audio, room)[: len(audio)]
    return np.asarray((1.0 - wet) * audio + 2.0 * wet * tail)


def _one_pole(feedback: float) -> np.ndarray:
    return np.array([[1.0 - feedback, 0.0, 0.0, 1.0, -feedback, 0.0]])


def _bell(frequency_hz: float, gain_db: float, quality: float) -> np.ndarray:
    """A peaking filter after R. Bristow-Johnson's Audio EQ Cookbook."""
    a = 10.0 ** (gain_db / 40.0)
    w = 2.0 * np.pi * frequency_hz / RATE_HZ
    alpha = np.sin(w) / (2.0 * quality)
    return _section([1 + alpha * a, -2 * np.cos(w), 1 - alpha * a], [1 + alpha / a, -2 * np.cos(w), 1 - alpha / a])


def _high_shelf(frequency_hz: float, gain_db: float) -> np.ndarray:
    """A shelf of slope 1 from the same source."""
    a = 10.0 ** (gain_db / 40.0)
    w = 2.0 * np.pi * frequency_hz / RATE_HZ
    c, root = np.cos(w), 2.0 * np.sqrt(a) * np.sin(w) / np.sqrt(2.0)
    b = [a * (a + 1 + (a - 1) * c + root), -2 * a * (a - 1 + (a + 1) * c), a * (a + 1 + (a - 1) * c - root)]
    return _section(b, [a + 1 - (a - 1) * c + root, 2 * (a - 1 - (a + 1) * c), a + 1 - (a - 1) * c - root])


def _section(b: list[float], a: list[float]) -> np.ndarray:
    return np.array([[*(x / a[0] for x in b), *(x / a[0] for x in a)]])
