"""Mu-law companding between audio in [-1, 1] and 256 codes, and the scalar that a network sees for each code.

Two kinds. `rounded` is ours: symmetric, rounding to the nearest code. `published` reproduces the official
music-translation code: it truncates on encoding and decodes from `(code - 128) / 128`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rtserver.model_config import MuLawKind

MU = 255.0


def compand(signal: Tensor) -> Tensor:
    """Signal in [-1, 1], any shape, to [-1, 1]: what is faint gets more room."""
    return torch.sign(signal) * torch.log1p(MU * signal.abs()) / float(np.log1p(MU))


def expand(companded: Tensor) -> Tensor:
    """Its inverse."""
    return torch.sign(companded) * (torch.pow(1.0 + MU, companded.abs()) - 1.0) / MU


def encode(audio: Tensor, kind: MuLawKind = "rounded") -> Tensor:
    """Compand audio in [-1, 1] (clipped), any shape, to int64 codes 0..255."""
    scaled = (compand(audio.clamp(-1.0, 1.0)) + 1.0) * 0.5 * MU
    return (scaled + 0.5 if kind == "rounded" else scaled).floor().clamp(0, 255).long()


def decode_table(kind: MuLawKind = "rounded") -> np.ndarray:
    """float32[256]: the audio value of each code."""
    code = np.arange(256, dtype=np.float64)
    companded = 2.0 * code / MU - 1.0 if kind == "rounded" else (code - 128.0) / 128.0
    return expand(torch.from_numpy(companded)).numpy().astype(np.float32)


def decode(codes: Tensor, kind: MuLawKind = "rounded") -> Tensor:
    """float32 audio of int codes, any shape."""
    return torch.from_numpy(decode_table(kind)).to(codes.device)[codes.long()]


def network_input(codes: Tensor) -> Tensor:
    """float32 scalar in [-0.5, 0.5] that encoder and decoder see for a code (published code: code / 255 - 0.5)."""
    return codes.float() / 255.0 - 0.5
