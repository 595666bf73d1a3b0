"""The domain classifier of the confusion loss (Mor et al. 2018, section 3.3); used in training only."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn


class DomainClassifier(nn.Module):
    """Guess the domain of a stretch of latents: `depth` 1x1 convolutions with ELU, then the mean over time."""

    def __init__(self, latent_channels: int, domains: int, channels: int = 100, depth: int = 3) -> None:
        super().__init__()
        widths = [latent_channels] + [channels] * depth
        self.hidden = nn.ModuleList(nn.Conv1d(a, b, 1) for a, b in itertools.pairwise(widths))
        self.logits = nn.Conv1d(widths[-1], domains, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """latents [B, L, H] -> logits [B, domains]."""
        x = latents
        for layer in self.hidden:
            x = F.elu(layer(x))
        return self.logits(x).mean(dim=2)
