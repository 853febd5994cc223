"""Any system of the review as the predictor of a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.candidate import Candidate
from models.errors import DataError, NotFittedError
from models.observation import Constraint, Objective, Observation, Prediction
from models.predictors.left_out import LeftOut, known, learn
from models.predictors.members import Ensemble
from models.predictors.pool_materials import pool_materials
from models.predictors.version import Version
from models.roles import Pool

_BLOCK = 4096  # candidates whose inputs are in memory at once


class PropertyPredictor:
    """A system by name, fitted to a campaign's results: ``predictor: {name: property, model: roost}``.

    Each measured quantity gets an ensemble of three members that leave out a third of the results each, the same third
    for ever; what they say of the left-out results sets the intervals. Below six results of a quantity, its mean and
    spread are all that is claimed. Networks start from ``trained``, where that is given.

    Without a trainer it is fitted from scratch at every decision; with one (``models.predictors.version``), beside the
    campaign.

    Args:
        space: of the campaign; only its candidates' compositions and crystals are looked at.
        objectives, constraints: of the campaign: what to learn, and what ``screen`` looks for.
        model: name of a system (``athanor models list``).
        trained: folder of a trained ensemble of that system to start from, or ``""``.
        epochs: of each fit, instead of the system's own.
        seed: of everything that is drawn.
        keep: ``screen`` lets at least so many candidates through.
        fewest: observations below which ``screen`` does not judge.

    Attributes:
        taught: how many observations it was fitted to.
    """

    citation = "the system's own"

    def __init__(
        self, space: Any = None, *, objectives: Sequence[Objective] = (), constraints: Sequence[Constraint] = (),
        model: str = "supercon", trained: str = "", epochs: int | None = None, seed: int = 0, keep: int = 512,
        fewest: int = 8,
    ) -> None:  # fmt: skip
        self.objectives, self.constraints = tuple(objectives), tuple(constraints)
        exact = {o.name for o in objectives if o.source == "computed"}
        wanted = [q.name for q in (*objectives, *constraints)]
        self.quantities = tuple(name for name in dict.fromkeys(wanted) if name not in exact)
        self.model, self.epochs, self.seed, self.keep, self.fewest = model, epochs, seed, keep, fewest
        self._start = Ensemble.load(Path(trained)) if trained else None
        if self._start is not None and self._start.name != model:
            raise DataError(f"{trained} is a trained {self._start.name}, not {model}; give another folder or model")
        self._learned: dict[str, LeftOut] | None = None
        self.taught = 0

    def fit(self, observations: Sequence[Observation]) -> None:
        """Learn every quantity from the observations that have it; a failed measurement teaches nothing."""
        self.go_on(observations, None)

    def go_on(self, observations: Sequence[Observation], start: PropertyPredictor | None) -> None:
        """As ``fit``, from the weights of another (a warm start, with a fifth of the epochs and learning rate)."""
        learned: dict[str, LeftOut] = {}
        for name in self.quantities or tuple(sorted({name for o in observations for name in o.values})):
            candidates, y = known(observations, name)
            if not len(y):
                continue
            before = start.learned[name].ensemble if start is not None and name in start.learned else None
            learned[name] = learn(
                self.model, name, candidates, y, seed=self.seed, epochs=self.epochs, start=before or self._start,
                short=before is not None,
            )  # fmt: skip
        self._learned, self.taught = learned, len(observations)

    def predict(self, candidates: Sequence[Candidate]) -> list[dict[str, Prediction]]:
        """Return one dict (quantity -> Prediction) a candidate. Raises NotFittedError before ``fit``."""
        out: list[dict[str, Prediction]] = [{} for _ in candidates]
        inputs = None
        for name, learned in self.learned.items():
            if learned.ensemble is not None and inputs is None:
                inputs = learned.inputs(candidates)
            mean, std = learned.predict_inputs(inputs, len(candidates))
            for row, centre, spread in zip(out, mean.tolist(), std.tolist(), strict=True):
                row[name] = Prediction(mean=centre, std=spread)
        return out

    def predict_array(self, pool: Pool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return quantity -> (mean (n,), std (n,)) over a pool, in blocks. Raises NotFittedError before ``fit``."""
        beliefs = {name: (np.empty(len(pool)), np.empty(len(pool))) for name in self.learned}
        for rows in np.array_split(np.arange(len(pool)), range(_BLOCK, len(pool), _BLOCK)):
            inputs = None
            for name, learned in self.learned.items():
                if learned.ensemble is not None and inputs is None:
                    inputs = learned.ensemble.members[0].prepare(pool_materials(pool, rows))
                for out, found in zip(beliefs[name], learned.predict_inputs(inputs, len(rows)), strict=True):
                    out[rows] = found
        return beliefs

    def screen(
        self, pool: Pool, observations: Sequence[Observation], *, fitted: bool = False
    ) -> tuple[np.ndarray | None, dict[str, float]]:
        """Drop what is confidently bad (``models.predictors.optimistic``); retrains first unless it is ``fitted``."""
        from models.predictors.optimistic import screen_with

        return screen_with(self, pool, observations, fitted=fitted)

    def left_out(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return truth, mean and std of a quantity's observations, each predicted by a member that never saw it."""
        learned = self.learned[name]
        return learned.truth, learned.mean, learned.std * learned.factor

    @property
    def learned(self) -> dict[str, LeftOut]:
        """Quantity -> what was learned of it. Raises NotFittedError."""
        if self._learned is None:
            raise NotFittedError("call fit(observations) before asking for predictions")
        return self._learned

    def keep_version(self) -> Version:
        """What was learned, as plain arrays with a hash."""
        return Version.of(self.model, self.taught, self.learned)

    def take_version(self, version: Version) -> None:
        """Believe what a version says, all of it or, where DataError is raised (damaged, another model), nothing."""
        self._learned, self.taught = version.restore(self.model), version.taught

    def version(self) -> str:
        """Digest of what was learned."""
        return self.keep_version().hash
