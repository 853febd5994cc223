"""What random search would have found: computed where the run can know it, and said to be unknown where it cannot.

- A table holds every answer: random orders of its rows are played, each row giving one of its replicates, and judged as
  the run's own results are.
- Any other space: the curve of another run that chose at random, where one is given.
- Else, of the run's own results only those chosen before any model (the initial design) can be put in random order,
  and only as far as they go. Nothing is extrapolated.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from controller.campaign import expand_path
from controller.errors import AthanorError, RunStateError
from controller.report_data import RunData, collect, curves_of, running_best, volumes
from controller.report_names import pretty
from controller.rundir import RunDirectory
from controller.science import measured_names, science_spec
from controller.summary import is_feasible
from models.errors import ModelError
from models.observation import Observation
from models.outcome import evaluate
from models.spaces.spec import TableSpec
from models.spaces.table import TableSpace, read_table

ORDERS = 1000
VOLUME_ORDERS = 200
LARGEST_TABLE = 50_000


@dataclass(frozen=True)
class Band:
    """Median over random orders, and the band that holds 80 % of them; one run has no band. NaN where undefined."""

    middle: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Baseline:
    """A curve to compare with, and what it is.

    Attributes:
        label: for the legend.
        note: how it was computed, or why there is none; a sentence for the page.
        best: of the first objective; ``None`` where there is none.
        volume: hypervolume; ``None`` where there is none.
        reach: experiments after which half of the random orders were at least as good as the run; ``None`` unknown.
    """

    label: str
    note: str
    best: Band | None = None
    volume: Band | None = None
    reach: int | None = None


def baseline_of(run: RunData, other: Path | None) -> Baseline:
    """The fairest comparison that can be had.

    Raises:
        RunStateError: ``other`` is not a run of the same space, objectives and constraints.
    """
    if other is not None:
        return _of_run(run, other)
    if isinstance(run.campaign.space, TableSpec):
        try:
            return _of_table(run, run.campaign.space)
        except (ModelError, AthanorError, OSError) as error:
            return Baseline("", f"Random search cannot be simulated, the table is not available: {error}")
    return _of_initial_design(run)


def _of_run(run: RunData, path: Path) -> Baseline:
    other = collect(RunDirectory(path))
    mine, theirs = run.campaign, other.campaign
    for key in ("space", "objectives", "constraints"):
        if getattr(mine, key) != getattr(theirs, key):
            raise RunStateError(f"{path}: its {key} differ from this run's, so the two cannot be compared.")
    seen = [row.observation for row in other.finished if row.observation]
    curves = curves_of(seen, mine.objectives, mine.constraints, run.curves.reference)
    how = theirs.acquisition.name
    sign = mine.objectives[0].sign
    matched = _matched(sign * run.curves.best, sign * curves.best)
    told = f" In {pretty(mine.objectives[0].name)}, {matched}." if matched else ""
    if run.curves.volume is not None and curves.volume is not None:
        matched = _matched(run.curves.volume, curves.volume)
        told += f" In hypervolume, {matched}." if matched else ""
    return Baseline(
        f"{how}, seed {theirs.seed}",
        f"Compared with one run whose candidates were chosen by “{how}” in the same space "
        f"({len(seen)} experiments, seed {theirs.seed}, run {_run_id(other)})."
        f"{told} One run is one draw: another seed gives another curve.",
        Band(curves.best),
        Band(curves.volume) if curves.volume is not None else None,
    )


def _run_id(run: RunData) -> str:
    return run.state.started.run_id if run.state.started else "unknown"


def _matched(mine: np.ndarray, theirs: np.ndarray) -> str:
    """Which of two rising curves reached the other's last value, and when; in words, empty where one has none."""
    if not len(mine) or not len(theirs) or np.isnan(mine[-1]) or np.isnan(theirs[-1]):
        return ""
    if mine[-1] >= theirs[-1]:
        first = int(np.argmax(mine >= theirs[-1])) + 1
        return f"this run was as good after {first} experiments as that one after {len(theirs)}"
    first = int(np.argmax(theirs >= mine[-1])) + 1
    return f"that run was as good after {first} experiments as this one after {len(mine)}"


