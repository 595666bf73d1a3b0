"""What `bench stream` plays, and how it finds the delay of what comes back. Shapes: N frames, C channels, K lags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rtserver import whistle

Audio = npt.NDArray[np.float32]

# identity16k passes 7 kHz; noise up to 6 kHz is far enough from the filters' slopes at every host rate.
NOISE_BAND_HZ = 6000.0
NOISE_S = 10.0
# Correlated at a time. Long enough that noise against itself elsewhere stays 40 dB under the peak.
CORRELATION_S = 4.0


@dataclass(frozen=True)
class Delay:
    """frames: host frames by which the output follows the input (fractional when found by correlation).

    bit_exact: the output is the input, bit for bit, at that delay, in every block that was not missed.
    """

    frames: float
    bit_exact: bool


def noise(frames: int, rate_hz: int, channels: int, seed: int = 0) -> Audio:
    """Noise below 6 kHz (or 0.37 of a lower rate), float32 [N, C], repeating every 10 s, peaking at -6 dB."""
    period = min(frames, round(NOISE_S * rate_hz))
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((period, channels)), axis=0)
    spectrum[np.fft.rfftfreq(period, 1.0 / rate_hz) > min(NOISE_BAND_HZ, 0.37 * rate_hz)] = 0.0
    one = np.fft.irfft(spectrum, period, axis=0)
    one *= 0.5 / max(float(np.abs(one).max()), 1e-9)
    return _tile(one.astype(np.float32), frames)


def melody(frames: int, rate_hz: int, channels: int, seed: int = 0) -> Audio:
    """The whistled tune over and over, float32 [N, C]."""
    one = whistle.synthesise(whistle.tune(), rate_hz, seed)
    return _tile(np.repeat(one[:, None], channels, axis=1), frames)


def _tile(one: Audio, frames: int) -> Audio:
    repeats = -(-frames // max(len(one), 1))
    return np.ascontiguousarray(np.tile(one, (repeats, 1))[:frames])


def block_sizes(block: int | str, frames: int, largest: int, seed: int = 0) -> list[int]:
    """Sizes that add up to `frames`: all `block`, or for "varying" anything from 1 to `largest`."""
    if block != "varying":
        size = int(block)
        sizes = [size] * (frames // size)
    else:
        drawn = np.random.default_rng(seed).integers(1, largest + 1, size=2 + 3 * frames // largest)
        whole = int(np.searchsorted(np.cumsum(drawn), frames, "right"))
        sizes = [int(size) for size in drawn[:whole]]
    rest = frames - sum(sizes)
    return [*sizes, rest] if rest else sizes


def exact_delay(source: Audio, output: Audio, near: Delay, heard: npt.NDArray[np.bool_] | None = None) -> Delay:
    """Check that `output` [N, C] repeats `source` [N, C], bit for bit, after the whole delay `near` and silence.

    heard [N]: the frames of the output to look at, all by default.
    """
    lag = round(near.frames)
    if lag < 0:
        return Delay(float(lag), False)
    expected = np.concatenate([np.zeros_like(output[:lag]), source[: len(source) - lag]])
    same = expected.view(np.uint32) == output.view(np.uint32)
    return Delay(float(lag), bool(same.all() if heard is None else same[heard].all()))


def correlated_delay(source: Audio, output: Audio, longest: int) -> Delay | None:
    """Delay of `output` [N, C] against `source` [N, C], 0 to `longest` frames, to a hundredth of a frame.

    The peak of the cross-correlation of the middle of the recording, read between frames from the cross-spectrum.
    None if the two have less than a tenth of their energy in common.
    """
    a, b = source[:, 0].astype(np.float64), output[:, 0].astype(np.float64)
    length = len(a)
    if length <= longest + 1:
        return None
    size = 1 << (2 * length - 1).bit_length()
    cross = np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size)
    correlation = np.fft.irfft(cross, size)
    coarse = int(np.argmax(correlation[: longest + 2]))
    energy = np.sqrt(np.sum(a * a) * np.sum(b * b))
    if energy == 0.0 or correlation[coarse] < 0.1 * energy:
        return None
    strong = np.abs(cross) > 1e-3 * np.abs(cross).max()
    omega, cross = 2.0 * np.pi * np.fft.rfftfreq(size)[strong], cross[strong]
    lag = float(coarse)
    for step in (0.1, 0.01):
        lags = lag + step * np.arange(-10, 11)  # [K]
        lag = float(lags[np.argmax([np.sum((cross * np.exp(1j * omega * at)).real) for at in lags])])
    return Delay(round(lag, 2), False)


def excerpt(source: Audio, output: Audio, rate_hz: int) -> tuple[Audio, Audio]:
    """The last seconds of both: past the start of the stream, and as much as a correlation needs."""
    keep = min(len(source), round(CORRELATION_S * rate_hz))
    return source[-keep:], output[-keep:]
