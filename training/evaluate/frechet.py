"""Frechet distance of two sets of embeddings (Heusel et al. 2017; Kilgour et al. 2019 for audio).

Between the Gaussians that have their means and covariances: |m - n|^2 + tr(S + T - 2 (S T)^(1/2)). The embeddings are
the domain classifier's last hidden layer, which needs nothing downloaded; so the figures compare with each other and
not with published ones.
"""

from __future__ import annotations

import numpy as np


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of float64 [n, E] and [m, E]; nan with fewer than two rows. Smaller samples read larger: compare like counts."""
    if len(a) < 2 or len(b) < 2:
        return float("nan")
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # tr (S T)^(1/2) through the symmetric S^(1/2) T S^(1/2), which has the same eigenvalues and real ones.
    values, vectors = np.linalg.eigh(s)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ t @ root)
    means = float(np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2))
    return max(0.0, means + float(np.trace(s) + np.trace(t)) - 2.0 * float(np.sqrt(np.maximum(mixed, 0.0)).sum()))
