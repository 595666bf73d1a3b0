"""Whether something came too often soon after something else to have been chance."""

from __future__ import annotations

from math import comb


def of_as_many(total: int, soon: int, share: float) -> float:
    """The chance that of `total` things, each as likely at any time, `soon` or more lie in `share` of the time."""
    return sum(comb(total, k) * share**k * (1.0 - share) ** (total - k) for k in range(soon, total + 1))
