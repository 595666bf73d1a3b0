"""The universal encoder: audio at 16 kHz to one latent vector a hop. Trains with `forward`, streams with `step`.

Behind a filter bank (`EncoderConfig.front_end`) the same convolutions run once a hop instead of once a sample.
Shapes: B batch, C channels, T samples, H hops (T = H * hop_samples), K inputs (1, or bins of the filter bank), L latent
channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.constant_q import ConstantQ
from rtserver.model_config import EncoderConfig


@dataclass
class EncoderState:
    """Past inputs of every convolution, and where in the stream the next sample lies.

    histories: one [B, C, (kernel - 1) * dilation] tensor a convolution, oldest first (K channels for the first).
    position: samples taken so far.
    audio: [B, 1, past_samples] that a filter bank's windows reach back to; empty without one.
    """

    histories: list[Tensor]
    audio: Tensor
    position: int = 0


class ResidualLayer(nn.Module):
    """x + mix(relu(dilated(x))), or with the ReLU first (`pre_activation`)."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, pre_activation: bool) -> None:
        super().__init__()
        self.dilation = dilation
        self.pre_activation = pre_activation
        self.dilated = nn.Conv1d(channels, channels, kernel_size, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)

    def branch(self, padded: Tensor) -> Tensor:  # [B, C, T + (k-1)d] -> [B, C, T]
        if self.pre_activation:
            return self.mix(self.dilated(F.relu(padded)))
        return self.mix(F.relu(self.dilated(padded)))


class Encoder(nn.Module):
    """WaveNet-like encoder of Mor et al. 2018, section 3.1, causal or symmetric."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        if config.front_end is not None and not config.causal:
            raise ValueError("expected a causal encoder behind a filter bank, found a symmetric one")
        self.config = config
        k = config.kernel_size
        self.front_end = None if config.front_end is None else ConstantQ(config.front_end, config.hop_samples)
        self.input = nn.Conv1d(config.inputs, config.channels, k)
        self.layers = nn.ModuleList(
            ResidualLayer(config.channels, k, d, config.pre_activation) for d in config.dilations
        )
        self.latent = nn.Conv1d(config.channels, config.latent_channels, 1)

    def _ahead(self, dilation: int) -> int:
        """Samples after the current one that a convolution reads."""
        return 0 if self.config.causal else (self.config.kernel_size - 1) // 2 * dilation

    def _pad(self, x: Tensor, dilation: int) -> Tensor:
        total, ahead = (self.config.kernel_size - 1) * dilation, self._ahead(dilation)
        return F.pad(x, (total - ahead, ahead))

    def forward(self, x: Tensor) -> Tensor:
        """Encode whole signals: network inputs [B, 1, T] to latents [B, L, H]. T must be a multiple of the hop.

        Network inputs are audio as `ModelConfig.input_encoding` says.
        """
        if self.front_end is not None:
            x = self.front_end(x)
        x = self.input(self._pad(x, 1))
        for layer in self.layers:
            x = x + layer.branch(self._pad(x, layer.dilation))
        latents: Tensor = self.latent(x)
        return latents if self.front_end is not None else F.avg_pool1d(latents, self.config.hop_samples)

    def init_state(self, batch: int = 1) -> EncoderState:
        """The state before the first sample: silence by zero padding, as in `forward`."""
        k, c = self.config.kernel_size, self.config.channels
        like = self.input.weight
        histories = [like.new_zeros(batch, self.config.inputs, k - 1)]
        histories += [like.new_zeros(batch, c, (k - 1) * d) for d in self.config.dilations]
        # Samples of latent projections that wait for the rest of their hop (lookahead encoders only).
        pending = -self.config.lookahead_samples % self.config.hop_samples if not self.config.causal else 0
        histories.append(like.new_zeros(batch, self.config.latent_channels, pending))
        audio = like.new_zeros(batch, 1, 0 if self.front_end is None else self.front_end.past_samples)
        return EncoderState(histories, audio)

    def step(self, x: Tensor, state: EncoderState, end: int | None = None) -> tuple[Tensor, EncoderState]:
        """Take the next hop [B, 1, hop_samples] of the stream and give one latent [B, L, 1].

        A causal encoder gives the latent of the hop it was handed. A lookahead encoder gives the latent of the hop
        `ceil(lookahead / hop)` earlier: the first that many latents belong to no hop and are to be dropped.
        end: length of the signal in samples, known when it has ended; samples beyond it are padding in every layer
        (of no consequence behind a filter bank, which looks back only).
        """
        past, samples, hop = state.histories, x.shape[2], self.config.hop_samples
        audio = torch.cat([state.audio, x], dim=2)
        audio = audio[:, :, audio.shape[2] - state.audio.shape[2] :]
        if self.front_end is not None:
            x, hop = self.front_end.of_padded(torch.cat([state.audio, x], dim=2)), 1
        histories: list[Tensor] = []
        delay = 0  # by how much this layer's output lags behind the input of the network, in samples

        def extend(index: int, new: Tensor, dilation: int) -> Tensor:
            joined = torch.cat([past[index], new], dim=2)
            histories.append(joined[:, :, joined.shape[2] - past[index].shape[2] :])
            return joined

        def inside(y: Tensor, lag: int) -> Tensor:
            """Zero what lies outside of the signal, where `forward` pads with zeros."""
            if self.front_end is not None or (self.config.causal and end is None):
                return y
            time = torch.arange(y.shape[2], device=y.device) + (state.position - lag)
            mask = (time >= 0) & (time < (end if end is not None else 2**62))
            return torch.where(mask, y, torch.zeros((), dtype=y.dtype, device=y.device))

        x = inside(x, 0)
        y = self.input(extend(0, x, 1))
        delay += self._ahead(1)
        y = inside(y, delay)
        for i, layer in enumerate(self.layers, start=1):
            joined = extend(i, y, layer.dilation)
            ahead = self._ahead(layer.dilation)
            start = joined.shape[2] - y.shape[2] - ahead
            y = joined[:, :, start : start + y.shape[2]] + layer.branch(joined)
            delay += ahead
            y = inside(y, delay)
        z = torch.cat([past[-1], self.latent(y)], dim=2)
        histories.append(z[:, :, hop:])
        latent = z[:, :, :hop].mean(dim=2, keepdim=True)
        return latent, EncoderState(histories, audio, state.position + samples)
