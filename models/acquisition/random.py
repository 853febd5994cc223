"""The baseline: uniform over the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.acquisition.problem import data_hash, generator_seed
from models.candidate import Candidate
from models.observation import Choice, Observation
from models.roles import Pool


class RandomAcquisition:
    """Chooses uniformly at random among what was neither observed nor is pending.

    Takes and ignores the arguments of ``BayesAcquisition``, so that one may stand for the other.
    """

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def choose(
        self, pool: Pool, observations: Sequence[Observation], pending: Sequence[Candidate], q: int, *, seed: int
    ) -> list[Choice]:
        """Return ``q`` different candidates, or all that are left; equal arguments give equal choices."""
        taken = {o.candidate.id for o in observations} | {c.id for c in pending}
        rng = np.random.default_rng(generator_seed(seed))
        seen = data_hash(pool, observations, pending)
        choices: list[Choice] = []
        for row in rng.permutation(len(pool)):
            if len(choices) >= q:
                break
            candidate = pool[int(row)]
            if candidate.id not in taken:
                taken.add(candidate.id)
                choices.append(Choice(candidate=candidate, value=0.0, method="random", data_hash=seen))
        return choices
