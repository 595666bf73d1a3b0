"""A decoder's weights rounded to the nearest 4-bit code, for tests of the arithmetic, to which any codes are good."""

from __future__ import annotations

import numpy as np


def nearest_codes(weights: dict[str, np.ndarray], ranges: np.ndarray) -> dict[str, np.ndarray]:
    """What `_engine.Decoder` takes as `codes`; ranges float32 [layers, R]: greatest |input| of each layer."""
    units = np.maximum(ranges, np.maximum(ranges.max(axis=1, keepdims=True), 1e-3) / 128) / 127
    matrices = {
        "now": [weights[f"layers.{i}.dilated.weight"][:, :, 1] * unit for i, unit in enumerate(units)],
        "residual": [weights[f"layers.{i}.residual.weight"][:, :, 0] / 127 for i in range(len(units))],
        "skip": [weights[f"layers.{i}.skip.weight"][:, :, 0] / 127 for i in range(len(units))],
    }
    found: dict[str, np.ndarray] = {}
    for name, layers in matrices.items():
        scale = np.maximum(np.abs(np.stack(layers)).max(axis=2) / 7, 1e-9)
        found[name] = np.rint(np.stack(layers) / scale[..., None]).astype(np.int8)
        found[f"{name}_scale"] = scale.astype(np.float32)
    return found
