"""Networks that compare the answers to one question with each other: which of a target's sets was it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from models.errors import DataError, NotFittedError

if TYPE_CHECKING:
    from torch import Tensor

_WIDTH, _DROP = 128, 0.3
_EPOCHS, _BATCH, _RATE, _DECAY = 25, 128, 2e-3, 1e-2
_FURTHEST = 5.0  # standard deviations at which a feature is cut off
_NAMES = ("mean", "spread", "weight0", "bias0", "weight1", "bias1", "weight2", "bias2")


class ListwiseNetwork:
    """A multi-layer perceptron that scores each answer, taught that the scores of one list are a softmax.

    The listwise likelihood (Cao et al., ICML 2007, 10.1145/1273496.1273513) with several right answers a list: that
    any of them is taken. Trees that judge each answer by itself do not see what it competes with.
    """

    def __init__(self, *, seed: int = 0) -> None:
        """``seed``: of the first weights and of the order."""
        self.seed = seed
        self._arrays: dict[str, np.ndarray] = {}

    def fit(self, X: np.ndarray, y: np.ndarray, sizes: np.ndarray) -> None:
        """Learn from lists that lie end to end; one without a right answer teaches nothing.

        Args:
            X: (n, d) features.
            y: (n,) bool: right.
            sizes: (m,) answers of each list; their sum is n.

        Raises:
            DataError: no list has a right answer.
        """
        import torch
        from torch import nn

        mean, spread = X.mean(axis=0), X.std(axis=0) + 1e-3
        ends = np.cumsum(sizes)
        start, members = ends - sizes, np.split(np.arange(len(X)), ends[:-1])
        lists = np.flatnonzero(np.add.reduceat(y, start) > 0) if len(sizes) else start
        if not len(lists):
            raise DataError("no list of answers has a right one: nothing to learn from")
        scaled, right = torch.tensor(_scaled(X, mean, spread)), torch.tensor(np.asarray(y, dtype=bool))
        draw = np.random.default_rng(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = nn.Sequential(
                nn.Linear(X.shape[1], _WIDTH), nn.SiLU(), nn.Dropout(_DROP), nn.Linear(_WIDTH, _WIDTH), nn.SiLU(),
                nn.Dropout(_DROP), nn.Linear(_WIDTH, 1),
            )  # fmt: skip
            batches = -(-len(lists) // _BATCH)
            optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_EPOCHS * batches)
            for _ in range(_EPOCHS):
                for some in np.array_split(draw.permutation(lists), batches):
                    rows = np.concatenate([members[i] for i in some])
                    which = torch.tensor(np.repeat(np.arange(len(some)), sizes[some]))
                    score, true = network(scaled[rows]).squeeze(-1), right[rows]
                    likelihood = _log_sum(score[true], which[true], len(some)) - _log_sum(score, which, len(some))
                    optimizer.zero_grad()
                    (-likelihood.mean()).backward()
                    optimizer.step()
                    schedule.step()
        layers = [layer for layer in network if isinstance(layer, nn.Linear)]
        self._arrays = {"mean": mean.astype(np.float32), "spread": spread.astype(np.float32)}
        for i, layer in enumerate(layers):
            self._arrays[f"weight{i}"] = layer.weight.detach().numpy().T.copy()
            self._arrays[f"bias{i}"] = layer.bias.detach().numpy().copy()

    def log_probability(self, X: np.ndarray) -> np.ndarray:
        """Logarithm of the probability of each answer of one list, (k,), from its features (k, d).

        Raises NotFittedError.
        """
        if not self._arrays:
            raise NotFittedError("fit the network before asking it")
        z = _scaled(X, self._arrays["mean"], self._arrays["spread"])
        for i in range(3):
            z = z @ self._arrays[f"weight{i}"] + self._arrays[f"bias{i}"]
            if i < 2:
                z = z / (1.0 + np.exp(-np.clip(z, -60.0, 60.0)))
        score = z[:, 0].astype(np.float64)
        score -= score.max()
        return score - np.log(np.exp(score).sum())

    def arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint. Raises NotFittedError."""
        if not self._arrays:
            raise NotFittedError("fit the network before keeping it")
        return dict(self._arrays)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what ``arrays`` gave. Raises DataError where something is missing or does not fit."""
        try:
            found = {name: np.asarray(arrays[name], dtype=np.float32) for name in _NAMES}
        except KeyError as error:
            raise DataError(f"the stored network is damaged ({error}); delete the file and train again") from error
        widths = [len(found["mean"]), *(len(found[f"bias{i}"]) for i in range(3))]
        if any(found[f"weight{i}"].shape != (widths[i], widths[i + 1]) for i in range(3)) or widths[3] != 1:
            raise DataError("the stored network's layers do not fit each other; delete the file and train again")
        self._arrays = found


def _scaled(X: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.clip((X - mean) / spread, -_FURTHEST, _FURTHEST).astype(np.float32)


def _log_sum(score: Tensor, which: Tensor, size: int) -> Tensor:
    """Logarithm of the sum of exponentials in each list."""
    top = score.new_full((size,), -float("inf")).scatter_reduce(0, which, score.detach(), "amax")
    return top + score.new_zeros(size).index_add(0, which, (score - top[which]).exp()).log()
