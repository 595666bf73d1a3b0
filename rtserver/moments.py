"""Second moments of a decoder's activations: what rounding its weights to 4 bits must know of them.

The decoder's arithmetic in float32 and plain numpy, teacher-forced, a layer over all samples at a time: nothing waits
for the sample before, so that it is a handful of large products, faster than sample by sample in the engine.
Shapes: H hops, L latent channels, R residual channels, S skip channels, T samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rtserver import _engine
from rtserver.model_check import Weights

FloatArray = npt.NDArray[np.float32]
Moments = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]


def input_moments(
    config: dict[str, Any], weights: Weights, latents: FloatArray, codes: Codes
) -> tuple[Moments, Moments]:
    """Mean products of what enters the matrices of each layer, from a fresh state: (x, z), float64 [layers, R, R] each.

    x: the layer's input, of which `_engine.Decoder.input_ranges` measures the greatest; z: its gated output, of which
    the residual and the skip product are made. config, weights: as `_engine.Decoder` takes them. latents [H, L] and
    codes [T] with T <= H * hop_samples and T > 0.
    """
    layers, r = config["blocks"] * config["layers"], config["residual_channels"]
    past = codes.astype(np.float32) / np.float32(255) - np.float32(0.5)
    older, newer = (np.concatenate([np.zeros(n, np.float32), past])[: len(past)] for n in (2, 1))
    if order := config.get("prediction_order", 0):
        older = _engine.predictions(order, past[None])[0]
    hop_of = np.arange(len(codes)) // config["hop_samples"]
    first = weights["input.weight"][:, 0]
    y = np.outer(older, first[:, 0]) + np.outer(newer, first[:, 1]) + weights["input.bias"]
    found_x, found_z = np.empty((layers, r, r)), np.empty((layers, r, r))
    for i in range(layers):
        own = {name: weights[f"layers.{i}.{name}"] for name in _OF_A_LAYER}
        found_x[i] = _mean_products(y)
        dilation = 2 ** (i % config["layers"])
        gated = y @ own["dilated.weight"][:, :, 1].T
        gated[dilation:] += y[:-dilation] @ own["dilated.weight"][:, :, 0].T
        conditioned = latents @ own["latent.weight"][:, :, 0].T + own["latent.bias"] + own["dilated.bias"]
        gated += conditioned[hop_of]
        z = (np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * gated[:, :r])) * np.tanh(gated[:, r:])
        found_z[i] = _mean_products(z)
        y += z @ own["residual.weight"][:, :, 0].T + own["residual.bias"]
    return found_x, found_z


_OF_A_LAYER = ("dilated.weight", "dilated.bias", "latent.weight", "latent.bias", "residual.weight", "residual.bias")


def _mean_products(x: FloatArray) -> Moments:
    """[R, R] of x [T, R], summed in float64."""
    exact = x.astype(np.float64)
    found: Moments = exact.T @ exact / len(x)
    return found