def _of_table(run: RunData, spec: TableSpec) -> Baseline:
    outcomes, feasible = _table_outcomes(run, spec)
    n, length = len(outcomes), len(run.finished)
    signs = np.array([o.sign for o in run.campaign.objectives])
    rng = np.random.default_rng(0)
    orders = int(min(ORDERS, max(50, 4_000_000 // n)))
    target = run.curves.best[-1] * signs[0] if length else np.nan
    best, reached = np.full((orders, length), np.nan), np.full(orders, n + 1.0)
    for k in range(orders):
        first = signs[0] * _draw(outcomes, feasible, rng.permutation(n), rng)[:, 0]
        best[k] = running_best(first[:length])
        hits = np.flatnonzero(first >= target)
        reached[k] = hits[0] + 1 if len(hits) else n + 1
    middle = float(np.median(reached))
    return Baseline(
        "random search",
        f"Random search: {orders:,} random orders of the table's {n:,} candidates, each candidate giving one of its "
        "measured rows. Line: median; band: the middle 80 %.",
        _band(best, signs[0]),
        _volume_band(run, outcomes, feasible, rng, length) if len(signs) > 1 else None,
        reach=int(np.ceil(middle)) if np.isfinite(target) and middle <= n else None,
    )


def _volume_band(
    run: RunData, outcomes: list[np.ndarray], feasible: list[np.ndarray], rng: np.random.Generator, length: int
) -> Band:
    signs = np.array([o.sign for o in run.campaign.objectives])
    found = []
    for _ in range(VOLUME_ORDERS):
        order = rng.permutation(len(outcomes))[:length]
        found.append(volumes(_draw(outcomes, feasible, order, rng), run.curves.reference, signs))
    return _band(np.array(found, dtype=float), 1.0)


def _draw(
    outcomes: list[np.ndarray], feasible: list[np.ndarray], order: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Objectives of the candidates in this order, one replicate each; NaN where it does not count."""
    Y = np.empty((len(order), outcomes[0].shape[1]))
    ticket = rng.random(len(order))
    for place, candidate in enumerate(order):
        replicate = int(ticket[place] * len(outcomes[candidate]))
        Y[place] = outcomes[candidate][replicate] if feasible[candidate][replicate] else np.nan
    return Y


def _table_outcomes(run: RunData, spec: TableSpec) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Objectives (replicates, m) of every candidate of the table, and which replicates count."""
    campaign, started = run.campaign, run.state.started
    base_dir = Path(started.base_dir) if started else Path()
    path = expand_path(spec.file, base_dir)
    expected = started.data_hashes.get(spec.file) if started else None
    if expected and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise RunStateError(f"{path} has changed since the run began")
    space = science_spec(campaign, base_dir).build_space()
    if not isinstance(space, TableSpace) or space.size > LARGEST_TABLE:
        raise RunStateError(f"more than {LARGEST_TABLE:,} candidates")
    frame = read_table(path)
    names = [name for name in dict.fromkeys([*measured_names(campaign), *frame.columns]) if name in frame.columns]
    numeric = frame[names].select_dtypes("number")
    groups = frame.groupby(space.columns, sort=False, dropna=False).indices
    outcomes, feasible = [], []
    for rows in sorted(groups.values(), key=lambda rows: rows[0]):
        candidate = space[len(outcomes)]
        found = []
        for row in rows:
            readings = {str(k): float(v) for k, v in numeric.iloc[int(row)].items() if np.isfinite(v)}
            values = evaluate(campaign.objectives, campaign.constraints, candidate, readings)
            found.append(Observation(experiment="", candidate=candidate, values=values, outcome="measured"))
        curve = [[o.values.get(w.name, np.nan) for w in campaign.objectives] for o in found]
        outcomes.append(np.array(curve, dtype=float))
        feasible.append(np.array([_counts(run, o) for o in found]))
    return outcomes, feasible


def _counts(run: RunData, observation: Observation) -> bool:
    return is_feasible(observation, run.campaign.objectives, run.campaign.constraints)


def _of_initial_design(run: RunData) -> Baseline:
    rows = [row for row in run.finished if row.experiment.choice.method == "initial-design" and row.observation]
    hint = (
        "What random search finds in the same space is not known to this run. To see it, run the campaign with "
        "acquisition “random” and give that run to athanor report with --baseline."
    )
    if run.campaign.acquisition.name == "random":
        return Baseline("", "This run chose at random itself: it is the yardstick, not the method.")
    if len(rows) < 3:
        return Baseline("", hint)
    objectives, constraints = run.campaign.objectives, run.campaign.constraints
    seen = [row.observation for row in rows if row.observation]
    rng = np.random.default_rng(0)
    best, found = [], []
    for _ in range(VOLUME_ORDERS):
        shuffled = [seen[i] for i in rng.permutation(len(seen))]
        curves = curves_of(shuffled, objectives, constraints, run.curves.reference)
        best.append(objectives[0].sign * curves.best)
        found.append(curves.volume)
    return Baseline(
        f"initial design, shuffled ({len(seen)} experiments)",
        f"The grey line is no random search: it shows this run's own {len(seen)} experiments that were chosen before "
        f"any model (spread over the space), in {VOLUME_ORDERS} random orders, and ends where they end. {hint}",
        _band(np.array(best), objectives[0].sign),
        _band(np.array(found, dtype=float), 1.0) if len(objectives) > 1 else None,
    )


def _band(found: np.ndarray, sign: float) -> Band:
    """Quantiles over orders (rows); an order that has found nothing yet counts as worse than any that has."""
    filled = np.where(np.isnan(found), -np.inf, found)
    low, middle, high = np.quantile(filled, [0.1, 0.5, 0.9], axis=0, method="lower") if len(found) else (filled,) * 3
    curves = [sign * np.where(np.isfinite(q), q, np.nan) for q in (middle, low, high)]
    return Band(*curves)
