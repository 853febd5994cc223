"""Several systems that see the same material differently, averaged by how well each foresees what it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from models.blocks.checkpoint import nested
from models.blocks.fitting import History, Run
from models.blocks.materials import Materials
from models.blocks.stacking import best_weights
from models.predictors.property import PropertyModel
from models.registry import resolve


class CompositionBlend(PropertyModel):
    """Two stacks of trees and processes and a network, weighed by their errors on validation rows (Breiman's stacking).

    Weights are not negative and sum to one; without validation rows all are equal.
    """

    citation = "10.1007/BF00117832"
    summary = "supercon, elements and pairs, weighed by their validation errors"
    speed = "1,100"
    again = 0.45
    parts: ClassVar[tuple[str, ...]] = ("supercon", "elements", "pairs")

    def __init__(self, *, targets: int = 1, seed: int = 0, uses: tuple[str, ...] = ()) -> None:
        super().__init__(targets=targets, seed=seed, uses=uses)
        self.models = [resolve("properties", name)(targets=targets, seed=seed, uses=uses) for name in self.parts]
        networks = [model.schedule for model in self.models if model.schedule is not None]
        if networks:
            self.schedule = replace(networks[0], epochs=sum(schedule.epochs for schedule in networks))
        self.structure = any(model.structure for model in self.models)  # type: ignore[misc]

    def prepare(self, materials: Materials) -> list[Any]:
        """Each one's inputs."""
        return [model.prepare(materials) for model in self.models]

    def fit(self, inputs: list[Any], y: np.ndarray, train: np.ndarray, valid: np.ndarray, run: Run) -> History:
        """Fit one after the other, then weigh them. Forests first; networks share what is left of a budget."""
        import time

        began, order = (
            time.monotonic(),
            np.argsort([model.schedule is not None for model in self.models], kind="stable"),
        )
        networks = sum(model.schedule is not None for model in self.models)
        rows, best, share = [], 0, 0.0
        for place, k in enumerate(order):
            model = self.models[k]
            step: dict[str, Any] = {"resume": _of_part(run.resume, int(k))}
            if run.budget_s is not None:
                left = max(1.0, run.budget_s - (time.monotonic() - began))
                step["budget_s"] = left / (networks if model.schedule is not None else len(order) - place)
                networks -= model.schedule is not None
            if run.report is not None:
                step["report"] = _part(run.report, place, len(order))
            history = model.fit(inputs[k], y, train, valid, replace(run, **step))
            if step["resume"] is not None:
                step["resume"].unlink(missing_ok=True)
            rows, best = rows + history.rows, len(rows) + history.best_epoch
            share += 1.0 / len(order)
        self.weights = np.full((len(self.models), y.shape[1]), 1.0 / len(self.models))
        if len(valid) >= 10:
            means = np.stack([m.predict(m.select(x, valid))[0] for m, x in zip(self.models, inputs, strict=True)])
            for j in range(y.shape[1]):
                known = ~np.isnan(y[valid, j])
                self.weights[:, j] = best_weights(means[:, known, j], y[valid, j][known])
        return History([(i + 1, loss, error) for i, (_, loss, error) in enumerate(rows)], best)

    def fit_all(self, inputs: list[Any], y: np.ndarray, rows: np.ndarray, run: Run) -> None:
        """Those parts that can; the weights stay."""
        able = sum(model.again > 0 for model in self.models)
        share = replace(run, budget_s=None if run.budget_s is None else run.budget_s / max(able, 1))
        for k, (model, one) in enumerate(zip(self.models, inputs, strict=True)):
            resume = _of_part(run.resume, k)
            model.fit_all(one, y, rows, replace(share, resume=resume))
            if resume is not None:
                resume.unlink(missing_ok=True)

    def needs_s(self, inputs: list[Any], y: np.ndarray, rows: np.ndarray, run: Run) -> float:
        """What the networks take, and as much again for each part that has no epochs."""
        takes = [model.needs_s(one, y, rows, run) for model, one in zip(self.models, inputs, strict=True)]
        return sum(takes) * len(takes) / max(1, sum(seconds > 0 for seconds in takes))

    def select(self, inputs: list[Any], rows: np.ndarray) -> list[Any]:
        """Some rows of each."""
        return [model.select(one, rows) for model, one in zip(self.models, inputs, strict=True)]

    def predict(self, inputs: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        """The mixture's mean and standard deviation, (n, t)."""
        found = [model.predict(one) for model, one in zip(self.models, inputs, strict=True)]
        means, stds = (np.stack(part) for part in zip(*found, strict=True))
        weights = self.weights[:, None, :]
        mean = (weights * means).sum(axis=0)
        return mean, np.sqrt((weights * (stds**2 + (means - mean) ** 2)).sum(axis=0))

    def arrays(self) -> dict[str, np.ndarray]:
        """Of all parts."""
        out = {f"{k}/{name}": a for k, model in enumerate(self.models) for name, a in model.arrays().items()}
        return out | {"weights": self.weights}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Of all parts."""
        self.weights = arrays["weights"]
        for k, model in enumerate(self.models):
            model.restore(nested(arrays, str(k)))


class StructureBlend(CompositionBlend):
    """CGCNN, ALIGNN and the multilayer forest, weighed by their errors on validation rows."""

    summary = "cgcnn, alignn and multilayer, weighed by their validation errors"
    speed = "90"
    again = 0.2
    structure = True
    parts: ClassVar[tuple[str, ...]] = ("multilayer", "cgcnn", "alignn")


class PotentialBlend(CompositionBlend):
    """A stack on CHGNet's atom vectors, and CGCNN, weighed by their errors on validation rows."""

    summary = "chgnet and cgcnn, weighed by their validation errors"
    speed = "30"
    again = 0.2
    structure = True
    parts: ClassVar[tuple[str, ...]] = ("chgnet", "cgcnn")


def _of_part(resume: Path | None, k: int) -> Path | None:
    """Where the k-th part keeps its unfinished state."""
    return None if resume is None else resume.with_suffix(f".{k}")


def _part(report: Any, place: int, count: int) -> Any:
    return lambda epoch, progress, loss, error: report(epoch, (place + progress) / count, loss, error)
