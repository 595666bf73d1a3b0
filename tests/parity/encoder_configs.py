"""The kinds of encoders that every implementation is tested with."""

from __future__ import annotations

from dataclasses import replace

from rtserver.model_config import EncoderConfig


def kinds(small: EncoderConfig) -> dict[str, EncoderConfig]:
    """A small causal encoder, and all that an encoder may be instead."""
    return {
        "causal": small,
        "causal, kernel 2": replace(small, kernel_size=2),
        "causal, activation first": replace(small, pre_activation=True),
        "symmetric": replace(small, causal=False),  # its lookahead is no multiple of the hop
        "symmetric, kernel 5": replace(small, causal=False, kernel_size=5),
        "symmetric, activation first": replace(small, causal=False, pre_activation=True),
        "symmetric, whole hops ahead": replace(small, causal=False, blocks=1, layers=5, hop_samples=16),
    }


SMALL = EncoderConfig(blocks=2, layers=5, channels=16, latent_channels=5, hop_samples=64)
KINDS = kinds(SMALL)
