"""Networks that compare the answers to one question with each other: which of a target's sets was it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.blocks.perceptron import Perceptron, Scores
from models.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


class ListwiseNetwork(Perceptron):
    """A perceptron that scores each answer, taught that the scores of one list are a softmax.

    The listwise likelihood (Cao et al., ICML 2007, 10.1145/1273496.1273513) with several right answers a list: that
    any of them is taken. Trees that judge each answer by itself do not see what it competes with.
    """

    def fit_lists(self, X: np.ndarray, y: np.ndarray, sizes: np.ndarray) -> None:
        """Learn from lists that lie end to end; one without a right answer teaches nothing.

        Args:
            X: (n, d) features.
            y: (n,) bool: right.
            sizes: (m,) answers of each list; their sum is n.

        Raises:
            DataError: no list has a right answer.
        """
        import torch

        right = torch.tensor(np.asarray(y, dtype=bool))
        rows_of = np.split(np.arange(len(y)), np.cumsum(sizes)[:-1])
        lists = np.array([i for i, rows in enumerate(rows_of) if y[rows].any()], dtype=np.int64)
        if not len(lists):
            raise DataError("no list of answers has a right one: nothing to learn from")

        def loss(scores: Scores, some: np.ndarray) -> Tensor:
            rows = np.concatenate([rows_of[i] for i in some])
            which = torch.tensor(np.repeat(np.arange(len(some)), sizes[some]))
            score, true = scores(rows), right[rows]
            return (_log_sum(score, which, len(some)) - _log_sum(score[true], which[true], len(some))).mean()

        self.learn(X, lists, loss)

    def log_probability(self, X: np.ndarray) -> np.ndarray:
        """Logarithm of the probability of each answer of one list, (k,), from its features (k, d).

        Raises NotFittedError.
        """
        score = self.predict(X)
        return score - np.logaddexp.reduce(score)


def _log_sum(score: Tensor, which: Tensor, size: int) -> Tensor:
    """Logarithm of the sum of exponentials in each list."""
    top = score.new_full((size,), -float("inf")).scatter_reduce(0, which, score.detach(), "amax")
    return top + score.new_zeros(size).index_add(0, which, (score - top[which]).exp()).log()
