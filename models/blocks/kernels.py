"""Support vectors and Gaussian processes on standardised features, kept as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.errors import DataError, NotFittedError

_BLOCK = 2048


class _Standard:
    """Features and targets without units."""

    def _set_scale(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spread = X.std(axis=0)
        self._state = {
            "centre": X.mean(axis=0),
            "spread": np.where(spread > 1e-9 * np.maximum(1.0, np.abs(X.mean(axis=0))), spread, np.inf),
            "target": np.array([y.mean(), max(float(y.std()), 1e-12)]),
        }
        return self._scaled(X), (y - y.mean()) / self._state["target"][1]

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        return np.clip((X - self._state["centre"]) / self._state["spread"], -6.0, 6.0)

    _state: dict[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that ``predict`` needs."""
        if not getattr(self, "_state", None):
            raise NotFittedError("fit before keeping the model")
        return dict(self._state)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what ``arrays`` gave."""
        if missing := {"centre", "spread", "target"} - set(arrays):
            raise DataError(f"the checkpoint lacks {', '.join(sorted(missing))}; train it again")
        self._state = dict(arrays)


class SupportVectors(_Standard):
    """Support vector regression with a Gaussian kernel; width and cost by five-fold search.

    Its standard deviation is the typical left-out error, larger far from the support vectors.

    Args:
        most: rows that are fitted at most, drawn at random: the cost grows with their square.
        seed: of the draw.
    """

    def __init__(self, *, most: int = 4000, seed: int = 0) -> None:
        self.most, self.seed = most, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        """Fit to features (n, d) and targets (n,)."""
        from sklearn.model_selection import GridSearchCV, KFold
        from sklearn.svm import SVR

        if len(y) > self.most:
            some = np.random.default_rng(self.seed).permutation(len(y))[: self.most]
            X, y = X[some], y[some]
        Z, t = self._set_scale(X, y)
        used = max(1, int(np.isfinite(self._state["spread"]).sum()))
        grid = {"C": [1.0, 10.0, 100.0], "gamma": [0.1 / used, 0.3 / used, 1.0 / used], "epsilon": [0.03]}
        folds = KFold(min(5, len(y)), shuffle=True, random_state=0)
        search = GridSearchCV(SVR(), grid, cv=folds, scoring="neg_mean_absolute_error").fit(Z, t)
        best = search.best_estimator_
        self._state |= {
            "support": best.support_vectors_,
            "weight": best.dual_coef_[0],
            "scalars": np.array([best.intercept_[0], best.gamma, 1.25 * -search.best_score_]),
        }

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, (n,) each."""
        intercept, gamma, error = self._state["scalars"]
        mean, near = np.empty(len(X)), np.empty(len(X))
        for start in range(0, len(X), _BLOCK):
            kernel = np.exp(-gamma * _squared(self._scaled(X[start : start + _BLOCK]), self._state["support"]))
            mean[start : start + _BLOCK] = kernel @ self._state["weight"] + intercept
            near[start : start + _BLOCK] = kernel.max(axis=1)
        centre, scale = self._state["target"]
        return centre + scale * mean, scale * (error + (1.0 - near))


class GaussianProcess(_Standard):
    """Matern-5/2 process; one length scale, noise by maximum likelihood (up to some 3,000 rows)."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        """Fit to features (n, d) and targets (n,)."""
        Z, t = self._set_scale(X, y)
        width = max(1, int(np.isfinite(self._state["spread"]).sum()))
        squared, best = _squared(Z, Z), np.inf
        for length in np.sqrt(width) * np.array([0.25, 0.5, 1.0, 2.0, 4.0]):
            kernel = _matern(squared, length)
            for noise in (0.003, 0.01, 0.03, 0.1, 0.3):
                factor = np.linalg.cholesky(kernel + noise * np.eye(len(t)))
                half = np.linalg.solve(factor, t)
                scale = float(half @ half) / len(t)
                loss = 0.5 * len(t) * np.log(max(scale, 1e-12)) + np.log(np.diag(factor)).sum()
                if loss < best:
                    best = loss
                    self._state |= {
                        "seen": Z,
                        "alpha": np.linalg.solve(factor.T, half),
                        "factor": factor,
                        "scalars": np.array([length, noise, scale]),
                    }

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (noise included), (n,) each."""
        length, noise, scale = self._state["scalars"]
        mean, variance = np.empty(len(X)), np.empty(len(X))
        for start in range(0, len(X), _BLOCK):
            cross = _matern(_squared(self._scaled(X[start : start + _BLOCK]), self._state["seen"]), length)
            mean[start : start + _BLOCK] = cross @ self._state["alpha"]
            half = np.linalg.solve(self._state["factor"], cross.T)
            variance[start : start + _BLOCK] = np.maximum(1.0 + noise - (half**2).sum(axis=0), noise)
        centre, spread = self._state["target"]
        return centre + spread * mean, spread * np.sqrt(scale * variance)


def _squared(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    return np.maximum((A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1)[None, :] - 2.0 * A @ B.T, 0.0)


def _matern(squared: np.ndarray, length: float) -> np.ndarray:
    r = np.sqrt(5.0 * squared) / length
    return (1.0 + r + r**2 / 3.0) * np.exp(-r)
