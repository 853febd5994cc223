"""Systems that are quick, and behave as a test wants them to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.blocks.composition import magpie_features
from models.blocks.fitting import Run
from models.blocks.materials import Materials
from models.candidate import Candidate
from models.observation import Observation
from models.predictors.property import TabularModel
from tests.models.tables import ionic_target, salts

TABLE = salts(edges=False)
TARGET = ionic_target(TABLE)
ROWS = np.random.default_rng(0).permutation(len(TABLE)).tolist()
NAME = "tests.models.predictors.small_models"


def seen(n: int, shift: float = 0.0) -> tuple[Observation, ...]:
    """The first results; from the eleventh on, ``shift`` is added."""
    from models.blocks.composition import parse

    out = []
    for place, i in enumerate(ROWS[:n]):
        made = Candidate(id=f"row-{i}", composition=dict.fromkeys(parse(TABLE.formulas[i]), 1.0))
        value = float(TARGET[i]) + shift * (place >= 10)
        out.append(Observation(experiment=f"E{place}", candidate=made, values={"y": value}, outcome="measured"))
    return tuple(out)


class _Ridge:
    """Linear; ``spoilt``: says the opposite."""

    spoilt = False

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        A = np.column_stack([X, np.ones(len(X))])
        self.weight = np.linalg.solve(A.T @ A + 1e-2 * np.eye(A.shape[1]), A.T @ y)
        if self.spoilt:
            self.weight = -self.weight

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.column_stack([X, np.ones(len(X))]) @ self.weight, np.full(len(X), 0.2)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.weight = arrays["weight"]


class Linear(TabularModel):
    """A ridge regression on four elemental statistics."""

    citation = ""
    summary = "linear"

    def features(self, materials: Materials) -> np.ndarray:
        X = magpie_features(materials.compositions)[:, [1, 7, 13, 19]]
        return X / (1.0 + np.abs(X))

    def regressor(self) -> _Ridge:  # type: ignore[override]
        return _Ridge()


class Fickle(Linear):
    """Good on few rows, the opposite of good on eleven and more."""

    def fit(self, inputs: np.ndarray, y: np.ndarray, train: np.ndarray, valid: np.ndarray, run: Run):
        self.many = len(train) >= 11
        return super().fit(inputs, y, train, valid, run)

    def regressor(self) -> _Ridge:  # type: ignore[override]
        made = _Ridge()
        made.spoilt = getattr(self, "many", False)
        return made


class Breaking(Linear):
    """Cannot learn from more than seven rows."""

    def fit(self, inputs: np.ndarray, y: np.ndarray, train: np.ndarray, valid: np.ndarray, run: Run):
        if len(train) > 7:
            raise RuntimeError("too much for it")
        return super().fit(inputs, y, train, valid, run)


class Parrot(Linear):
    """Knows what it was told by heart, and says 99 of anything else."""

    def features(self, materials: Materials) -> np.ndarray:
        return magpie_features(materials.compositions)

    def regressor(self):
        return _Memory()


class _Memory(_Ridge):
    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X, y

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        same = (np.abs(X[:, None] - self.X[None]).max(axis=2) < 1e-9) if len(X) else np.zeros((0, len(self.y)), bool)
        known = same.any(axis=1)
        return np.where(known, self.y[same.argmax(axis=1)], 99.0), np.full(len(X), 0.2)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"X": self.X, "y": self.y}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.X, self.y = arrays["X"], arrays["y"]
