"""The autoregressive WaveNet decoder of one domain. Trains with `forward`, streams with `step`.

Shapes: B batch, R residual channels, S skip channels, L latent channels, H hops, T samples (T = H * hop).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtserver.model_config import DecoderConfig


@dataclass
class DecoderState:
    """inputs [B, 1, 1]: the previous network input; histories: [B, R, dilation] past inputs a layer, oldest first."""

    inputs: Tensor
    histories: list[Tensor]


class GatedLayer(nn.Module):
    """Gated dilated convolution with a latent bias; gives the residual and the skip contribution.

    z = sigmoid(a) * tanh(b), where [a; b] = dilated(x) + latent(c): the first half of the channels is the gate.
    """

    def __init__(self, config: DecoderConfig, latent_channels: int, dilation: int) -> None:
        super().__init__()
        r, s = config.residual_channels, config.skip_channels
        self.dilation = dilation
        self.dilated = nn.Conv1d(r, 2 * r, config.kernel_size, dilation=dilation)
        self.latent = nn.Conv1d(latent_channels, 2 * r, 1)
        self.residual = nn.Conv1d(r, r, 1)
        self.skip = nn.Conv1d(r, s, 1)

    def forward(self, padded: Tensor, conditioning: Tensor) -> tuple[Tensor, Tensor]:
        """padded [B, R, T + dilation], conditioning [B, 2R, T] -> residual [B, R, T], skip [B, S, T]."""
        gate, content = (self.dilated(padded) + conditioning).chunk(2, dim=1)
        z = torch.sigmoid(gate) * torch.tanh(content)
        return self.residual(z), self.skip(z)


class Decoder(nn.Module):
    """WaveNet decoder of Mor et al. 2018, conditioned on latents held for `hop_samples` samples each."""

    def __init__(self, config: DecoderConfig, latent_channels: int, hop_samples: int) -> None:
        super().__init__()
        if config.kernel_size != 2:
            raise ValueError(f"the decoder's kernel size is 2, found {config.kernel_size}")
        self.config = config
        self.hop_samples = hop_samples
        r, s = config.residual_channels, config.skip_channels
        self.input = nn.Conv1d(1, r, 2)
        self.input_skip = nn.Conv1d(r, s, 1)
        self.layers = nn.ModuleList(GatedLayer(config, latent_channels, d) for d in config.dilations)
        self.output = nn.Conv1d(s, s, 1)
        self.output_latent = nn.Conv1d(latent_channels, s, 1)
        self.logits = nn.Conv1d(s, config.classes, 1)
        if config.prediction_order:
            self._expect_small_errors()

    @torch.no_grad()
    def _expect_small_errors(self) -> None:
        """Begin with the belief that predictions are a few codes wrong, and more is ever less likely."""
        classes = torch.arange(self.config.classes)
        bias = cast(Tensor, self.logits.bias)
        bias.copy_((-(classes - self.config.classes // 2).abs() / 4.0).clamp(min=-8.0))
        self.logits.weight.mul_(0.1)

    def _input(self, older: Tensor, newer: Tensor) -> Tensor:
        """[B, R, T] of network inputs [B, 1, T]: the sample before the last, or what is predicted, and the last."""
        return F.conv1d(torch.cat([older, newer], dim=1), self.input.weight.transpose(1, 2), self.input.bias)

    def _upsample(self, per_hop: Tensor, samples: int) -> Tensor:
        return per_hop.repeat_interleave(self.hop_samples, dim=2)[:, :, :samples]

    def _head(self, skip: Tensor, latents: Tensor) -> Tensor:
        hidden = self.output(F.relu(skip)) + self._upsample(self.output_latent(latents), skip.shape[2])
        return self.logits(F.relu(hidden))

    def forward(self, x: Tensor, latents: Tensor, ahead: Tensor | None = None) -> Tensor:
        """Teacher-forced logits [B, 256, T] of each sample given those before it.

        x: network inputs [B, 1, T] of the clean signal (see mu_law.network_input), shifted right in here;
        latents: [B, L, H] with H * hop_samples = T.
        ahead: of a decoder with linear prediction the network inputs [B, 1, T] that are predicted, not shifted
        (models/prediction.py); the logits are then those of its classes.
        """
        previous = F.pad(x[:, :, :-1], (1, 0))
        y = self._input(F.pad(previous[:, :, :-1], (1, 0)) if ahead is None else ahead, previous)
        skip = self.input_skip(y)
        for layer in self.layers:
            conditioning = self._upsample(layer.latent(latents), y.shape[2])
            residual, contribution = layer(F.pad(y, (layer.dilation, 0)), conditioning)
            y = y + residual
            skip = skip + contribution
        return self._head(skip, latents)

    def init_state(self, batch: int = 1) -> DecoderState:
        """The state before the first sample: every history zero."""
        like = self.input.weight
        return DecoderState(
            inputs=like.new_zeros(batch, 1, 1),
            histories=[like.new_zeros(batch, self.config.residual_channels, d) for d in self.config.dilations],
        )

    def step(
        self, previous: Tensor, latent: Tensor, state: DecoderState, ahead: Tensor | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Logits [B, 256, n] of the next n samples within one hop.

        previous [B, 1, n]: the network inputs of the samples just before each (zero before the stream starts);
        latent [B, L, 1]: the latent of the hop they lie in. Autoregressive generation has n = 1. ahead [B, 1, n]: as
        in `forward`.
        """
        joined = torch.cat([state.inputs, previous], dim=2)
        y = self._input(joined[:, :, :-1] if ahead is None else ahead, previous)
        skip = self.input_skip(y)
        histories: list[Tensor] = []
        for layer, past in zip(self.layers, state.histories, strict=False):
            padded = torch.cat([past, y], dim=2)
            histories.append(padded[:, :, padded.shape[2] - layer.dilation :])
            residual, contribution = layer(padded, layer.latent(latent))
            y = y + residual
            skip = skip + contribution
        hidden = self.output(F.relu(skip)) + self.output_latent(latent)
        return self.logits(F.relu(hidden)), DecoderState(joined[:, :, -1:], histories)
