"""A constant-Q filter bank in front of the encoder: log magnitudes at pitches a quarter-tone apart, once a hop.

Frequencies are spaced as notes are, so that a melody in another register is the same picture elsewhere, and a network
a hundredth as costly as one on the waveform can read it. Every filter's window ends with the newest sample: nothing is
heard later than it must be. High partials tell of an onset within milliseconds, low ones of the pitch as soon as they
can.
Shapes: B batch, T samples, H hops (T = H * hop_samples), K bins, N samples of the longest window.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtserver.model_config import SAMPLE_RATE_HZ, ConstantQConfig

# The peak of a window lies at 0.5 ** (1 / SKEW), 0.63 of its length, instead of in its middle: nearer to now.
SKEW = 1.5
FLOOR = 1e-7  # added to squared magnitudes of a full scale of 1: -70 dB
SCALE, OFFSET = 0.25, 2.0  # of the natural logarithm, so that silence gives -2 and full scale 2


def kernels(config: ConstantQConfig) -> np.ndarray:
    """The filters, float64 [2, K, N]: cosines, then sines, windowed, the newest sample last.

    A sine of amplitude A at the frequency of a bin gives it the magnitude A.
    """
    found = np.zeros((2, config.bins, config.window_samples))
    for k in range(config.bins):
        hz = 440.0 * 2.0 ** ((config.lowest_note - 69) / 12.0 + k / config.bins_per_octave)
        length = min(config.window_samples, round(config.periods * SAMPLE_RATE_HZ / hz))
        window = np.sin(np.pi * ((np.arange(length) + 0.5) / length) ** SKEW) ** 2
        angle = 2.0 * math.pi * hz / SAMPLE_RATE_HZ * np.arange(1 - length, 1)
        window *= 2.0 / window.sum()
        found[0, k, -length:] = window * np.cos(angle)
        found[1, k, -length:] = window * np.sin(angle)
    return found


class ConstantQ(nn.Module):
    """Audio to log magnitudes; nothing in it is learnt."""

    kernels: Tensor  # [2 K, 1, N]

    def __init__(self, config: ConstantQConfig, hop_samples: int) -> None:
        super().__init__()
        self.config, self.hop_samples = config, hop_samples
        values = torch.from_numpy(kernels(config)).float().reshape(2 * config.bins, 1, config.window_samples)
        self.register_buffer("kernels", values, persistent=False)

    @property
    def past_samples(self) -> int:
        """Samples before a hop that its magnitudes depend on."""
        return self.config.window_samples - self.hop_samples

    def forward(self, audio: Tensor) -> Tensor:
        """Audio [B, 1, T] in [-1, 1], silence before it, to [B, K, H]."""
        return self.of_padded(F.pad(audio, (self.past_samples, 0)))

    def of_padded(self, audio: Tensor) -> Tensor:
        """Audio [B, 1, past_samples + T] to [B, K, H]. In float32 whatever the mode: magnitudes span 70 dB."""
        with torch.autocast(audio.device.type, enabled=False):
            found = F.conv1d(audio.float(), self.kernels.float(), stride=self.hop_samples)
            power = found.square().unflatten(1, (2, self.config.bins)).sum(dim=1)
            return SCALE * torch.log(power + FLOOR) + OFFSET
