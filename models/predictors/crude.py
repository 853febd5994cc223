"""Crude estimation of property: a cheap, inaccurate estimate of a target helps any model of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.blocks.checkpoint import nested
from models.blocks.fitting import History, Run
from models.blocks.materials import Materials
from models.predictors.property import PropertyModel
from models.registry import resolve

Estimate = Callable[[Materials], np.ndarray]
"""Materials -> (n,) cheap estimates; nan where there is none."""
_COLUMN = "crude estimate"


class CrudeModel(PropertyModel):
    """Any model, helped by a crude estimate (Zhang and Ling, npj Comput. Mater. 2018).

    The estimate joins the features. Beside the paper: a ridge regression of the target on the estimate and the atomic
    fractions goes first (it takes up the references of the elements that two theories differ by), the model learns what
    is left.
    """

    citation = "10.1038/s41524-018-0081-z"
    summary = "any model, helped by a cheap estimate of the same property"

    def __init__(self, base: PropertyModel, estimate: Estimate) -> None:
        super().__init__(targets=base.targets, seed=base.seed, uses=base.uses)
        self.base, self.estimate = base, estimate
        self.structure, self.schedule, self.again = base.structure, base.schedule, base.again  # type: ignore[misc]
        base.uses = (*base.uses, _COLUMN)

    def prepare(self, materials: Materials) -> _Inputs:
        """The base's inputs with the estimate among them, and what the ridge regression sees."""
        crude = np.asarray(self.estimate(materials), dtype=float)
        known = np.isfinite(crude)
        filled = np.where(known, crude, crude[known].mean() if known.any() else 0.0)
        joined = Materials(
            materials.formulas, materials.compositions, materials.cells,
            {**materials.columns, _COLUMN: filled}, materials.flags,
        )  # fmt: skip
        linear = np.column_stack([filled, materials.compositions.dense()])
        return _Inputs(self.base.prepare(joined), linear)

    _weights: np.ndarray

    def fit(self, inputs: _Inputs, y: np.ndarray, train: np.ndarray, valid: np.ndarray, run: Run) -> History:
        """The ridge regression, then the base on what it leaves."""
        X = inputs.linear
        self._weights = np.zeros((X.shape[1], y.shape[1]))
        for k in range(y.shape[1]):
            known = train[~np.isnan(y[train, k])]
            weight = _ridge(X[known], y[known, k])
            for _ in range(5):  # towards the least absolute error: a few rows far off must not bend the line
                error = np.abs(X[known] @ weight - y[known, k])
                weight = _ridge(X[known], y[known, k], 1.0 / np.maximum(error, 0.3 * np.median(error) + 1e-9))
            self._weights[:, k] = weight
        return self.base.fit(inputs.base, y - X @ self._weights, train, valid, run)

    def fit_all(self, inputs: _Inputs, y: np.ndarray, rows: np.ndarray, run: Run) -> None:
        """The base again, on what the same regression leaves of all rows: networks of a blend have learned that."""
        self.base.fit_all(inputs.base, y - inputs.linear @ self._weights, rows, run)

    def predict(self, inputs: _Inputs) -> tuple[np.ndarray, np.ndarray]:
        """The sum of both."""
        mean, std = self.base.predict(inputs.base)
        return mean + inputs.linear @ self._weights, std

    def select(self, inputs: _Inputs, rows: np.ndarray) -> _Inputs:
        """Some rows of both."""
        return _Inputs(self.base.select(inputs.base, rows), inputs.linear[rows])

    def arrays(self) -> dict[str, np.ndarray]:
        """Of both."""
        return {"weights": self._weights, **{f"base/{k}": v for k, v in self.base.arrays().items()}}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Of both."""
        self._weights = arrays["weights"]
        self.base.restore(nested(arrays, "base"))


@dataclass
class _Inputs:
    base: Any
    linear: np.ndarray


def with_crude(base: PropertyModel, cheap: Estimate) -> CrudeModel:
    """Return ``base`` helped by ``cheap``."""
    return CrudeModel(base, cheap)


def build_model(name: str, *, crude: str = "", **settings: Any) -> PropertyModel:
    """Make a system by name; ``crude`` is a column, or ``chgnet`` for that potential's energy an atom."""
    model: PropertyModel = resolve("properties", name)(**settings)
    if not crude:
        return model
    if crude == "chgnet":
        from models.predictors.potential import energies_eV_per_atom

        return with_crude(model, energies_eV_per_atom)
    return with_crude(model, lambda materials: materials.numbers_of(crude))


def _ridge(X: np.ndarray, y: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    weight = np.ones(len(y)) if importance is None else importance / importance.mean()
    weighted = X * weight[:, None]
    return np.linalg.solve(weighted.T @ X + 1e-3 * np.eye(X.shape[1]), weighted.T @ y)
