"""The scale on which a target is learned: its own, or one on which the large ones do not outweigh the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.blocks.boosting import Boosting

_ROWS, _ROUNDS = 3000, 60  # of a trial
_BETTER = 0.97  # an error so much less, or the target stays as it is
_SKEWED = 1.0


@dataclass(frozen=True)
class Scale:
    """Nothing, or the inverse hyperbolic sine: a logarithm of what is large, straight through nought.

    Attributes:
        unit: what is large, in the target's unit; 0 leaves the target as it is.
        most: largest value on the scale that is believed: beyond what was seen a sine runs away.
    """

    unit: float = 0.0
    most: float = np.inf

    def forward(self, y: np.ndarray) -> np.ndarray:
        """From the target to the scale."""
        return np.arcsinh(y / self.unit) if self.unit else y

    def back(self, z: np.ndarray) -> np.ndarray:
        """From the scale to the target."""
        return self.unit * np.sinh(np.clip(z, -self.most, self.most)) if self.unit else z


def choose_scale(X: np.ndarray, y: np.ndarray, seed: int = 0) -> Scale:
    """Return the scale on which boosted trees err less, in the target's unit, on a fifth of the rows left out.

    Tried only where it makes a skewed target less so. X is (n, d), y (n,).
    """
    small = np.abs(y[y != 0])
    if len(small) < 100:
        return Scale()
    unit = float(np.quantile(small, 0.1))
    compressed = Scale(unit, float(np.arcsinh(small.max() / unit)) + 0.5)
    if _skewness(y) < _SKEWED or abs(_skewness(compressed.forward(y))) > _skewness(y):
        return Scale()
    rows = np.random.default_rng(seed).permutation(len(y))[:_ROWS]
    held, teach = np.split(rows, [len(rows) // 5])
    errors = []
    for scale in (Scale(), compressed):
        trial = Boosting(loss="squared_error", rounds=_ROUNDS, rate=0.1, leaf=10, features=0.3, seed=seed)
        trial.fit(X[teach], scale.forward(y[teach]))
        errors.append(np.abs(scale.back(trial.predict(X[held])) - y[held]).mean())
    return compressed if errors[1] < _BETTER * errors[0] else Scale()


def _skewness(y: np.ndarray) -> float:
    return float((((y - y.mean()) / max(y.std(), 1e-300)) ** 3).mean())
