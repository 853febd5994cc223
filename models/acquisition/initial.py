"""The first experiments: spread over the pool before any model can be trusted."""

from __future__ import annotations

import numpy as np

from models.acquisition.unit_features import Features


def initial_design(
    X: Features, eligible: np.ndarray, taken: np.ndarray, q: int, *, seed: int, subsample: int = 4096
) -> list[int]:
    """Choose rows that represent the pool, away from what is already taken: greedy k-means++.

    Each point is the best of a few drawn with probability proportional to the squared distance to the nearest point
    taken so far, best meaning that it lowers the sum of these distances most. So it covers where candidates are
    many, and is not drawn to outliers as a maximin design is.
    Arthur & Vassilvitskii, SODA 2007, "k-means++: the advantages of careful seeding".

    Args:
        X: (n, d) features of the pool, comparable scales.
        eligible: (k,) rows that may be chosen.
        taken: (t, d) features of observed and pending points.
        q: how many rows to choose.
        seed: the only source of randomness.
        subsample: how many eligible rows are looked at.

    Returns:
        At most ``q`` different rows of ``eligible``; fewer only where there are fewer.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(eligible, size=subsample, replace=False)) if len(eligible) > subsample else eligible
    Z = X[rows]
    gap = np.full(len(rows), np.inf)
    for point in taken:
        gap = np.minimum(gap, _squared_distance(Z, point))
    free = np.ones(len(rows), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < q and free.any():
        pick = _most_representative(Z, gap, free, rng)
        gap = np.minimum(gap, _squared_distance(Z, Z[pick]))
        free[pick] = False
        chosen.append(int(rows[pick]))
    return chosen


def _most_representative(Z: np.ndarray, gap: np.ndarray, free: np.ndarray, rng: np.random.Generator) -> int:
    weight = np.where(free, np.where(np.isfinite(gap), gap, 1.0), 0.0)
    if weight.sum() <= 0:  # every free row repeats a taken one
        weight = free.astype(float)
    draws = rng.choice(len(Z), size=min(24, int((weight > 0).sum())), replace=False, p=weight / weight.sum())
    left = [float(np.minimum(gap, _squared_distance(Z, Z[i])).sum()) for i in draws]
    return int(draws[int(np.argmin(left))])


def _squared_distance(Z: np.ndarray, point: np.ndarray) -> np.ndarray:
    return ((Z - point) ** 2).sum(axis=1)
