"""A decoder's weights in 4 bits: codes from -8 to 7 with a scale a row, for the matrices that every sample reads.

Rounding each weight to the nearest code leaves errors that add up. Here the error of a column, once rounded, is made up
for by the columns that are still to be rounded, as far as the inputs of both go together: E. Frantar, S. Ashkboos,
T. Hoefler, D. Alistarh, "GPTQ: accurate post-training quantization for generative pre-trained transformers" (2022),
after B. Hassibi and D. Stork's optimal brain surgeon (1992). A row gets, of a few scales, the one with the least error
of its product, which may cut off its greatest weights. Float64 throughout.
Shapes: R residual channels, S skip channels, n columns, K candidates for a scale.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rtserver.model_check import GREATEST_CODE, LEAST_CODE, Weights
from rtserver.moments import Moments

FloatArray = npt.NDArray[np.float64]

GREATEST_UNIT = 127.0  # of an int8 activation
QUIETEST = 128.0  # a channel's range is at least this part of its layer's greatest, as in csrc/cpu/quantized.cpp
# What rounding an activation to whole units adds to its second moment: a uniform error has the variance 1/12.
ROUNDING_VARIANCE = 1.0 / 12.0
DAMPING = 0.01  # added to each second moment, in parts of their mean: directions that were hardly heard don't steer
# Candidates for the scale of a row, in parts of the one with which its greatest weight is the greatest code.
SCALE_FACTORS = np.linspace(0.55, 1.05, 11)
# The engine adds latents and biases to a gate's sum in whole units of a scale; see kLeastGateScale in quantized.cpp.
LEAST_GATE_SCALE = 64.0 / 2**29
LEAST_SCALE = 1e-9
COLUMNS_AT_ONCE = 32


def quantise(weights: Weights, ranges: np.ndarray, x: Moments, z: Moments, damping: float = DAMPING) -> Weights:
    """The codes and scales of a decoder, by the names of `rtserver.model_check.code_shapes`.

    ranges: float32 [layers, R], greatest |input| of each channel. x, z: float64 [layers, R, R], mean products of the
    layers' inputs and gated outputs (`rtserver.moments`). A code times its row's scale is the weight of one unit of
    an int8 activation: the input's is a 127th of its range, z's a 127th. damping: the more, the less of the products
    there is to go by. Raises ValueError for moments not finite.
    """
    found: dict[str, list[np.ndarray]] = {}
    for i, (channels, of_x, of_z) in enumerate(zip(ranges, x, z, strict=True)):
        unit = input_units(channels)
        now = weights[f"layers.{i}.dilated.weight"][:, :, 1].astype(np.float64) * unit
        residual = weights[f"layers.{i}.residual.weight"][:, :, 0].astype(np.float64) / GREATEST_UNIT
        skip = weights[f"layers.{i}.skip.weight"][:, :, 0].astype(np.float64) / GREATEST_UNIT
        codes, scale = round_rows(now, of_x / np.outer(unit, unit), LEAST_GATE_SCALE, damping)
        mixed, mixed_scale = round_rows(np.concatenate([residual, skip]), of_z * GREATEST_UNIT**2, LEAST_SCALE, damping)
        r = len(residual)
        layer = {"now": codes, "now_scale": scale, "residual": mixed[:r], "residual_scale": mixed_scale[:r]}
        for name, array in {**layer, "skip": mixed[r:], "skip_scale": mixed_scale[r:]}.items():
            found.setdefault(name, []).append(array)
    return {name: np.stack(arrays) for name, arrays in found.items()}


def input_units(ranges: np.ndarray) -> FloatArray:
    """What one int8 unit of each channel [R] of a layer's input stands for, as the engine rounds it."""
    greatest = np.float32(ranges.max(initial=0.0))
    least = greatest / np.float32(QUIETEST) if greatest > 0.0 else np.float32(1.0)
    to_units = np.float32(GREATEST_UNIT) / np.maximum(ranges.astype(np.float32), least)
    units: FloatArray = 1.0 / to_units.astype(np.float64)
    return units


def round_rows(
    weight: FloatArray, moments: FloatArray, least_scale: float, damping: float = DAMPING
) -> tuple[np.ndarray, np.ndarray]:
    """Codes int8 [rows, n] and scales float32 [rows] of a matrix [rows, n]; moments [n, n]: its inputs' mean products.

    The rows are rounded with every candidate at once, the columns in order of decreasing power: the earlier a column,
    the more others are left to make up for its error.
    """
    if not np.isfinite(moments).all():
        raise ValueError("second moments of the activations: expected finite numbers; is this a trained network?")
    rows, n = weight.shape
    power = moments + ROUNDING_VARIANCE * np.eye(n)
    order = np.argsort(-np.diag(power), kind="stable")
    power = power[np.ix_(order, order)]
    damped = power + damping * np.mean(np.diag(power)) * np.eye(n)
    passed_on = np.linalg.cholesky(np.linalg.inv(damped)).T  # [n, n], upper

    greatest = np.abs(weight).max(axis=1, initial=0.0) / GREATEST_CODE
    candidates = np.maximum(np.outer(SCALE_FACTORS, greatest), least_scale).astype(np.float32)  # [K, rows]
    scale = candidates.astype(np.float64).ravel()
    wanted = np.tile(weight[:, order].T, len(SCALE_FACTORS))  # [n, K * rows]: a column lies together
    codes = _round_columns(wanted.copy(), scale, passed_on)
    error = wanted - codes * scale
    cost = np.einsum("ij,ij->j", error, power @ error).reshape(-1, rows)
    best = cost.argmin(axis=0)
    chosen = codes.reshape(n, -1, rows)[:, best, np.arange(rows)]  # [n, rows]
    found = np.empty((rows, n), np.int8)
    found[:, order] = chosen.T
    return found, candidates[best, np.arange(rows)]


def _round_columns(left: FloatArray, scale: FloatArray, passed_on: FloatArray) -> FloatArray:
    """Codes [n, m] of `left` [n, m], which is used up. A block of columns at a time passes its errors to the rest."""
    n = len(left)
    codes = np.empty_like(left)
    for first in range(0, n, COLUMNS_AT_ONCE):
        last = min(first + COLUMNS_AT_ONCE, n)
        errors = np.empty((last - first, left.shape[1]))
        for j in range(first, last):
            codes[j] = np.clip(np.rint(left[j] / scale), LEAST_CODE, GREATEST_CODE)
            errors[j - first] = (left[j] - codes[j] * scale) / passed_on[j, j]
            left[j + 1 : last] -= passed_on[j, j + 1 : last, None] * errors[j - first]
        left[last:] -= passed_on[first:last, last:].T @ errors
    return codes
