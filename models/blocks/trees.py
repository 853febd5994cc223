"""Forests: scikit-learn grows them, plain arrays keep them, and the spread of the trees is their uncertainty."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np

from models.errors import DataError, NotFittedError

_PORTION = 10  # trees that are grown between two looks at the clock
_COLUMNS = ("left_child", "right_child", "feature", "threshold", "value")


class Forest:
    """Extremely randomised trees or a random forest, of regression.

    Args:
        trees: how many.
        features: share of the features that a split looks at.
        leaf: least rows in a leaf.
        bootstrap: a random forest (rows drawn anew for each tree, best splits) instead of extremely randomised trees.
        seed: of the growth.
        jobs: processes threads may use.
    """

    def __init__(
        self, *, trees: int = 200, features: float = 0.33, leaf: int = 1, bootstrap: bool = False, seed: int = 0,
        jobs: int = 1,
    ) -> None:  # fmt: skip
        self.trees, self.features, self.leaf = trees, features, leaf
        self.bootstrap, self.seed, self.jobs = bootstrap, seed, jobs
        self._trees: list[dict[str, np.ndarray]] = []

    def fit(self, X: np.ndarray, y: np.ndarray, *, budget_s: float | None = None) -> None:
        """Grow on features (n, d) and targets (n,): all trees, or what ``budget_s`` seconds allow (ten at least)."""
        from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

        kind = RandomForestRegressor if self.bootstrap else ExtraTreesRegressor
        forest = kind(
            n_estimators=self.trees, max_features=self.features, min_samples_leaf=self.leaf,
            random_state=self.seed % 2**32, n_jobs=self.jobs, warm_start=budget_s is not None,
        )  # fmt: skip
        X, began = X.astype(np.float32), time.monotonic()
        for grown in range(_PORTION, self.trees, _PORTION) if budget_s is not None else ():
            forest.n_estimators = grown
            forest.fit(X, y)
            if (time.monotonic() - began) * (1 + _PORTION / grown) > budget_s:  # type: ignore[operator]
                break
        else:
            forest.n_estimators = self.trees
            forest.fit(X, y)
        self._trees = [
            {
                "left_child": tree.tree_.children_left.astype(np.int32),
                "right_child": tree.tree_.children_right.astype(np.int32),
                "feature": tree.tree_.feature.astype(np.int32),
                "threshold": tree.tree_.threshold.astype(np.float64),
                "value": tree.tree_.value[:, 0, 0].astype(np.float64),
            }
            for tree in forest.estimators_
        ]

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the trees, (n,) each. Raises NotFittedError."""
        total, squares = np.zeros(len(X)), np.zeros(len(X))
        for value in self._each(X):
            total += value
            squares += value**2
        mean = total / len(self._trees)
        return mean, np.sqrt(np.maximum(squares / len(self._trees) - mean**2, 0.0))

    def votes(self, X: np.ndarray) -> np.ndarray:
        """What each tree says, (trees, n). Raises NotFittedError."""
        return np.stack(list(self._each(X)))

    def _each(self, X: np.ndarray) -> Iterator[np.ndarray]:
        if not self._trees:
            raise NotFittedError("grow the forest before asking it")
        X = X.astype(np.float32)
        for tree in self._trees:
            yield _walk(tree, X)

    def arrays(self) -> dict[str, np.ndarray]:
        """All trees, end to end, for a checkpoint."""
        if not self._trees:
            raise NotFittedError("grow the forest before keeping it")
        out = {name: np.concatenate([tree[name] for tree in self._trees]) for name in _COLUMNS}
        return out | {"nodes": np.array([len(tree["feature"]) for tree in self._trees])}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what ``arrays`` gave. Raises DataError where it is not a forest (every path must end)."""
        try:
            ends = np.cumsum(arrays["nodes"])
            self._trees = [
                {name: arrays[name][end - n : end] for name in _COLUMNS}
                for n, end in zip(arrays["nodes"], ends, strict=True)
            ]
        except (KeyError, ValueError) as error:
            raise DataError(f"the checkpoint holds no forest ({error})") from error
        for tree in self._trees:
            own = np.arange(len(tree["feature"]))
            inner = tree["left_child"] >= 0
            for side in ("left_child", "right_child"):
                if ((tree[side] <= own) | (tree[side] >= len(own)))[inner].any():
                    raise DataError("the checkpoint's forest is damaged: a branch leads nowhere; train it again")


def _walk(tree: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    """Value of the leaf that each row of X (n, d) falls into."""
    node = np.zeros(len(X), dtype=np.int32)
    going = np.arange(len(X))
    left, right, feature, threshold = (tree[name] for name in _COLUMNS[:4])
    while len(going):
        at = node[going]
        inner = left[at] >= 0
        going, at = going[inner], at[inner]
        node[going] = np.where(X[going, feature[at]] <= threshold[at], left[at], right[at])
    return tree["value"][node]
