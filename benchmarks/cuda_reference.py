"""The decoder as the GPU's kernel computes it (csrc/cuda/kernel.h), with weights rounded as its are, in float64.

What is left between this and the kernel is the rounding of its sums. Needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def rounding(precision: str) -> Callable[[Array], Array]:
    """What a precision makes of a matrix [rows, columns]."""
    if precision == "fp16":
        return lambda m: m.astype(np.float32).astype(np.float16).astype(np.float64)
    if precision == "bf16":
        return lambda m: _bf16(m.astype(np.float32)).astype(np.float64)
    if precision == "int8":
        return _int8
    return lambda m: m.astype(np.float32).astype(np.float64)


def _bf16(m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    bits = np.ascontiguousarray(m).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def _int8(m: Array) -> Array:  # a scale a row, of either tap on its own
    scale = (np.abs(m.astype(np.float32)).max(axis=1, keepdims=True) / np.float32(127)).astype(np.float64)
    return np.clip(np.rint(m / np.where(scale > 0, scale, 1)), -127, 127) * scale


def logits(
    config: Mapping[str, Any],
    weights: Mapping[str, npt.NDArray[np.float32]],
    precision: str,
    latents: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
) -> Array:
    """Teacher-forced logits [T, 256]; latents [H, L], codes [T]."""
    rounded = rounding(precision)
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    samples = len(codes)
    x = np.concatenate([np.zeros(2), codes / 255.0 - 0.5])  # of the two samples before each
    c = np.repeat(latents.astype(np.float64), config["hop_samples"], axis=0)[:samples]
    taps = w["input.weight"][:, 0]
    y = np.outer(x[:samples], taps[:, 0]) + np.outer(x[1 : samples + 1], taps[:, 1]) + w["input.bias"]
    skip = y @ w["input_skip.weight"][:, :, 0].T + w["input_skip.bias"]
    z: Array | None = None
    for i in range(config["blocks"] * config["layers"]):
        layer = {
            name: w[f"layers.{i}.{name}"] for name in ("dilated.weight", "dilated.bias", "skip.weight", "skip.bias")
        }
        now, past = layer["dilated.weight"][:, :, 1], layer["dilated.weight"][:, :, 0]
        gated = y @ rounded(now).T
        if z is not None:  # composed with the residual product before it, and that of float32 matrices
            residual, bias = w[f"layers.{i - 1}.residual.weight"][:, :, 0], w[f"layers.{i - 1}.residual.bias"]
            gated += z @ rounded(now @ residual).T + bias @ now.T
            y = y + z @ rounded(residual).T + bias
        shifted = np.zeros_like(y)
        dilation = 1 << i % config["layers"]
        shifted[dilation:] = y[:-dilation] if dilation < samples else 0.0
        gated += shifted @ rounded(past).T + layer["dilated.bias"]
        gated += c @ w[f"layers.{i}.latent.weight"][:, :, 0].T + w[f"layers.{i}.latent.bias"]
        gate, content = np.split(gated, 2, axis=1)
        z = np.tanh(content) / (1.0 + np.exp(-gate))
        skip = skip + z @ rounded(layer["skip.weight"][:, :, 0]).T + layer["skip.bias"]
    hidden = np.maximum(skip, 0.0) @ rounded(w["output.weight"][:, :, 0]).T + w["output.bias"]
    hidden += c @ w["output_latent.weight"][:, :, 0].T + w["output_latent.bias"]
    return np.maximum(hidden, 0.0) @ rounded(w["logits.weight"][:, :, 0]).T + w["logits.bias"]
