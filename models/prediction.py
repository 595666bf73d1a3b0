"""Linear prediction beside a decoder: a guess at the next sample that the decoder then says the error of.

A narrow WaveNet spends most of what it has on following partials that a filter of 128 taps follows by itself, if its
coefficients are those of the sound that was just played. So a decoder with `prediction_order` hears the guess in place
of the sample before the last, and its 256 classes count from it: class 128 is the guess's own code, and so on around
the 256 codes. The engine's is csrc/cpu/linear_prediction.h, where the source is named.
Shapes: B segments, T samples.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models import mu_law
from rtserver import _engine

WINDOW_SAMPLES, TAPER_SAMPLES, RENEWAL_SAMPLES = 1024, 128, 160
WHITE, FLOOR = 1e-3, 1e-7
MIDDLE = 128  # the class of the guess


def ahead(past: Tensor, order: int) -> Tensor:
    """Network inputs [B, T] of what is predicted at each sample, given past network inputs [B, T] before it.

    order: samples that a prediction looks back, 1 to 1024.
    """
    if past.device.type != "cpu":
        return ahead_by_torch(past, order)
    return torch.from_numpy(_engine.predictions(order, past.detach().float().contiguous().numpy()))


def ahead_by_torch(past: Tensor, order: int) -> Tensor:
    """The same in PyTorch, for other devices and as a reference."""
    signal = mu_law.expand(2.0 * past.detach().double().clamp(-0.5, 0.5))
    samples = signal.shape[1]
    padded = F.pad(signal, (WINDOW_SAMPLES, -samples % RENEWAL_SAMPLES))
    windowed = padded.unfold(1, WINDOW_SAMPLES, RENEWAL_SAMPLES)[:, : -(-samples // RENEWAL_SAMPLES)] * _window(past)
    power = torch.fft.rfft(windowed, 2 * WINDOW_SAMPLES).abs().square()
    r = torch.fft.irfft(power, 2 * WINDOW_SAMPLES)[..., : order + 1]
    r[..., 0] = r[..., 0] * (1.0 + WHITE) + FLOOR
    lag = torch.arange(order, device=past.device)
    taps = torch.linalg.solve(r[..., (lag[:, None] - lag).abs()], r[..., 1:])  # [B, renewals, order], newest first
    before = padded[:, WINDOW_SAMPLES - order : -1].unfold(1, order, 1).unfold(1, RENEWAL_SAMPLES, RENEWAL_SAMPLES)
    guesses = torch.einsum("bnkt,bnk->bnt", before, taps.flip(2)).flatten(1)[:, :samples]
    return (0.5 * mu_law.compand(guesses.clamp(-1.0, 1.0))).to(past.dtype)


def _window(like: Tensor) -> Tensor:
    """A sine that rises and a cosine that falls, float64 [window]."""
    rise = WINDOW_SAMPLES - TAPER_SAMPLES
    up = np.sin(0.5 * np.pi * (np.arange(rise) + 0.5) / rise)
    down = np.cos(0.5 * np.pi * (np.arange(TAPER_SAMPLES) + 0.5) / TAPER_SAMPLES)
    return torch.from_numpy(np.concatenate([up, down])).to(like.device)


def classes_of(codes: Tensor, ahead: Tensor) -> Tensor:
    """The classes int64 that stand for codes, given the network inputs that were predicted; any shape."""
    return torch.remainder(codes - _nearest(ahead) + MIDDLE, 256)


def codes_of(classes: Tensor, ahead: Tensor) -> Tensor:
    """Its inverse."""
    return torch.remainder(classes + _nearest(ahead) - MIDDLE, 256)


def _nearest(network_input: Tensor) -> Tensor:
    return ((network_input.float() + 0.5) * 255.0 + 0.5).floor().long()
