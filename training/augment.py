"""What is done to the encoder's input in training (Mor et al. 2018, section 3.2).

The pitch shift is made for whole batches at once, on whatever device they are. Shapes: B segments, T samples, W samples
of a stretch, F bins, K frames.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.signal import iirpeak, lfilter
from torch import Tensor

RATE_HZ = 16000
FFT = 1024
HOP = 256
SHORTEST_S, LONGEST_S = 0.25, 0.5
LARGEST_SEMITONES = 0.5
FADE_SAMPLES = 64  # from the clean signal to the shifted stretch and back, so that its ends don't click
OVERSAMPLING = 2


def shift_pitch(audio: Tensor, semitones: Tensor, largest: float = 12.0) -> Tensor:
    """Each row of audio [B, W] shifted by its own semitones [B], at most `largest` either way; the length stays.

    A phase vocoder changes the length, and reading at another speed changes it back: librosa's `pitch_shift` does the
    same, one signal at a time, and is what this is tested against.
    """
    speed = 2.0 ** (semitones.to(audio) / 12.0)  # [B], above 1: higher
    stretched = _stretch(audio, 1.0 / speed, 2.0 ** (-largest / 12.0))
    return _read_at(stretched, speed, audio.shape[1])


def _stretch(audio: Tensor, rate: Tensor, slowest: float) -> Tensor:
    """Play audio [B, W] at `rate` [B] times its speed without changing its pitch.

    slowest: what no rate is below. It decides how long the result is, so that a GPU needn't be asked.
    """
    window = torch.hann_window(FFT, device=audio.device, dtype=audio.dtype)
    frames = F.pad(audio, (FFT // 2, FFT // 2 + HOP)).unfold(1, FFT, HOP)  # [B, K, FFT]
    spectrum = torch.fft.rfft(frames * window)  # [B, K, bins]
    magnitude = spectrum.abs()
    # What a bin's phase moves on by between two frames, less what its own frequency would: between -pi and pi.
    bins = torch.arange(FFT // 2 + 1, device=audio.device)
    expected = 2.0 * np.pi * ((bins * HOP) % FFT) / FFT
    turn = (spectrum[:, 1:] * spectrum[:, :-1].conj() * torch.polar(torch.ones_like(expected), -expected)).angle()
    turn = turn + expected

    last = frames.shape[1] - 2
    count = int(np.ceil(last / slowest)) + 1
    at = (torch.arange(count, device=audio.device) * rate[:, None]).clamp(max=last)  # [B, count], in frames
    before = at.floor().long().clamp(max=last)
    share = (at - before)[:, :, None]
    index = before[:, :, None].expand(-1, -1, len(bins))
    loud = torch.lerp(magnitude.gather(1, index), magnitude.gather(1, index + 1), share)
    phase = torch.cumsum(F.pad(turn.gather(1, index[:, :-1]), (0, 0, 1, 0)), dim=1) + spectrum[:, :1].angle()
    # The inverse transform at several times the rate, so that a cubic is enough to read between its samples.
    wide, step = FFT * OVERSAMPLING, HOP * OVERSAMPLING
    pieces = torch.fft.irfft(torch.polar(OVERSAMPLING * loud, phase), n=wide)  # [B, count, wide]
    window = torch.hann_window(wide, device=audio.device, dtype=audio.dtype) * (2.0 / 3.0)  # squares add up to 1.5
    pieces = (pieces * window).view(len(audio), count, FFT // HOP, step)
    out = torch.zeros(len(audio), count + FFT // HOP - 1, step, device=audio.device, dtype=audio.dtype)
    for part in range(FFT // HOP):
        out[:, part : part + count] += pieces[:, :, part]
    return out.flatten(1)[:, wide // 2 :]


def _read_at(audio: Tensor, speed: Tensor, samples: int) -> Tensor:
    """Samples [B, samples] of audio [B, N], which is oversampled, at multiples of `speed` [B], by cubic Lagrange."""
    at = torch.arange(samples, device=audio.device, dtype=torch.float32) * (OVERSAMPLING * speed[:, None].float())
    whole = at.floor()
    x = (at - whole).to(audio.dtype)
    padded = F.pad(audio, (1, 3))
    index = (whole.long()).clamp(max=padded.shape[1] - 4)
    y = [padded.gather(1, index + i) for i in range(4)]  # at -1, 0, 1 and 2
    third = (y[3] - y[0]) / 6.0 + (y[1] - y[2]) / 2.0
    second = (y[0] + y[2]) / 2.0 - y[1]
    return y[1] + x * ((y[2] - y[1]) - second - third + x * (second + x * third))


def shift_pitch_in_stretches(audio: Tensor, starts: Tensor, lengths: Tensor, semitones: Tensor) -> Tensor:
    """Rows of audio [B, T] with `lengths` [B] samples from `starts` [B] on out of tune by `semitones` [B].

    A row of length 0 is left as it is. The result is on audio's device and as good as audio's type.
    """
    longest = min(int(LONGEST_S * RATE_HZ), audio.shape[1])
    begin = starts.clamp(max=audio.shape[1] - longest)  # the vocoder hears the same number of samples of every row
    index = begin[:, None] + torch.arange(longest, device=audio.device)
    heard = audio.gather(1, index)
    shifted = shift_pitch(heard, semitones, LARGEST_SEMITONES)
    inside = index - starts[:, None]  # samples since the stretch began
    until = starts[:, None] + lengths[:, None] - 1 - index
    share = torch.minimum(inside, until).add(1).clamp(0, FADE_SAMPLES).to(audio.dtype) / FADE_SAMPLES
    return audio.scatter(1, index, heard + share * (shifted - heard))


def add_background(audio: np.ndarray, rng: np.random.Generator, loudest: float) -> np.ndarray:
    """Put a room's and a microphone's noise under what the encoder hears; float32 [samples] in and out.

    Its standard deviation is anything from a hundredth of `loudest` to all of it, each decade as likely, and its colour
    from white to that of a first-order low-pass at 130 Hz. With `loudest` 0 the audio itself, and no number is drawn.
    """
    clean = audio.astype(np.float32)
    if loudest == 0.0:
        return clean
    level = loudest * 10.0 ** rng.uniform(-2.0, 0.0)
    pole = rng.uniform(0.0, 0.95)
    noise = lfilter([math.sqrt(1.0 - pole * pole)], [1.0, -pole], rng.standard_normal(len(clean)))
    return clean + np.float32(level) * noise.astype(np.float32)


def _stretch_of_the_past(samples: int, rng: np.random.Generator, rate_hz: int) -> tuple[int, int]:
    """Start and length of 30 to 300 ms somewhere."""
    length = min(samples, int(rng.uniform(0.03, 0.3) * rate_hz))
    return int(rng.integers(samples - length + 1)), length


def fade_somewhere(audio: np.ndarray, rng: np.random.Generator, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Make a stretch of 30 to 300 ms quieter by 6 to 40 dB, or silent; float32 [samples] in and out.

    For the past that a decoder is taught with: it then learns to start a note again from its latent alone. Without it
    a decoder that runs free follows its own past into silence.
    """
    start, length = _stretch_of_the_past(len(audio), rng, rate_hz)
    gain = 0.0 if rng.random() < 0.3 else 10.0 ** (rng.uniform(-40.0, -6.0) / 20.0)
    out = audio.copy()
    out[start : start + length] *= np.float32(gain)
    return out


def ring_somewhere(audio: np.ndarray, rng: np.random.Generator, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Let a stretch of 30 to 300 ms ring, 6 to 24 dB louder about a frequency of 500 to 7,000 Hz; float32 [samples] in
    and out, within [-1, 1].

    For the past that a decoder is taught with, as `fade_somewhere`: it learns to find back to the sound of its
    instrument from a past in which one of its partials has grown.
    """
    start, length = _stretch_of_the_past(len(audio), rng, rate_hz)
    frequency, sharpness = 500.0 * 14.0 ** rng.random(), 2.0 * 15.0 ** rng.random()
    gain = 10.0 ** (rng.uniform(6.0, 24.0) / 20.0)
    out = audio.astype(np.float32)
    stretch = out[start : start + length]
    resonance = lfilter(*iirpeak(frequency, sharpness, fs=rate_hz), stretch)
    out[start : start + length] = np.clip(stretch + (gain - 1.0) * resonance, -1.0, 1.0)
    return out
