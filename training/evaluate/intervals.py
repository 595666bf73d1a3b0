"""Means with bootstrap intervals: how far a figure could be off because these segments were chosen and not others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def interval(values: Sequence[float] | np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of [n]; NaN values are left out, none gives (nan, nan)."""
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = kept[rng.integers(0, len(kept), (RESAMPLES, len(kept)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def summary(values: Sequence[float] | np.ndarray, digits: int = 4, seed: int = 0) -> dict[str, object]:
    """mean, interval [low, high] and n of the finite values of [n]; null where there are none."""
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return {"mean": None, "interval": None, "n": 0}
    low, high = interval(kept, seed)
    return {
        "mean": round(float(kept.mean()), digits),
        "interval": [round(low, digits), round(high, digits)],
        "n": len(kept),
    }
