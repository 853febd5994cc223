"""What the report says, as plain data: gathered from a run's journal alone, at any moment of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from controller import events as ev
from controller.campaign import Campaign
from controller.errors import StorageError
from controller.journal import Journal
from controller.rundir import RunDirectory
from controller.state import Experiment, State, evolve
from models.acquisition.hypervolume import hypervolume, pareto_front
from models.observation import Constraint, Objective, Observation
from models.outcome import is_feasible


@dataclass(frozen=True)
class Row:
    """One experiment.

    Attributes:
        order: place in the order of choice, from 1.
        finished: place in the order of finishing, from 1; ``None`` while it is under way.
        observation: what it taught; ``None`` while it is under way.
        feasible: every objective known, every constraint known and met.
        hours: instrument -> lab hours, repeated measurements included.
        start_h, finish_h: lab hours of its first and last moment on an instrument; ``None`` before the first.
    """

    experiment: Experiment
    order: int
    finished: int | None
    observation: Observation | None
    feasible: bool
    hours: dict[str, float]
    start_h: float | None
    finish_h: float | None

    @property
    def values(self) -> dict[str, float]:
        """Every known quantity; empty while it is under way."""
        return self.observation.values if self.observation else {}


@dataclass(frozen=True)
class Curves:
    """How good the run was after each finished experiment; NaN before the first feasible result.

    Attributes:
        best: best feasible first objective, (n,).
        volume: dominated hypervolume, (n,); ``None`` for one objective.
        reference: where the hypervolume begins.
    """

    best: np.ndarray
    volume: np.ndarray | None
    reference: tuple[float, ...]


@dataclass(frozen=True)
class Session:
    """One controller's hold on the run."""

    epoch: int
    host: str
    pid: int
    begin: float
    end: float


@dataclass
class RunData:
    """A run, ready to be reported.

    Attributes:
        rows: in the order of choice.
        finished: in the order of finishing.
        front: feasible rows on the Pareto front (one objective: the best one), best first objective first.
        ranking: the front, then every other feasible row by the first objective.
        notes: what the journal records beside experiments (stops, lost actors, refused doors), in words.
        integrity: what the check of the journal's hash chain found.
    """

    state: State
    campaign: Campaign
    rows: list[Row]
    finished: list[Row]
    front: list[Row]
    ranking: list[Row]
    curves: Curves
    sessions: list[Session]
    notes: list[str] = field(default_factory=list)
    events: int = 0
    integrity: str = ""

    @property
    def wall_s(self) -> float:
        """Wall seconds during which a controller had the run."""
        return sum(session.end - session.begin for session in self.sessions)


def collect(directory: RunDirectory) -> RunData:
    """Read a run. Raises RunStateError where there is none, StorageError where its journal cannot be read."""
    directory.require()
    journal = Journal(directory.journal, readonly=True)
    try:
        state, sessions, notes, last = State(), [], [], 0.0
        for _, wall, event in journal.read():
            state = evolve(state, event)
            if isinstance(event, ev.ControllerStarted):
                if sessions:
                    sessions[-1] = _ended(sessions[-1], last)
                sessions.append(Session(event.epoch, event.host, event.pid, wall, wall))
            last = wall
            notes += _note(event)
        if sessions:
            sessions[-1] = _ended(sessions[-1], last)
        try:
            events = journal.verify()
            integrity = f"all {events:,} events are as they were written"
        except StorageError as error:
            events, integrity = 0, f"NOT INTACT: {error}"
    finally:
        journal.close()
    campaign = state.require()
    rows = _rows(state, campaign)
    finished = sorted((row for row in rows if row.finished is not None), key=lambda row: row.finished or 0)
    good = [row for row in finished if row.feasible]
    front, ranking = _rank(good, campaign.objectives)
    seen = [row.observation for row in finished if row.observation]
    curves = curves_of(seen, campaign.objectives, campaign.constraints)
    return RunData(
        state, campaign, rows, finished, front, ranking, curves, sessions, notes, events=events, integrity=integrity
    )


