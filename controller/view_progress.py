"""What a display needs to know of a campaign, kept up to date at the cost of what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.state import State
from models.acquisition.hypervolume import pareto_front
from models.candidate import Candidate
from models.observation import Constraint, Objective, Observation
from models.outcome import averaged, is_feasible

LEADERS = 20
OUTCOMES = {
    "measured": "measured",
    "failed_synthesis": "failed synthesis",
    "failed_measurement": "failed measurement",
}


@dataclass(frozen=True)
class Result:
    """One finished experiment, with what was best when it ended.

    Attributes:
        number: how many experiments have finished, this one included.
        observation: what it taught.
        reason: why it failed or does not count; ``""`` where it counts.
        feasible: every objective known, every constraint met.
        is_best: nothing before it was better in the first objective.
        best: the best so far, or ``None``.
    """

    number: int
    observation: Observation
    reason: str
    feasible: bool
    is_best: bool
    best: Observation | None


class Progress:
    """Follows a campaign: outcomes counted, the Pareto front kept, the new results handed out once.

    ``take`` costs what is new, not what is known: the front of old and new results is the front of the old front and
    the new results. ``leaders`` are the best by the first objective alone. A candidate that was measured several times
    counts once, with the mean of its results.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.infeasible = 0
        self.feasible: dict[str, list[Observation]] = {}
        self.front: list[Observation] = []
        self.leaders: list[Observation] = []

    @property
    def best(self) -> Observation | None:
        """The best feasible result by the first objective."""
        return self.front[0] if self.front else None

    def take(self, state: State) -> list[Result]:
        """Return the results that came since the last call."""
        return [self._add(state, observation) for observation in state.observations[self.seen :]]

    def _add(self, state: State, observation: Observation) -> Result:
        campaign = state.require()
        self.seen += 1
        self.counts[observation.outcome] += 1
        experiment = state.experiments.get(observation.experiment)
        reason = experiment.reason if experiment else ""
        feasible = is_feasible(observation, campaign.objectives, campaign.constraints)
        is_best = False
        if feasible:
            before = self.best
            results = self.feasible.setdefault(observation.candidate.id, [])
            results.append(observation)
            if len(results) == 1:
                self._join_front(observation, campaign.objectives)
            else:  # its mean may be worse than what it was: begin again
                self.front, self.leaders = [], []
                for candidate in self.feasible.values():
                    self._join_front(averaged(candidate)[0], campaign.objectives)
            is_best = self.front[0].candidate == observation.candidate and before != self.front[0]
        elif observation.candidate.fidelity:
            reason = reason or f"at fidelity {observation.candidate.fidelity}"
        elif observation.outcome == "measured":
            self.infeasible += 1
            reason = reason or f"does not count: {_broken(observation, campaign.constraints)}"
        return Result(self.seen, observation, reason, feasible, is_best, self.best)

    def _join_front(self, observation: Observation, objectives: Sequence[Objective]) -> None:
        members = [*self.front, observation]
        values = np.array([[o.values[objective.name] for objective in objectives] for o in members])
        kept = [members[i] for i in pareto_front(values, [objective.sign for objective in objectives])]
        first = objectives[0]
        kept.sort(key=lambda o: -first.sign * o.values[first.name])
        self.front = kept
        self.leaders = sorted([*self.leaders, observation], key=lambda o: -first.sign * o.values[first.name])[:LEADERS]


def counted(outcome: str, count: int) -> str:
    """``3 failed syntheses``."""
    words = OUTCOMES[outcome]
    if count == 1 or outcome == "measured":
        return f"{count} {words}"
    return f"{count} {words.removesuffix('is')}es" if words.endswith("is") else f"{count} {words}s"


def _broken(observation: Observation, constraints: Sequence[Constraint]) -> str:
    """Why a measured result does not count."""
    values = observation.values
    told = [f"{c.name} is not known" for c in constraints if c.name not in values]
    known = [c for c in constraints if c.name in values]
    told += [f"{c.name} = {number(values[c.name])}" for c in known if not c.satisfied(values[c.name])]
    return ", ".join(told) or "an objective is not known"


def number(value: float) -> str:
    """Four significant digits, without an exponent where people would not write one."""
    size = abs(value)
    if size and (size >= 1e6 or size < 1e-3):
        return f"{value:.3g}"
    return f"{value:.0f}" if size >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """``48 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 d 4 h``."""
    total = max(0, round(seconds))
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if days >= 2:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {total % 60:02d} s" if minutes else f"{total} s"


def clean(text: str) -> str:
    """The text without control characters: what a user, a file or an instrument sent must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def label(candidate: Candidate) -> str:
    """How people call a candidate: ``Co2MnSi (L2_1)``, or its id and its parameters."""
    if candidate.formula and candidate.prototype:
        return clean(f"{candidate.formula} ({candidate.prototype})")
    dials = [
        f"{name}={number(value) if isinstance(value, float) else value}"
        for name, value in candidate.parameters.items()
        if value != candidate.formula
    ]
    more = f" +{len(dials) - 4}" if len(dials) > 4 else ""
    return clean(" ".join([candidate.formula or candidate.id, *dials[:4]]) + more)
