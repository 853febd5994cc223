"""Which candidate at which fidelity: what moves the belief about the full measurement most for its cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.acquisition.beliefs import Beliefs, Incumbents
from models.acquisition.ceiling import Worth
from models.acquisition.problem import Problem
from models.acquisition.surrogate import GaussianProcess
from models.errors import DataError
from models.fidelity import Fidelity
from models.observation import Objective

_FULL_EVERY = 3  # of the first experiments is measured in full; the others at the cheapest fidelity


@dataclass(frozen=True)
class Level:
    """A way to learn: task 0 is the full measurement, task k the k-th of the campaign's fidelities."""

    task: int
    name: str
    cost: float


FULL = Level(0, "", 1.0)


def graded(fidelities: Sequence[Fidelity], objectives: Sequence[Objective]) -> tuple[Fidelity, ...]:
    """The fidelities with their objective named. Raises DataError where they do not fit the objectives."""
    found = tuple(f.model_copy(update={"of": f.of or objectives[0].name}) for f in fidelities)
    names = [f.name for f in found]
    if len(set(names)) < len(names) or len({f.of for f in found}) > 1:
        raise DataError(f"fidelities {names}: give each a name of its own, all of the same objective")
    for f in found:
        wanted = next((o for o in objectives if o.name == f.of), None)
        if wanted is None or wanted.source == "computed":
            raise DataError(f"fidelity {f.name}: {f.of!r} is no measured objective")
        if f.reading in {o.name for o in objectives}:
            raise DataError(f"fidelity {f.name}: its reading needs a name of its own, {f.reading!r} is an objective")
    return found


def levels(fidelities: Sequence[Fidelity]) -> tuple[Level, ...]:
    """The full measurement, then the fidelities."""
    return (FULL, *(Level(k, f.name, f.cost) for k, f in enumerate(fidelities, 1)))


def first_level(fidelities: Sequence[Fidelity], number: int) -> Level:
    """Fidelity of the ``number``-th experiment of the start: mostly the cheapest."""
    every = levels(fidelities)
    return every[0] if number % _FULL_EVERY == _FULL_EVERY - 1 else min(every, key=lambda level: level.cost)


def value_per_cost(
    problem: Problem, beliefs: Beliefs, incumbents: Incumbents, rows: np.ndarray, every: Sequence[Level], of: str
) -> np.ndarray:
    """Log of expected improvement per cost of measuring each of (k,) rows at each level, (k, levels).

    The improvement is that of the *expectation* of the full measurement at the candidate, whose standard deviation
    before a measurement at level l is |cov(f, f_l)| / sqrt(var f_l + noise_l): the knowledge gradient at the candidate
    itself (Frazier, Powell & Dayanik, INFORMS J. Comput. 21, 599, 2009). It is expected improvement where the full
    measurement has no noise, and less where the fidelity is loosely related or has been used up there.
    """
    X = torch.from_numpy(np.asarray(problem.pool_X[rows], dtype=float))
    seen = beliefs.appraise(X, {name: e.pool[rows] for name, e in problem.exact.items()})
    place = next(j for j, o in enumerate(beliefs.objectives) if o.name == of)
    process, worth = beliefs.surrogates[of], Worth.over(incumbents)
    columns = []
    for level in every:
        std = torch.zeros_like(seen.std) if level.task else seen.std.clone()
        if isinstance(process, GaussianProcess):
            std[:, place] = process.informed_std(X, level.task)
        elif level.task:
            std[:, place] = 0.5 * seen.std[:, place]
        columns.append(worth.of(replace(seen, std=std))[0].numpy() - math.log(level.cost))
    return np.column_stack(columns)
