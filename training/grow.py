"""Decoders that begin as a smaller one: more layers, wider ones, and at first the same sound.

Net2Net (Chen, Goodfellow and Shlens 2016) for the WaveNet decoder: the small one's weights stand in a corner of the
large one's, what is new there starts at random, and nothing new reaches anything old before it has learnt to.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.decoder import Decoder
from rtserver.model_config import DecoderConfig


def fits(small: DecoderConfig, large: DecoderConfig) -> bool:
    """Whether a decoder can grow from `small` to `large`: by blocks, by layers at the end of each, by channels."""
    same = small.kernel_size == large.kernel_size and small.classes == large.classes
    sizes = ("blocks", "layers", "residual_channels", "skip_channels")
    return same and all(getattr(small, name) <= getattr(large, name) for name in sizes)


@torch.no_grad()
def grow(decoder: Decoder, weights: Mapping[str, Tensor], small: DecoderConfig) -> None:
    """Make a fresh decoder give the logits of a smaller one, whose state `weights` is, within float32's rounding.

    ValueError if the smaller one doesn't fit into it (see `fits`), or its latents have another size.
    """
    large = decoder.config
    if not fits(small, large):
        raise ValueError(f"a decoder of {small} can't grow to {large}: every size has to be as large or larger")
    if weights["output_latent.weight"].shape[1] != decoder.output_latent.weight.shape[1]:
        raise ValueError("a decoder can't grow to another number of latent channels")
    own = decoder.state_dict()
    for name in ("input", "input_skip", "output", "output_latent", "logits"):
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" in weights:  # all but the logits of a decoder that had other classes
                _embed(own[f"{name}.{kind}"], weights[f"{name}.{kind}"])
    for block in range(large.blocks):
        for layer in range(large.layers):
            mine = f"layers.{block * large.layers + layer}"
            if block < small.blocks and layer < small.layers:
                theirs = f"layers.{block * small.layers + layer}"
                for name in ("dilated", "latent", "residual", "skip"):
                    for kind in ("weight", "bias"):
                        # gate and content, one after the other, grow apart
                        halves = 2 if name in ("dilated", "latent") else 1
                        _embed(own[f"{mine}.{name}.{kind}"], weights[f"{theirs}.{name}.{kind}"], halves)
            else:
                for name, old in (("residual", small.residual_channels), ("skip", small.skip_channels)):
                    own[f"{mine}.{name}.weight"][:old] = 0.0
                    own[f"{mine}.{name}.bias"][:old] = 0.0


def _embed(into: Tensor, small: Tensor, parts: int = 1) -> None:
    """Old outputs hear what they heard, with the old weights, and nothing else; new ones keep what they are."""
    for whole, corner in zip(into.chunk(parts), small.chunk(parts), strict=True):
        rows = whole[: len(corner)]
        rows.zero_()
        rows[:, : corner.shape[1]].copy_(corner) if corner.ndim > 1 else rows.copy_(corner)
