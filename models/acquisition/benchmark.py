"""The planner that is scored from outside: which row of a measured pool next."""

from __future__ import annotations

import logging

import numpy as np

from models.acquisition.pool_gp import PoolGP, Posterior
from models.errors import DataError

TOP_FRACTION = 0.05
log = logging.getLogger(__name__)


class Planner:
    """Picks the row most likely to be among the best 5 % of the pool.

    A pool is finite, so "the best 5 %" is a known number of rows and the chance of each to be one of them follows from
    the beliefs about all (active search, Garnett et al., ICML 2012, arXiv:1206.6406; Jiang et al., ICML 2017,
    proceedings.mlr.press/v70/jiang17d). Beliefs come from ``PoolGP``. Equal arguments give equal choices, whatever was
    asked before.

    Args:
        X: features of the pool, shape (n, d).
        feature_names: their names; not used, no column is treated specially.
        seed: the only source of randomness.
    """

    def __init__(self, X: np.ndarray, feature_names: list[str], seed: int) -> None:
        if len(X) == 0:
            raise DataError("the pool is empty: give at least one row")
        self._n, self._seed = len(X), seed
        self._gp = PoolGP(np.asarray(X, dtype=float), seed)

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Return the next row, neither observed nor pending.

        Args:
            observed: rows measured so far.
            y: their values, more is better; one that is not finite counts as a failed measurement and is ignored.
            pending: rows under way; each is believed to come out as predicted, so that the next lies elsewhere.

        Raises:
            DataError: ``observed`` and ``y`` differ in length, or no row is left.
        """
        if len(observed) != len(y):
            raise DataError(f"{len(observed)} observed rows but {len(y)} values: give one value a row")
        free = np.ones(self._n, dtype=bool)
        free[[*observed, *pending]] = False
        if not free.any():
            raise DataError(f"all {self._n} rows are observed or pending: stop, or enlarge the pool")
        score = self.score(observed, y, pending)
        return int(np.flatnonzero(free)[np.argmax(score[free])])

    def score(self, observed: list[int], y: list[float], pending: list[int]) -> np.ndarray:
        """Return the probability of each row to be among the best 5 %, shape (n,)."""
        known = [(row, float(value)) for row, value in zip(observed, y, strict=True) if np.isfinite(value)]
        if not known:  # the most crowded place first; where the pool is even, anywhere
            return self._gp.trend + 1e-9 * np.random.default_rng(abs(self._seed)).random(self._n)
        rows, values = [row for row, _ in known], [value for _, value in known]
        try:
            return top_probability(*self._gp.believe(rows, values, pending))
        except np.linalg.LinAlgError as error:
            log.warning("no belief from %d experiments (%s): the next one is random", len(known), error)
            return np.random.default_rng([abs(self._seed), len(observed)]).random(self._n)


def top_probability(beliefs: Posterior, rows: list[int]) -> np.ndarray:
    """Return the probability of each row to be among the best 5 % of the pool, averaged over particles, shape (n,).

    In each particle the threshold is where the expected number of rows above it is 5 % of the pool; ``rows``, whose
    values are known, count with what was measured.
    """
    from scipy.special import ndtr

    mean, std = beliefs.mean.copy(), beliefs.std.copy()
    mean[:, rows], std[:, rows] = beliefs.observed, 1e-3
    wanted = max(1.0, TOP_FRACTION * mean.shape[1])
    low, high = (mean - 4 * std).min(axis=1), (mean + 4 * std).max(axis=1)
    for _ in range(18):
        middle = 0.5 * (low + high)
        many = ndtr((mean - middle[:, None]) / std).sum(axis=1) > wanted
        low, high = np.where(many, middle, low), np.where(many, high, middle)
    return ndtr((mean - high[:, None]) / std).mean(axis=0)
