"""A Gaussian process that finds out by itself which features matter."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from models.errors import DataError, NotFittedError

_BLOCK = 2048
_FAR = 6.0  # standard deviations at which a feature is cut
_PULL = 0.3  # of each feature's logarithm of relevance towards the common one
_JITTER = 1e-4
_IMPOSSIBLE = 1e12
_KEPT = {"centre", "spread", "target", "seen", "alpha", "scalars", "weight"}


class RelevanceProcess:
    """Matern-3/2 process with a length scale a feature (automatic relevance determination; Rasmussen and Williams,
    Gaussian Processes for Machine Learning, 2006, section 5.1).

    The length scales and the noise have the largest marginal likelihood on rows drawn at random; each logarithm is
    pulled a little towards the common one, so that some hundred scales can be learned from as many rows. All rows then
    count.

    Args:
        alike: one length scale for all features instead: where hundreds say a little each, as those of a learnt vector.
        most: rows that are fitted at most: time grows with their cube.
        drawn: rows that choose the length scales.
        steps: of that search, at most.
        seed: of what is drawn.
    """

    def __init__(
        self, *, alike: bool = False, most: int = 6000, drawn: int = 800, steps: int = 40, seed: int = 0
    ) -> None:
        self.alike, self.most, self.drawn, self.steps, self.seed = alike, most, drawn, steps, seed
        self._state: dict[str, np.ndarray] = {}

    def fit(self, X: np.ndarray, y: np.ndarray, *, budget_s: float | None = None) -> None:
        """Fit to features (n, d) and targets (n,); to fewer rows where ``budget_s`` seconds do not suffice for all."""
        from scipy.linalg import cho_factor, cho_solve

        began = time.monotonic()
        spread = X.std(axis=0)
        varies = spread > 1e-9 * np.maximum(1.0, np.abs(X.mean(axis=0)))
        target = np.array([y.mean(), max(float(y.std()), 1e-12)])
        state = {"centre": X.mean(axis=0), "spread": np.where(varies, spread, np.inf), "target": target}
        Z, t = _scaled(X, state), (y - target[0]) / target[1]
        order = np.random.default_rng(self.seed).permutation(len(y))
        few = order[: self.drawn]
        weight = np.zeros(X.shape[1])
        weight[varies], noise, evaluation_s = _most_likely(Z[few][:, varies], t[few], self)
        count = min(self.most, len(y))
        if budget_s is not None:
            left_s = max(budget_s - (time.monotonic() - began), evaluation_s)
            count = min(count, int(len(few) * np.cbrt(left_s / evaluation_s)))
        rows = np.sort(order[:count])
        seen = (Z[rows] * weight).astype(np.float32)
        kernel = _matern(_squared(seen, seen))
        kernel[np.diag_indices(count)] = 1.0 + noise  # exactly: a sum of squares has lost some digits
        alpha = cho_solve(cho_factor(kernel, lower=True, overwrite_a=True), t[rows])
        scalars = np.array([noise, max(float(t[rows] @ alpha) / count, 1e-12)])
        self._state = state | {"seen": seen, "alpha": alpha, "scalars": scalars, "weight": weight}

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean, and the standard deviation (noise included) that the nearest row alone would leave, (n,) each."""
        if not self._state:
            raise NotFittedError("fit the process before asking it")
        noise, scale = self._state["scalars"]
        mean, near = np.empty(len(X)), np.empty(len(X))
        for start in range(0, len(X), _BLOCK):
            Z = (_scaled(X[start : start + _BLOCK], self._state) * self._state["weight"]).astype(np.float32)
            cross = _matern(_squared(Z, self._state["seen"]))
            mean[start : start + _BLOCK] = cross @ self._state["alpha"]
            near[start : start + _BLOCK] = cross.max(axis=1)
        centre, spread = self._state["target"]
        return centre + spread * mean, spread * np.sqrt(scale * (1.0 + noise - near**2 / (1.0 + noise)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that ``predict`` needs."""
        if not self._state:
            raise NotFittedError("fit the process before keeping it")
        return dict(self._state)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what ``arrays`` gave. Raises DataError where it is no such process."""
        if missing := _KEPT - set(arrays):
            raise DataError(f"the checkpoint lacks {', '.join(sorted(missing))}; train it again")
        self._state = dict(arrays)


def _most_likely(Z: np.ndarray, t: np.ndarray, how: RelevanceProcess) -> tuple[np.ndarray, float, float]:
    """Relevance of each feature (d,), the noise, and how long one evaluation of the likelihood took, in seconds."""
    from scipy.optimize import minimize

    spent_s = []
    free = 1 if how.alike else Z.shape[1]
    share = Z.shape[1] // free  # features that one relevance is of

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        began = time.monotonic()
        value, slope = likelihood_loss(np.append(np.repeat(point[:-1], share), point[-1]), Z, t)
        spent_s.append(time.monotonic() - began)
        return value, np.append(slope[:-1].reshape(free, share).sum(axis=1), slope[-1])

    begin = np.append(np.full(free, -0.5 * np.log(max(Z.shape[1], 1)) - 0.5), np.log(0.1))
    bounds = [(-8.0, 2.0)] * free + [(np.log(1e-3), np.log(3.0))]
    best = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": how.steps}).x
    return np.repeat(np.exp(best[:-1]), share), float(np.exp(best[-1])) + _JITTER, float(np.median(spent_s))


def likelihood_loss(point: np.ndarray, Z: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus the logarithm of the marginal likelihood, with the pull, and its gradient.

    Args:
        point: (d + 1,) logarithms of the relevances and of the noise; the process's variance is the most likely one.
        Z, t: (n, d) and (n,) standardised features and targets.
    """
    from scipy.linalg import cho_factor, cho_solve

    n, d = Z.shape
    relevance, noise = point[:d], np.exp(point[d])
    weighted = Z * np.exp(relevance)
    r = np.sqrt(3.0 * _squared(weighted, weighted))
    r[np.diag_indices(n)] = 0.0
    decay = np.exp(-r)
    try:
        factor = cho_factor((1.0 + r) * decay + (noise + _JITTER) * np.eye(n), lower=True, overwrite_a=True)
    except np.linalg.LinAlgError:  # rows that hardly differ: a point that the search must leave
        return _IMPOSSIBLE, np.zeros(d + 1)
    inverse = cho_solve(factor, np.eye(n))
    alpha = inverse @ t
    fit = float(t @ alpha)
    pull = relevance - relevance.mean()
    value = 0.5 * n * np.log(fit / n) + np.log(np.diag(factor[0])).sum() + 0.5 * _PULL * float(pull @ pull)
    slope = 0.5 * (inverse - np.outer(alpha, alpha) * (n / fit))  # d value / d K
    # d K_ab / d log w_j = -3 exp(-r) w_j^2 (z_aj - z_bj)^2; summed over a and b without making the differences.
    pairs = slope * decay
    sums = 2.0 * (pairs.sum(axis=1) @ Z**2 - np.einsum("aj,aj->j", Z, pairs @ Z))
    return value, np.append(-3.0 * np.exp(2.0 * relevance) * sums + _PULL * pull, noise * np.trace(slope))


def _scaled(X: np.ndarray, state: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.clip((X - state["centre"]) / state["spread"], -_FAR, _FAR)


def _squared(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Squared distances of rows (n, d), (m, d), in double precision: in single, rows alike differ by noise."""
    A, B = A.astype(float), B.astype(float)
    squared = A @ B.T
    squared *= -2.0
    squared += np.einsum("ij,ij->i", A, A)[:, None]
    squared += np.einsum("ij,ij->i", B, B)[None]
    return np.maximum(squared, 1e-12, out=squared)


def _matern(squared: np.ndarray) -> np.ndarray:
    """Of squared distances, which are overwritten: some thousand rows make large arrays."""
    r = np.sqrt(np.multiply(squared, 3.0, out=squared), out=squared)
    decay = np.exp(-r)
    return np.multiply(np.add(r, 1.0, out=r), decay, out=decay)
