"""One quantity, learned by three members that leave out a third of the results each: what is left out judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from models.blocks.calibration import AdaptiveFactor
from models.blocks.fitting import Run
from models.blocks.materials import Materials
from models.candidate import Candidate
from models.observation import Observation
from models.predictors.crude import build_model
from models.predictors.members import Ensemble

FOLDS = 3
_FEWEST = 6
_SHORT = 5  # a warm start has a fifth of the epochs


@dataclass
class LeftOut:
    """What was learned of one quantity.

    Attributes:
        prior: mean and spread of the results: all that is claimed while there is no ensemble.
        ensemble: its members, one a fold; ``None`` where there are too few results, or all are equal.
        truth: (n,) the results that it has learned from, in order.
        mean, std: (n,) what the member says of each that has never seen it; ``std`` bears no factor.
        intervals: the factor on every stated standard deviation, moved by what comes after.
        noted: how many results, with those that came after, ``intervals`` has taken note of.
    """

    prior: tuple[float, float]
    ensemble: Ensemble | None
    truth: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    intervals: AdaptiveFactor = field(default_factory=lambda: AdaptiveFactor(np.zeros(0)))
    noted: int = 0

    @property
    def factor(self) -> float:
        """What a stated standard deviation is multiplied by."""
        return self.intervals.factor if self.ensemble is not None else 1.0

    def inputs(self, candidates: Sequence[Candidate]) -> Any:
        """What the members read of candidates; ``None`` where there is no ensemble."""
        if self.ensemble is None:
            return None
        return self.ensemble.members[0].prepare(Materials.from_candidates(candidates))

    def predict_inputs(self, inputs: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of n candidates, (n,) each; ``inputs`` as the members prepare them."""
        if self.ensemble is None:
            return np.full(n, self.prior[0]), np.full(n, self.prior[1])
        mean, std = self.ensemble.predict_inputs(inputs)
        return mean[:, 0], std[:, 0] * self.factor

    def unseen(self, candidates: Sequence[Candidate], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and std (without factor) of all results up to now, (m,) each: m at least n, those learned from first.

        Each comes from the member of its fold, which has not seen it and never will: nothing that is judged has taught.
        """
        n, m = len(self.truth), len(candidates)
        mean, std = np.resize(self.mean, m), np.resize(self.std, m)
        if self.ensemble is None:
            mean[n:], std[n:] = self.prior
        elif m > n:
            inputs = self.inputs(candidates[n:])
            fold = folds(candidates, seed)[n:]
            for k, member in enumerate(self.ensemble.members):
                rows = np.flatnonzero(fold == k)
                if len(rows):
                    centre, spread = member.predict(member.select(inputs, rows))
                    mean[n + rows], std[n + rows] = centre[:, 0], spread[:, 0]
        return mean, std


def folds(candidates: Sequence[Candidate], seed: int) -> np.ndarray:
    """The fold of each result, (n,): the same whatever comes after, and the same for all results of a candidate."""
    number: dict[str, int] = {}
    for candidate in candidates:
        number.setdefault(candidate.id, len(number))
    order = [np.random.default_rng([seed, block]).permutation(FOLDS) for block in range(len(number) // FOLDS + 1)]
    places = [number[candidate.id] for candidate in candidates]
    return np.array([order[place // FOLDS][place % FOLDS] for place in places], dtype=np.int64)


def learn(
    model: str, name: str, candidates: Sequence[Candidate], y: np.ndarray, *, seed: int, epochs: int | None,
    start: Ensemble | None, short: bool,
) -> LeftOut:  # fmt: skip
    """Learn one quantity of n results, y (n,).

    Args:
        model: name of a system.
        name: of the quantity.
        candidates: one a result.
        y: values.
        seed: of folds and members.
        epochs: instead of the system's own.
        start: networks go on from these members.
        short: ``start`` knows most of these results already, so a fifth of the epochs will do.
    """
    prior = (float(y.mean()), float(y.std() if len(y) > 1 else abs(y.mean())))
    fold = folds(candidates, seed)
    if len(y) < _FEWEST or y.std() == 0 or len(set(fold.tolist())) < FOLDS:
        return LeftOut(prior, None, y, np.full(len(y), prior[0]), np.full(len(y), prior[1]), noted=len(y))
    made = Ensemble(model, {"targets": 1}, (name,))
    inputs, truth = build_model(model).prepare(Materials.from_candidates(candidates)), y[:, None]
    mean, std, nobody = np.zeros(len(y)), np.zeros(len(y)), np.zeros(0, dtype=np.int64)
    for k in range(FOLDS):
        member = build_model(model, seed=seed * 1000 + k)
        teach, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        schedule = member.schedule
        warm = start is not None and schedule is not None
        if warm and start is not None:
            member.restore(start.members[k % len(start.members)].arrays())
        few = epochs
        if schedule is not None:
            member.schedule = replace(schedule, batch=min(schedule.batch, max(4, len(teach) // 4)))
            few = max(1, (epochs or schedule.epochs) // _SHORT) if short else epochs
        # What judges does not choose the epoch either.
        member.fit(inputs, truth, teach, nobody, Run(epochs=few, warm=warm))
        centre, spread = member.predict(member.select(inputs, held))
        mean[held], std[held] = centre[:, 0], spread[:, 0]
        made.members.append(member)
    scores = np.abs(y - mean) / np.maximum(std, 1e-12)
    return LeftOut(prior, made, y, mean, std, AdaptiveFactor(scores), len(y))


def known(observations: Sequence[Observation], name: str) -> tuple[list[Candidate], np.ndarray]:
    """The candidates of which a quantity is known, and its values; a failed measurement teaches nothing."""
    rows = [o for o in observations if o.outcome != "failed_measurement" and np.isfinite(o.values.get(name, np.nan))]
    return [o.candidate for o in rows], np.array([o.values[name] for o in rows])
