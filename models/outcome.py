"""From readings to what a model may learn: measured, derived and computed quantities in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from models.candidate import Candidate
from models.observation import Constraint, Objective, Observation
from models.quantities import compute, derive, derived_names


def evaluate(
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    candidate: Candidate,
    readings: Mapping[str, float],
) -> dict[str, float]:
    """Return every known quantity of one experiment: the readings, what follows from them, what is computed.

    A quantity whose readings are missing is left out, never invented.

    Args:
        objectives: tell which quantities are derived or computed.
        constraints: likewise; a constraint that is no reading is derived where a derived quantity has its name.
        candidate: what was made.
        readings: reading name -> number, all finite (the result gate saw to that).

    Raises:
        UnknownNameError: an objective names a quantity that nobody knows.
    """
    values = dict(readings)
    wanted = [o.name for o in objectives if o.source == "derived"]
    wanted += [c.name for c in constraints if c.name in derived_names()]
    for name in dict.fromkeys(wanted):
        value = derive(name, readings, candidate)
        if value is not None and np.isfinite(value):
            values[name] = float(value)
    for objective in objectives:
        if objective.source == "computed":
            values[objective.name] = float(compute(objective.name, [candidate])[0])
    return values


def is_feasible(observation: Observation, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> bool:
    """True where every objective is known and every constraint is known and holds."""
    values = observation.values
    return (
        observation.outcome == "measured"
        and all(objective.name in values for objective in objectives)
        and all(c.name in values and c.satisfied(values[c.name]) for c in constraints)
    )


def averaged(observations: Sequence[Observation]) -> list[Observation]:
    """One observation a candidate: where several count, the mean of their values under the first one's name.

    Otherwise the luckiest of the repetitions would stand for a candidate.
    """
    groups: dict[str, list[Observation]] = {}
    for observation in observations:
        groups.setdefault(observation.candidate.id, []).append(observation)
    return [_mean(group) if len(group) > 1 else group[0] for group in groups.values()]


def _mean(group: Sequence[Observation]) -> Observation:
    names = set.intersection(*(set(o.values) for o in group))
    values = {name: math.fsum(o.values[name] for o in group) / len(group) for name in group[0].values if name in names}
    return group[0].model_copy(update={"values": values})
