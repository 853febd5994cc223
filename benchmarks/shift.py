"""Whether a campaign's intervals hold where the model had not been: retrained, and moved by every result.

A predictor is taught with 100 results of one kind, then the campaign goes elsewhere: 50 results of another kind, a
training after every fifth, as ``actors.trainer`` does them. Counted is the share of all other rows of that kind inside
the stated 90 % interval, before the 50 results and after them; and where the first weights stay and only the intervals
follow the results (``untrained``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.blocks.calibration import coverage
from models.blocks.composition import parse
from models.candidate import Candidate
from models.errors import DataError
from models.observation import Objective, Observation
from models.predictors.learned import PropertyPredictor
from models.predictors.version import retrain
from models.retraining import Retraining

KNOWN, LOOP, EVERY, JUDGED = 100, 50, 5, 400


@dataclass(frozen=True)
class Shift:
    """A table, its target, the model, and which rows (formula, target) the campaign goes to; in words too."""

    file: str
    target: str
    model: str
    words: str
    elements: frozenset[str] = frozenset()
    above_quantile: float | None = None


SHIFTS = {
    "heusler": Shift(
        "heusler_full", "formation_energy_eV_per_atom", "melting-gp", "to alloys with Mn, Fe or Co",
        frozenset({"Mn", "Fe", "Co"}),
    ),
    "melting": Shift(
        "melting_binary", "melting_temperature_K", "melting-gp", "to the third that melts highest", above_quantile=2 / 3
    ),
    "curie": Shift("curie_temperature", "curie_temperature_K", "melting-gp", "to compounds with Co", frozenset({"Co"})),
}  # fmt: skip


def table(data: Path, seeds: int, only: Sequence[str] | None = None) -> Iterator[str]:
    """Lines of the table."""
    yield f"| data | the campaign goes | 90 % interval holds: before | after {LOOP} results | untrained | seeds |"
    yield "|---|---|---|---|---|---|"
    for name in only or SHIFTS:
        found = np.array([one(data, SHIFTS[name], seed) for seed in range(seeds)])
        cells = [f"{100 * x.mean():.0f} % ({100 * x.min():.0f}-{100 * x.max():.0f})" for x in found.T]
        yield f"| {name} | {SHIFTS[name].words} | {' | '.join(cells)} | {seeds} |"


def one(data: Path, shift: Shift, seed: int) -> tuple[float, float, float]:
    """Coverage before, after, and after with the first weights and intervals that follow the results."""
    near, far = _rows(data, shift)
    draw = np.random.default_rng(seed)
    near = [near[i] for i in draw.permutation(len(near))[:KNOWN]]
    far = [far[i] for i in draw.permutation(len(far))]
    results, others = [*near, *far[:LOOP]], far[LOOP : LOOP + JUDGED]
    settings = Retraining(every=EVERY)

    def fresh() -> PropertyPredictor:
        return PropertyPredictor(objectives=[Objective(name="y")], model=shift.model, seed=seed)

    serving, first = fresh(), fresh()
    retrain(serving, None, results[: len(near)], settings, cold=True)
    first.take_version(serving.keep_version())
    before = _covered(serving, others)
    for n in range(len(near) + EVERY, len(results) + 1, EVERY):
        new = fresh()
        if retrain(new, serving, results[:n], settings, cold=True).published:
            serving = new
    retrain(fresh(), first, results, settings, cold=True)  # only its intervals move
    return before, _covered(serving, others), _covered(first, others)


def _covered(predictor: PropertyPredictor, rows: Sequence[Observation]) -> float:
    beliefs = [row["y"] for row in predictor.predict([o.candidate for o in rows])]
    truth = np.array([o.values["y"] for o in rows])
    return coverage(truth, np.array([b.mean for b in beliefs]), np.array([b.std for b in beliefs]))


def _rows(data: Path, shift: Shift) -> tuple[list[Observation], list[Observation]]:
    """Rows that the model begins with, and rows that the campaign goes to."""
    import pandas as pd

    frame = pd.read_csv(data / "compositions" / f"{shift.file}.csv.gz", keep_default_na=False, na_values=[""])
    if "suspect_row" in frame:
        frame = frame[frame["suspect_row"].astype(str) != "True"]
    frame = frame.dropna(subset=[shift.target]).drop_duplicates("formula")
    y = frame[shift.target].astype(float).to_numpy()
    bound = np.quantile(y, shift.above_quantile) if shift.above_quantile is not None else np.inf
    near: list[Observation] = []
    far: list[Observation] = []
    for formula, value in zip(frame["formula"].astype(str), y.tolist(), strict=True):
        try:
            amounts = parse(formula)
        except DataError:  # an element beyond Pu
            continue
        made = Observation(
            experiment=formula, candidate=Candidate(id=formula, composition=amounts), values={"y": value},
            outcome="measured",
        )  # fmt: skip
        (far if value > bound or not shift.elements.isdisjoint(amounts) else near).append(made)
    return near, far
