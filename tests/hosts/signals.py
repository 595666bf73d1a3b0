"""What is played through the hosts, and how far two signals are apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def sine(frames: int, rate: int, hz: float = 220.0, channels: int = 2, level: float = 0.5) -> Floats:
    """[frames, channels], without an edge at its start; the channels differ."""
    t = np.arange(frames) / rate
    ramp = np.minimum(1.0, np.arange(frames) / (0.02 * rate))
    return np.stack(
        [level * ramp * np.sin(2 * np.pi * hz * (1 + 0.5 * channel) * t) for channel in range(channels)], 1
    ).astype(np.float32)


def burst(frames: int, rate: int, channels: int = 2, seed: int = 1) -> Floats:
    """Band-limited noise in the middle of silence, the same in every channel: its delay is unambiguous. [frames, C]."""
    rng = np.random.default_rng(seed)
    x = np.zeros(frames)
    begin, n = frames // 4, frames // 4
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum[np.fft.rfftfreq(n, 1 / rate) > 4000] = 0
    noise = np.fft.irfft(spectrum, n) * np.hanning(n)
    x[begin : begin + n] = 0.5 * noise / np.max(np.abs(noise))
    return np.repeat(x.astype(np.float32)[:, None], channels, axis=1)


def delay_of(y: Floats, x: Floats) -> tuple[int, float]:
    """Frames by which y is late, and how alike they are then (1: the same up to a gain); of the mean of channels."""
    a = np.asarray(x, dtype=np.float64).reshape(len(x), -1).mean(axis=1)
    b = np.asarray(y, dtype=np.float64).reshape(len(y), -1).mean(axis=1)
    size = 1 << (len(a) + len(b)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
    lag = int(np.argmax(np.abs(correlation)))
    lag = lag if lag < size // 2 else lag - size
    a_part = a[max(0, -lag) : len(b) - lag]
    b_part = b[max(0, lag) :][: len(a_part)]
    norm = float(np.sqrt(np.dot(a_part, a_part) * np.dot(b_part, b_part)))
    return lag, float(np.dot(a_part, b_part)) / norm if norm else 0.0


def largest_step(x: Floats) -> float:
    """The largest difference of neighbouring frames in any channel."""
    return float(np.max(np.abs(np.diff(x, axis=0)))) if len(x) > 1 else 0.0
