"""Any system of the review as the predictor of a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.blocks.fitting import Run
from models.blocks.materials import Materials
from models.candidate import Candidate
from models.errors import DataError, NotFittedError
from models.observation import Constraint, Objective, Observation, Prediction
from models.predictors.crude import build_model
from models.predictors.members import Ensemble

_FOLDS = 3
_FEWEST = 6


class PropertyPredictor:
    """A system by name, fitted to a campaign's results: ``predictor: {name: property, model: roost}``.

    Each measured quantity gets an ensemble of three members that leave out a third of the results each; what they say
    of the left-out results sets the intervals. Fitted from scratch each time, so that equal data give equal beliefs;
    networks start from ``trained``, where that is given, and go on from there. Below six results of a quantity, its
    mean and spread are all that is claimed.

    Args:
        space: of the campaign; only its candidates' compositions and crystals are looked at.
        objectives, constraints: of the campaign: what to learn.
        model: name of a system (``athanor models list``).
        trained: folder of a trained ensemble of that system to start from, or ``""``.
        epochs: of each fit, instead of the system's own.
        seed: of everything that is drawn.
    """

    citation = "the system's own"

    def __init__(
        self, space: Any = None, *, objectives: Sequence[Objective] = (), constraints: Sequence[Constraint] = (),
        model: str = "supercon", trained: str = "", epochs: int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        exact = {o.name for o in objectives if o.source == "computed"}
        wanted = [q.name for q in (*objectives, *constraints)]
        self.quantities = tuple(name for name in dict.fromkeys(wanted) if name not in exact)
        self.model, self.epochs, self.seed = model, epochs, seed
        self._start = Ensemble.load(Path(trained)) if trained else None
        if self._start is not None and self._start.name != model:
            raise DataError(f"{trained} is a trained {self._start.name}, not {model}; give another folder or model")
        self._fitted: dict[str, Ensemble | tuple[float, float]] | None = None

    def fit(self, observations: Sequence[Observation]) -> None:
        """Learn every quantity from the observations that have it; a failed measurement teaches nothing."""
        known = [o for o in observations if o.outcome != "failed_measurement"]
        names = self.quantities or tuple(sorted({name for o in known for name in o.values}))
        self._fitted = {}
        for name in names:
            rows = [o for o in known if np.isfinite(o.values.get(name, np.nan))]
            if rows:
                y = np.array([o.values[name] for o in rows])
                self._fitted[name] = self._learn(name, Materials.from_candidates([o.candidate for o in rows]), y)

    def _learn(self, name: str, materials: Materials, y: np.ndarray) -> Ensemble | tuple[float, float]:
        if len(y) < _FEWEST or y.std() == 0:
            return float(y.mean()), float(y.std() if len(y) > 1 else abs(y.mean()))
        made = Ensemble(self.model, {"targets": 1}, (name,))
        fold = np.random.default_rng([self.seed, len(y)]).permutation(len(y)) % _FOLDS
        inputs, truth = build_model(self.model).prepare(materials), y[:, None]
        mean, std = np.zeros_like(truth), np.zeros_like(truth)
        for k in range(_FOLDS):
            member = build_model(self.model, seed=self.seed * 1000 + k)
            teach, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            warm = self._start is not None and member.schedule is not None
            if warm and self._start is not None:
                member.restore(self._start.members[k % len(self._start.members)].arrays())
            if member.schedule is not None:
                member.schedule = replace(member.schedule, batch=min(member.schedule.batch, max(4, len(teach) // 4)))
            member.fit(inputs, truth, teach, held, Run(epochs=self.epochs, warm=warm))
            mean[held], std[held] = member.predict(member.select(inputs, held))
            made.members.append(member)
        made.calibrate(truth, mean, std)
        return made

    def predict(self, candidates: Sequence[Candidate]) -> list[dict[str, Prediction]]:
        """Return one dict (quantity -> Prediction) a candidate. Raises NotFittedError before ``fit``."""
        if self._fitted is None:
            raise NotFittedError("call fit(observations) before asking for predictions")
        out: list[dict[str, Prediction]] = [{} for _ in candidates]
        materials = Materials.from_candidates(candidates)
        inputs = None
        for name, learned in self._fitted.items():
            if isinstance(learned, Ensemble):
                inputs = learned.members[0].prepare(materials) if inputs is None else inputs
                mean, std = learned.predict_inputs(inputs)
                beliefs = zip(mean[:, 0].tolist(), std[:, 0].tolist(), strict=True)
            else:
                beliefs = iter([learned] * len(candidates))
            for row, (centre, spread) in zip(out, beliefs, strict=True):
                row[name] = Prediction(mean=centre, std=spread)
        return out

    def version(self) -> str:
        """Digest of what was learned."""
        from models.candidate import digest

        learned = self._fitted or {}
        return digest({name: x.version if isinstance(x, Ensemble) else list(x) for name, x in learned.items()})
