"""A choice whatever happens: at random among what is free and feasible, where an acquisition breaks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from models.acquisition.problem import data_hash, generator_seed
from models.candidate import Candidate
from models.errors import ModelError
from models.observation import Choice, Constraint, Observation
from models.roles import Pool

log = logging.getLogger(__name__)


def choose_safely(
    choose: Callable[[], list[Choice]],
    pool: Pool,
    observations: Sequence[Observation],
    pending: Sequence[Candidate],
    q: int,
    *,
    constraints: Sequence[Constraint],
    seed: int,
) -> list[Choice]:
    """Return what ``choose`` returns, or random feasible candidates where it breaks; their note says why.

    Args:
        choose: the acquisition, with all its arguments.
        pool, observations, pending, q, seed: the same.
        constraints: those on quantities that the pool computes are kept.

    Raises:
        ModelError: what the campaign asks for does not exist; nobody can choose.
    """
    try:
        return choose()
    except ModelError:
        raise
    except Exception as error:  # whatever it was, the lab must not stand still
        log.exception("the acquisition broke, choosing at random")
        reason = f"the acquisition broke ({type(error).__name__}: {str(error)[:120]}), chosen at random"
    taken = {o.candidate.id for o in observations} | {c.id for c in pending}
    seen, choices = data_hash(pool, observations, pending), []
    for row in np.random.default_rng(generator_seed(seed)).permutation(_feasible(pool, constraints)):
        if len(choices) == q:
            break
        candidate = pool[int(row)]
        if candidate.id not in taken:
            taken.add(candidate.id)
            choices.append(Choice(candidate=candidate, value=0.0, method="random", data_hash=seen, note=reason))
    return choices


def _feasible(pool: Pool, constraints: Sequence[Constraint]) -> np.ndarray:
    inside = np.ones(len(pool), dtype=bool)
    for constraint in constraints:
        try:
            values = np.asarray(pool.computed(constraint.name), dtype=float)
        except ModelError:
            continue  # only an experiment can tell
        inside &= np.array([constraint.satisfied(float(v)) for v in values], dtype=bool)
    return np.flatnonzero(inside)
