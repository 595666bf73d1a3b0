"""The encoders that every implementation is held to PyTorch with."""

from __future__ import annotations

from dataclasses import replace

from rtserver.model_config import EncoderConfig

SMALL = EncoderConfig(blocks=2, layers=5, channels=16, latent_channels=5, hop_samples=64)
KINDS = {
    "causal": SMALL,
    "causal, kernel 2": replace(SMALL, kernel_size=2),
    "causal, activation first": replace(SMALL, pre_activation=True),
    "symmetric": replace(SMALL, causal=False),  # lookahead 63: one sample short of a hop
    "symmetric, kernel 5": replace(SMALL, causal=False, kernel_size=5),
    "symmetric, activation first": replace(SMALL, causal=False, pre_activation=True),
    "symmetric, whole hops ahead": replace(SMALL, causal=False, blocks=1, layers=5, hop_samples=16),
}