def curves_of(
    observations: Sequence[Observation],
    objectives: tuple[Objective, ...],
    constraints: tuple[Constraint, ...],
    reference: tuple[float, ...] | None = None,
) -> Curves:
    """Best value and hypervolume after each observation; an undeclared reference is the worst value seen."""
    signs = np.array([o.sign for o in objectives])
    Y = np.full((len(observations), len(objectives)), np.nan)
    for i, observation in enumerate(observations):
        if is_feasible(observation, objectives, constraints):
            Y[i] = [observation.values[o.name] for o in objectives]
    if reference is None:
        reference = tuple(_reference(o, Y[:, j]) for j, o in enumerate(objectives))
    return Curves(running_best(signs[0] * Y[:, 0]) * signs[0], volumes(Y, reference, signs), reference)


def running_best(values: np.ndarray) -> np.ndarray:
    """Largest entry so far along the last axis; NaN entries count for nothing."""
    best = np.maximum.accumulate(np.where(np.isnan(values), -np.inf, values), axis=-1)
    return np.where(np.isfinite(best), best, np.nan)


def volumes(Y: np.ndarray, reference: Sequence[float], signs: np.ndarray) -> np.ndarray | None:
    """Hypervolume after each row of ``Y``, (n,); rows with NaN add nothing. ``None`` for one objective."""
    if Y.shape[1] < 2:
        return None
    out, kept, volume = np.zeros(len(Y)), np.empty((0, Y.shape[1])), 0.0
    for i, y in enumerate(Y):
        dominated = len(kept) and (kept * signs >= y * signs).all(axis=1).any()
        if np.isfinite(y).all() and not dominated:
            kept = np.vstack([kept, y])
            kept = kept[pareto_front(kept, signs.tolist())]
            volume = hypervolume(kept, reference, signs.tolist())
        out[i] = volume
    return out


def _reference(objective: Objective, values: np.ndarray) -> float:
    if objective.reference is not None:
        return objective.reference
    seen = values[np.isfinite(values)] * objective.sign
    return float(seen.min() * objective.sign) if len(seen) else 0.0


def _ended(session: Session, wall: float) -> Session:
    return Session(session.epoch, session.host, session.pid, session.begin, wall)


def _note(event: ev.Event) -> list[str]:
    if isinstance(event, ev.StopRequested):
        return [f"stop requested by {event.by}"]
    if isinstance(event, ev.ComputeRestarted):
        return [f"actors restarted: {event.reason}"]
    if isinstance(event, ev.ChoiceMade) and event.fallbacks:
        return [f"decision {event.decision}: {'; '.join(event.fallbacks)}"]
    if isinstance(event, ev.InstrumentRetired):
        return [f"{event.instrument} taken out of service: {event.reason}"]
    if isinstance(event, ev.OutcomeUnknown):
        return [f"outcome unknown: {event.command_id}: {event.evidence}"]
    if isinstance(event, ev.Reconciled):
        return [f"{event.command_id} reconciled as {event.verdict} by {event.by}: {event.reason}"]
    if isinstance(event, ev.DoorRefused):
        return [f"turned away at {event.instrument or 'the door'}: {event.reason}"]
    return []


def _rows(state: State, campaign: Campaign) -> list[Row]:
    places = {observation.experiment: (i, observation) for i, observation in enumerate(state.observations, start=1)}
    rows = []
    for order, experiment in enumerate(state.experiments.values(), start=1):
        place, seen = places.get(experiment.id, (None, None))
        hours: dict[str, float] = {}
        for record in experiment.records:
            hours[record.instrument] = hours.get(record.instrument, 0.0) + (record.finish_s - record.start_s) / 3600
        rows.append(
            Row(
                experiment=experiment,
                order=order,
                finished=place,
                observation=seen,
                feasible=seen is not None and is_feasible(seen, campaign.objectives, campaign.constraints),
                hours=hours,
                start_h=min((r.start_s / 3600 for r in experiment.records), default=None),
                finish_h=max((r.finish_s / 3600 for r in experiment.records), default=None),
            )
        )
    return rows


def _rank(good: list[Row], objectives: tuple[Objective, ...]) -> tuple[list[Row], list[Row]]:
    if not good:
        return [], []
    first = objectives[0]
    Y = np.array([[row.values[o.name] for o in objectives] for row in good])

    def by_first(row: Row) -> float:
        return -first.sign * row.values[first.name]

    front = sorted((good[i] for i in pareto_front(Y, [o.sign for o in objectives])), key=by_first)
    front = front[:1] if len(objectives) == 1 else front
    rest = sorted((row for row in good if row not in front), key=by_first)
    return front, front + rest
