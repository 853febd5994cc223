"""A learned ensemble for few observations: trees and a Gaussian process, weighed by how well each foresees the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from models.candidate import Candidate
from models.errors import NotFittedError
from models.observation import Constraint, Objective, Observation, Prediction
from models.roles import Pool

FEWEST = 4
"""Observations of a quantity below which its mean and spread are all that is claimed."""
_TREES = 100
_FOLDS = 5
_BLOCK = 4096


class Features(Protocol):
    """What a predictor needs of a space: features of any of its candidates."""

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """float64, (len, d), finite."""
        ...


class EnsemblePredictor:
    """Beliefs about measured quantities from 4 to a few hundred observations.

    Each quantity gets extremely randomised trees (Geurts et al., Mach. Learn. 2006, 10.1007/s10994-006-6226-1), good
    at moments that switch on and off, and a Matern-5/2 Gaussian process, good at smooth energies. Their weights and a
    factor on the standard deviation come from predictions of observations that were left out (five folds), so that the
    stated uncertainty is the observed one. Fitted from scratch: equal data and seed give equal beliefs.

    Args:
        space: gives features.
        objectives: of the campaign; with ``constraints`` they say what to learn, and what ``screen`` looks for.
        constraints: of the campaign.
        quantities: what to learn instead; with neither, every value that an observation has.
        keep: ``screen`` lets at least so many candidates through.
        fewest: observations below which ``screen`` does not judge.
        seed: the only source of randomness.
        trees: size of the forest.
    """

    citation = "10.1007/s10994-006-6226-1"

    def __init__(
        self,
        space: Features,
        *,
        objectives: Sequence[Objective] = (),
        constraints: Sequence[Constraint] = (),
        quantities: Sequence[str] | None = None,
        keep: int = 512,
        fewest: int = 8,
        seed: int = 0,
        trees: int = _TREES,
    ) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        exact = {o.name for o in self.objectives if o.source == "computed"}
        wanted = quantities or [q.name for q in (*self.objectives, *self.constraints)]
        self.quantities = tuple(name for name in dict.fromkeys(wanted) if name not in exact)
        self.keep = keep
        self.fewest = fewest
        self.seed = seed
        self.trees = trees
        self.taught = 0
        self._models: dict[str, _Model] | None = None

    def fit(self, observations: Sequence[Observation]) -> None:
        """Learn every quantity from the observations that have it; a failed measurement teaches nothing."""
        known = [o for o in observations if o.outcome != "failed_measurement"]
        names = self.quantities or tuple(sorted({name for o in known for name in o.values}))
        X = self.space.featurize([o.candidate for o in known])
        self._models, self.taught = {}, len(observations)
        for name in names:
            rows = [i for i, o in enumerate(known) if np.isfinite(o.values.get(name, np.nan))]
            if rows:
                y = np.array([known[i].values[name] for i in rows])
                self._models[name] = _Model(X[rows], y, self.seed, self.trees)

    def predict(self, candidates: Sequence[Candidate]) -> list[dict[str, Prediction]]:
        """Return one dict (quantity -> Prediction) a candidate. Raises NotFittedError before ``fit``."""
        beliefs = self.predict_features(self.space.featurize(candidates))
        return [
            {name: Prediction(mean=float(mean[i]), std=float(std[i])) for name, (mean, std) in beliefs.items()}
            for i in range(len(candidates))
        ]

    def predict_array(self, pool: Pool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return quantity -> (mean (n,), std (n,)) over a pool. Raises NotFittedError before ``fit``."""
        return self.predict_features(pool.features)

    def predict_features(self, X: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """As ``predict_array``, of features (n, d)."""
        return {name: model.predict(X) for name, model in self._fitted().items()}

    def screen(self, pool: Pool, observations: Sequence[Observation]) -> tuple[np.ndarray | None, dict[str, float]]:
        """Retrain, and drop what is confidently bad (``models.predictors.optimistic``).

        Returns:
            Mask over the pool (n,), or None where there is too little to judge by, and what happened, in numbers.
        """
        from models.predictors.optimistic import screen_with

        mask, detail = screen_with(self, pool, observations)
        if mask is None:
            return None, detail
        return mask, detail | {f"trees_{name}": round(w, 3) for name, w in self.weights().items()}

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of the quantities that it has learned."""
        return tuple(self._fitted())

    def left_out(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return truth, mean and std of a quantity's observations, each predicted by models that had not seen it."""
        model = self._fitted()[name]
        return model.y, model.left_out_mean, model.left_out_std

    def weights(self) -> dict[str, float]:
        """Weight of the trees in each quantity's ensemble, 0..1; the rest is the Gaussian process."""
        return {name: model.weight for name, model in self._fitted().items()}

    def _fitted(self) -> dict[str, _Model]:
        if self._models is None:
            raise NotFittedError("call fit(observations) before asking for predictions")
        return self._models


class _Model:
    """One quantity: standardised inputs, two learners, their weight and the calibration."""

    def __init__(self, X: np.ndarray, y: np.ndarray, seed: int, trees: int):
        self.y = y
        self._center, self._scale = X.mean(axis=0), X.std(axis=0)
        self._used = self._scale > 1e-12 * np.maximum(1.0, np.abs(self._center))
        self._mean, spread = float(y.mean()), float(y.std())
        self._spread = spread if spread > 1e-12 * max(1.0, abs(self._mean)) else 0.0
        self._members: tuple[_Forest, _GaussianProcess] | None = None
        self.weight, self._stretch = 0.5, 1.0
        n = len(y)
        prior = self._spread if n >= 2 else abs(self._mean)
        self.left_out_mean, self.left_out_std = np.full(n, self._mean), np.full(n, prior)
        self._prior = prior
        if n < FEWEST or self._spread == 0.0 or not self._used.any():
            return
        Z, t = self._inputs(X), (y - self._mean) / self._spread
        folds = np.random.default_rng([seed, n]).permutation(n) % min(_FOLDS, n)
        tree, process = np.zeros((2, n)), np.zeros((2, n))
        for fold in range(min(_FOLDS, n)):
            seen, held = folds != fold, folds == fold
            tree[:, held] = _Forest(Z[seen], t[seen], seed, max(20, trees // 3)).predict(Z[held])
            process[:, held] = _GaussianProcess(Z[seen], t[seen]).predict(Z[held])
        self.weight = _best_weight(t, tree[0], process[0])
        mean, std = _mix(self.weight, tree, process)
        # Two pseudo-residuals of size one keep a handful of lucky folds from claiming certainty.
        self._stretch = float(np.clip(np.sqrt((np.sum(((t - mean) / std) ** 2) + 2.0) / (n + 2.0)), 0.7, 3.0))
        self.left_out_mean = self._mean + self._spread * mean
        self.left_out_std = self._spread * self._stretch * std
        self._members = (_Forest(Z, t, seed, trees), _GaussianProcess(Z, t))

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, each (n,)."""
        if self._members is None:
            return np.full(len(X), self._mean), np.full(len(X), self._prior)
        Z = self._inputs(X)
        mean, std = _mix(self.weight, *(member.predict(Z) for member in self._members))
        return self._mean + self._spread * mean, self._spread * self._stretch * std

    def _inputs(self, X: np.ndarray) -> np.ndarray:
        return (X[:, self._used] - self._center[self._used]) / self._scale[self._used]


class _Forest:
    """Extremely randomised trees; the spread of the trees plus what a leaf cannot resolve."""

    def __init__(self, Z: np.ndarray, t: np.ndarray, seed: int, trees: int):
        from sklearn.ensemble import ExtraTreesRegressor

        forest = ExtraTreesRegressor(n_estimators=trees, max_features=0.4, random_state=seed % 2**32, n_jobs=1)
        forest.fit(Z.astype(np.float32), t)
        self._trees = [tree.tree_ for tree in forest.estimators_]

    def predict(self, Z: np.ndarray) -> np.ndarray:
        """Mean and standard deviation, (2, n)."""
        Z32 = np.ascontiguousarray(Z, dtype=np.float32)
        total, squares = np.zeros(len(Z)), np.zeros(len(Z))
        for tree in self._trees:
            value = tree.predict(Z32)[:, 0]
            total += value
            squares += value**2
        mean = total / len(self._trees)
        return np.stack([mean, np.sqrt(np.maximum(squares / len(self._trees) - mean**2, 0.0) + 0.02)])


class _GaussianProcess:
    """Matern-5/2, one length scale and one noise, chosen on a grid by the leave-one-out density.

    Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.2.
    """

    def __init__(self, Z: np.ndarray, t: np.ndarray):
        self._Z = Z
        best = -np.inf
        squared = _squared_distances(Z, Z)
        for length in np.sqrt(Z.shape[1]) * np.array([0.35, 0.7, 1.4, 2.8]):
            kernel = _matern(squared, length)
            for noise in (0.01, 0.05, 0.2, 0.6):
                inverse = np.linalg.inv(kernel + noise * np.eye(len(t)))
                alpha, diagonal = inverse @ t, np.diag(inverse)
                scale = max(float(np.mean(alpha**2 / diagonal)), 1e-9)
                density = -0.5 * float(np.sum(np.log(scale / diagonal) + alpha**2 / diagonal / scale))
                if density > best:
                    best = density
                    self._length, self._noise, self._scale = float(length), noise, scale
                    self._alpha, self._inverse = alpha, inverse

    def predict(self, Z: np.ndarray) -> np.ndarray:
        """Mean and standard deviation (noise included), (2, n)."""
        out = np.zeros((2, len(Z)))
        for start in range(0, len(Z), _BLOCK):
            stop = min(start + _BLOCK, len(Z))
            cross = _matern(_squared_distances(Z[start:stop], self._Z), self._length)
            out[0, start:stop] = cross @ self._alpha
            variance = 1.0 + self._noise - np.einsum("ij,ij->i", cross @ self._inverse, cross)
            out[1, start:stop] = np.sqrt(self._scale * np.maximum(variance, self._noise))
        return out


def _squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    return np.maximum((A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1)[None, :] - 2.0 * A @ B.T, 0.0)


def _matern(squared: np.ndarray, length: float) -> np.ndarray:
    r = np.sqrt(5.0 * squared) / length
    return (1.0 + r + r**2 / 3.0) * np.exp(-r)


def _mix(weight: float, tree: np.ndarray, process: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of a mixture of two Gaussians given as (2, n) each."""
    mean = weight * tree[0] + (1 - weight) * process[0]
    variance = weight * tree[1] ** 2 + (1 - weight) * process[1] ** 2
    return mean, np.sqrt(variance + weight * (1 - weight) * (tree[0] - process[0]) ** 2)


def _best_weight(t: np.ndarray, tree: np.ndarray, process: np.ndarray) -> float:
    """Least-squares weight of the trees on left-out data, drawn towards one half as if by a few more points."""
    gap = tree - process
    few = 4.0 * float(np.mean(gap**2)) + 1e-12
    best = (float(gap @ (t - process)) + 0.5 * few) / (float(gap @ gap) + few)
    return min(1.0, max(0.0, best))
