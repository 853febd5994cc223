"""Trees of two kinds, and kernels where rows are few, weighed by what they say of rows that none has seen."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import numpy as np

from models.blocks.boosting import Boosting
from models.blocks.checkpoint import nested
from models.blocks.kernels import SupportVectors
from models.blocks.relevance import RelevanceProcess
from models.blocks.scales import Scale, choose_scale
from models.blocks.trees import Forest
from models.errors import DataError, NotFittedError

_FOREST_SHARE, _PROCESS_SHARE = 0.5, 0.2  # of a budget
_PROCESS_ROWS = 5000
_PROBE = 10  # rounds that are timed
_TRIAL_S = 10.0  # a smaller budget is not spent on choosing a scale
_FLOOR = 0.1  # least standard deviation, as a share of the typical error


class Stack:
    """Extremely randomised trees and gradient boosting of one target, stacked (Breiman, Mach. Learn. 1996).

    What is weighed: the forest's mean; its median, which errs less where the target is skewed or often nought; what is
    between them, the square of the mean of the trees' square roots; the boosted trees; support vectors and Gaussian
    processes where asked for; and the median of these. Weights are not negative, sum to one and have the least mean
    absolute error on rows given to ``weigh``; until then all are equal.
    A skewed target is learned on the scale of ``choose_scale``.

    Args:
        trees, features: of the forest.
        rounds: of boosting; as many as there are rows where those are fewer, but a hundred.
        kernel: support vectors too; for some thousand rows at most.
        processes: Gaussian processes too, where there are at most 5,000 rows: ``relevance`` with a length scale a
            feature, ``alike`` with one for all.
        seed: of everything.
    """

    def __init__(
        self, *, trees: int = 100, features: float = 0.33, rounds: int = 400, kernel: bool = False,
        processes: tuple[str, ...] = (), seed: int = 0,
    ) -> None:  # fmt: skip
        jobs = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        self._forest = Forest(trees=trees, features=features, seed=seed, jobs=jobs)
        self.rounds, self.seed = rounds, seed
        self._boosting = Boosting(loss="squared_error")
        self._kernel = SupportVectors(seed=seed) if kernel else None
        self.processes, self._processes, self._scale = processes, dict[str, RelevanceProcess](), Scale()
        self._state: dict[str, np.ndarray] = {}

    def fit(self, X: np.ndarray, y: np.ndarray, *, budget_s: float | None = None) -> None:
        """Fit to features (n, d) and targets (n,); fewer trees where ``budget_s`` seconds do not suffice for all."""
        self._processes = {name: self._process(name) for name in self.processes if len(y) <= _PROCESS_ROWS}
        began = time.monotonic()
        self._scale = choose_scale(X, y, self.seed) if budget_s is None or budget_s > _TRIAL_S else Scale()
        self._fit(X, y, None if budget_s is None else budget_s - (time.monotonic() - began))
        count = self._count
        typical = float(np.abs(y - np.median(y)).mean())
        self._state = {"weights": np.full(count, 1.0 / count), "floor": np.array(_FLOOR * typical)}

    def fit_again(self, X: np.ndarray, y: np.ndarray, *, budget_s: float | None = None) -> None:
        """As ``fit``, with the weights that were chosen before. Raises NotFittedError."""
        if not self._state:
            raise NotFittedError("fit the trees before they are fitted again")
        self._fit(X, y, budget_s)

    def _fit(self, X: np.ndarray, y: np.ndarray, budget_s: float | None) -> None:
        began, y = time.monotonic(), self._scale.forward(y)
        self._forest.fit(X, y, budget_s=None if budget_s is None else _FOREST_SHARE * budget_s)
        for process in self._processes.values():
            share = _PROCESS_SHARE / len(self._processes)
            process.fit(X, y, budget_s=None if budget_s is None else share * budget_s)
        rounds = min(self.rounds, max(100, len(y)))
        if budget_s is not None:
            probe = time.monotonic()
            self._boosted(X, y, _PROBE)
            left_s, now = budget_s - (time.monotonic() - began), time.monotonic()
            rounds = int(np.clip(left_s / (now - probe) * _PROBE, 2 * _PROBE, rounds))
        self._boosting = self._boosted(X, y, rounds)
        if self._kernel is not None:
            self._kernel.fit(X, y)

    def _process(self, name: str) -> RelevanceProcess:
        alike = name == "alike"
        return RelevanceProcess(alike=alike, drawn=1500 if alike else 800, seed=self.seed)

    def _boosted(self, X: np.ndarray, y: np.ndarray, rounds: int) -> Boosting:
        rate = min(0.05 * max(1.0, self.rounds / rounds), 0.15)  # larger steps where there is no time for many
        boosting = Boosting(
            loss="squared_error", rounds=rounds, rate=rate, leaves=31, leaf=int(np.clip(len(y) // 30, 2, 10)),
            features=0.3, seed=self.seed,
        )  # fmt: skip
        boosting.fit(X, y)
        return boosting

    def weigh(self, X: np.ndarray, y: np.ndarray) -> None:
        """Choose the weights by rows (n, d), (n,) that ``fit`` has not seen; fewer than ten choose nothing."""
        if len(y) < 10:
            return
        columns, _ = self._columns(X)
        weights = best_weights(columns, y)
        self._state = {"weights": weights, "floor": np.array(_FLOOR * np.abs(weights @ columns - y).mean())}

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (spread of the trees, disagreement of the parts), (n,). Raises NotFittedError."""
        if not self._state:
            raise NotFittedError("fit the trees before asking them")
        columns, spread = self._columns(X)
        mean = self._state["weights"] @ columns
        apart = ((columns - mean) ** 2).mean(axis=0)
        return mean, np.sqrt(spread**2 + apart + float(self._state["floor"]) ** 2)

    def _columns(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What each part says, (k, n), and the spread of the forest's trees, (n,)."""
        votes, back = self._scale.back(self._forest.votes(X)), self._scale.back
        root = (np.sign(votes) * np.sqrt(np.abs(votes))).mean(axis=0)
        parts = [votes.mean(axis=0), np.median(votes, axis=0), np.sign(root) * root**2, back(self._boosting.predict(X))]
        parts += [
            back(kernel.predict(X)[0]) for kernel in (self._kernel, *self._processes.values()) if kernel is not None
        ]
        return np.stack([*parts, np.median(np.stack(parts), axis=0)]), votes.std(axis=0)

    @property
    def _count(self) -> int:
        return 5 + (self._kernel is not None) + len(self._processes)

    def arrays(self) -> dict[str, np.ndarray]:
        """All parts, for a checkpoint."""
        if not self._state:
            raise NotFittedError("fit the trees before keeping them")
        parts = {"forest": self._forest, "boosting": self._boosting, "kernel": self._kernel, **self._processes}
        kept = {f"{name}/{k}": a for name, part in parts.items() if part is not None for k, a in part.arrays().items()}
        return kept | self._state | {"scale": np.array([self._scale.unit, self._scale.most])}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what ``arrays`` gave. Raises DataError where it is of something else."""
        self._forest.restore(nested(arrays, "forest"))
        self._boosting.restore(nested(arrays, "boosting"))
        if self._kernel is not None:
            self._kernel.restore(nested(arrays, "kernel"))
        self._processes = {name: self._process(name) for name in self.processes if nested(arrays, name)}
        for name, process in self._processes.items():
            process.restore(nested(arrays, name))
        if missing := {"weights", "floor", "scale"} - set(arrays):
            raise DataError(f"the checkpoint lacks {', '.join(sorted(missing))}; train it again")
        if len(arrays["weights"]) != self._count:
            raise DataError(f"the checkpoint weighs {len(arrays['weights'])} parts, not {self._count}; train it again")
        self._scale = Scale(*arrays["scale"].tolist())
        self._state = {name: np.asarray(arrays[name]) for name in ("weights", "floor")}


def best_weights(means: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Weights (k,), not negative, sum 1, of least mean absolute error of ``weights @ means`` (k, n).

    Drawn a little towards equal weights, so that few validation rows cannot make one model everything.
    """
    k = len(means)
    weights = np.full(k, 1.0 / k)

    def loss(w: np.ndarray) -> float:
        return float(np.abs(w @ means - truth).mean()) * (1.0 + 0.02 * float(((w - 1.0 / k) ** 2).sum()))

    step, best = 0.25, loss(weights)
    while step > 0.01:
        moved = False
        for i in range(k):
            for j in range(k):
                amount = min(step, weights[i])
                if i == j or amount <= 0:
                    continue
                trial = weights.copy()
                trial[i] -= amount
                trial[j] += amount
                if (now := loss(trial)) < best - 1e-12:
                    weights, best, moved = trial, now, True
        if not moved:
            step /= 2
    return weights
