"""Intervals that hold: a factor on the stated standard deviation, from predictions of rows that the model had not seen.

Split conformal prediction with the score |error| / std (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random
World, 2005; Angelopoulos and Bates, 2021, arXiv 2107.07511), and its adaptive form under distribution shift (Gibbs and
Candes, NeurIPS 2021, arXiv 2106.00170).
"""

from __future__ import annotations

import numpy as np

Z90 = 1.6448536269514722
"""Half-width, in standard deviations, of the central 90 % of a Gaussian."""


def conformal_factor(truth: np.ndarray, mean: np.ndarray, std: np.ndarray, level: float = 0.9) -> float:
    """Return what to multiply ``std`` by, so that mean +- 1.645 std holds ``level`` of new rows; 1 without rows.

    The ceil((n + 1) level)-th smallest score: a finite sample covers at least ``level`` on average.
    """
    score = np.sort(np.abs(truth - mean) / np.maximum(std, 1e-12))
    if not len(score):
        return 1.0
    rank = min(int(np.ceil((len(score) + 1) * level)), len(score))
    return float(max(score[rank - 1], 1e-6) / Z90)


def coverage(truth: np.ndarray, mean: np.ndarray, std: np.ndarray) -> float:
    """Share of rows inside mean +- 1.645 std (the stated 90 % interval)."""
    return float(np.mean(np.abs(truth - mean) <= Z90 * std))


class AdaptiveFactor:
    """The factor under drift: every measured result moves it, so that misses stay at 10 % in the long run.

    The quantile of recent scores (a window) at a level that rises after a miss and falls after a hit.

    Args:
        scores: |error| / std of held-out rows, to begin with.
        level: wanted coverage.
        step: how fast the level moves.
        window: how many of the latest scores count.
        miss: the share of misses that is aimed at by now, where an earlier factor goes on with other scores.

    Attributes:
        scores: those that count.
        miss: the share of misses that is aimed at by now.
    """

    def __init__(
        self, scores: np.ndarray, *, level: float = 0.9, step: float = 0.02, window: int = 200,
        miss: float | None = None,
    ):  # fmt: skip
        self.scores = list(np.asarray(scores, dtype=float))[-window:]
        self.miss = 1.0 - level if miss is None else miss
        self._goal, self._step, self._window = level, step, window

    @property
    def factor(self) -> float:
        """Multiply a stated std by this."""
        if not self.scores:
            return 1.0
        level = min(max(1.0 - self.miss, 0.0), 1.0)
        return float(max(np.quantile(self.scores, level, method="higher"), 1e-6) / Z90)

    def update(self, truth: float, mean: float, std: float) -> None:
        """Take one result into account; ``std`` is the model's own, before the factor."""
        score = abs(truth - mean) / max(std, 1e-12)
        missed = score > self.factor * Z90
        self.miss += self._step * ((1.0 - self._goal) - float(missed))
        self.scores = [*self.scores, score][-self._window :]
