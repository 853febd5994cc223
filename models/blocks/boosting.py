"""Gradient-boosted trees: scikit-learn grows them, plain arrays keep them, and asking them needs numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.errors import DataError, NotFittedError

_COLUMNS = ("left", "right", "feature", "threshold", "value")
_CHUNK = 2_000_000  # (row, tree) pairs walked at once
_TOLERANCE = 1e-5


class Boosting:
    """Boosted regression trees on binned features (Friedman, Ann. Stat. 2001; Ke et al., NeurIPS 2017).

    Args:
        loss: ``log_loss`` (labels 0 and 1; ``predict`` gives the log-odds), ``squared_error``, ``absolute_error`` or
            ``quantile``.
        quantile: which, for that loss.
        rounds: trees.
        rate: share of each tree's correction that is taken.
        leaves: most leaves of a tree.
        leaf: least rows in a leaf.
        ridge: L2 penalty of the leaves' values.
        features: share of the features that each split looks at.
        seed: of what is drawn.
    """

    def __init__(
        self, *, loss: str = "log_loss", quantile: float | None = None, rounds: int = 200, rate: float = 0.05,
        leaves: int = 15, leaf: int = 20, ridge: float = 1.0, features: float = 1.0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.loss, self.quantile = loss, quantile
        self.rounds, self.rate, self.leaves, self.leaf, self.ridge = rounds, rate, leaves, leaf, ridge
        self.features, self.seed = features, seed
        self._nodes: dict[str, np.ndarray] = {}

    def fit(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Grow on features (n, d) without gaps and targets (n,); ``weight`` (n,) says how much a row counts."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        shared: dict[str, Any] = {
            "max_iter": self.rounds, "learning_rate": self.rate, "max_leaf_nodes": self.leaves,
            "min_samples_leaf": self.leaf, "l2_regularization": self.ridge, "max_features": self.features,
            "early_stopping": False, "random_state": self.seed % 2**32,
        }  # fmt: skip
        if self.loss == "log_loss":
            grown: Any = HistGradientBoostingClassifier(**shared)
        else:
            grown = HistGradientBoostingRegressor(loss=self.loss, quantile=self.quantile, **shared)  # type: ignore[arg-type]
        grown.fit(X, y, sample_weight=weight)
        self._nodes = _flatten(grown)
        # The trees are scikit-learn's own attributes, not its interface: a release that changes them must not pass.
        few = X[:256]
        theirs = grown.decision_function(few) if self.loss == "log_loss" else grown.predict(few)
        if not np.allclose(theirs, self.predict(few), rtol=1e-4, atol=_TOLERANCE * max(1.0, np.abs(theirs).max())):
            raise DataError("this scikit-learn keeps its boosted trees in a way unknown here; install 1.6 to 1.9")

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Log-odds or value, (n,). Raises NotFittedError."""
        if not self._nodes:
            raise NotFittedError("fit the boosted trees before asking them")
        left, right, feature, threshold, value = (self._nodes[name] for name in _COLUMNS)
        roots = self._nodes["roots"]
        depth, base = int(self._nodes["depth"][0]), float(self._nodes["base"][0])
        X = np.asarray(X, dtype=np.float64)
        out = np.empty(len(X))
        step = max(1, _CHUNK // max(len(roots), 1))
        for start in range(0, len(X), step):
            part = X[start : start + step]
            rows = np.arange(len(part))[:, None]
            node = np.repeat(roots[None], len(part), axis=0)
            for _ in range(depth):  # a leaf leads to itself, so that all walks are equally long
                node = np.where(part[rows, feature[node]] <= threshold[node], left[node], right[node])
            out[start : start + step] = base + value[node].sum(axis=1)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """All trees, end to end, for a checkpoint."""
        if not self._nodes:
            raise NotFittedError("fit the boosted trees before keeping them")
        return dict(self._nodes)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what ``arrays`` gave. Raises DataError where it is no set of trees."""
        try:
            nodes = {name: arrays[name] for name in (*_COLUMNS, "roots", "depth", "base")}
        except KeyError as error:
            raise DataError(f"the checkpoint holds no boosted trees ({error})") from error
        count = len(nodes["value"])
        for name in ("left", "right", "roots"):
            if len(nodes[name]) and not (nodes[name].min() >= 0 and nodes[name].max() < count):
                raise DataError("the checkpoint's trees are damaged: a branch leads nowhere; train again")
        self._nodes = nodes


def _flatten(grown: Any) -> dict[str, np.ndarray]:
    """Trees of a fitted scikit-learn model end to end; a leaf is its own child."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
    roots, offset, depth = [], 0, 0
    for (tree,) in grown._predictors:
        nodes = tree.nodes
        own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
        parts["left"].append(np.where(leaf, own, nodes["left"]).astype(np.int32) + offset)
        parts["right"].append(np.where(leaf, own, nodes["right"]).astype(np.int32) + offset)
        parts["feature"].append(np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32))
        parts["threshold"].append(np.where(leaf, np.inf, nodes["num_threshold"]))
        parts["value"].append(np.where(leaf, nodes["value"], 0.0))
        roots.append(offset)
        offset += len(nodes)
        depth = max(depth, int(nodes["depth"].max()))
    out = {name: np.concatenate(some) if some else np.zeros(0) for name, some in parts.items()}
    base = np.ravel(np.asarray(grown._baseline_prediction, dtype=np.float64))
    return out | {"roots": np.array(roots, dtype=np.int32), "depth": np.array([depth]), "base": base}
