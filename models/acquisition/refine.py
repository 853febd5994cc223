"""Better candidates than a continuous space has proposed: uphill in the acquisition's own value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from models.acquisition.beliefs import Beliefs
from models.acquisition.ceiling import Worth
from models.acquisition.problem import Problem
from models.candidate import Candidate
from models.observation import Constraint
from models.quantities import compute
from models.roles import Pool

_SHRINK = (1.0, 0.5, 0.25, 0.1, 0.04)  # of the moves, round by round
_STARTS = 8  # best candidates from which a round moves
_MOVES = 96  # a round


@runtime_checkable
class Movable(Protocol):
    """A space in which one can move."""

    def neighbours(self, incumbents: Sequence[Candidate], n: int, seed: int, shrink: float = 1.0) -> list[Candidate]:
        """Up to ``n`` candidates near the incumbents."""
        ...


def movable(pool: Pool) -> Movable | None:
    """The space of a pool, where it is one in which one can move."""
    space = getattr(pool, "space", None)
    return space if isinstance(space, Movable) else None


def uphill(
    space: Movable, pool: Pool, problem: Problem, beliefs: Beliefs, worth: Worth, starts: np.ndarray, *, seed: int
) -> list[Candidate]:
    """Search from the best of a pool for candidates of more worth; the best found, best first.

    Each round moves a shorter way from the best so far: an evolution strategy on the acquisition's value, over floats,
    integers, categories, fractions and pool candidates alike, that never leaves the constraints, for the space makes
    the moves.

    Args:
        space: the pool's.
        pool: for features.
        problem: when the batch begins.
        beliefs: with pending points believed.
        worth: of a point.
        starts: (k,) rows to begin with.
        seed: the only source of randomness.
    """
    best = [pool[int(row)] for row in starts[:_STARTS]]
    scores = _scores(pool, problem, beliefs, worth, best)
    found: dict[str, tuple[float, Candidate]] = {}
    own = {c.id for c in best}
    for turn, shrink in enumerate(_SHRINK):
        moved = space.neighbours(best, _MOVES, seed + turn, shrink)
        if not moved:
            break
        new = _scores(pool, problem, beliefs, worth, moved)
        found.update((c.id, (float(s), c)) for c, s in zip(moved, new, strict=True))
        both, values = [*best, *moved], np.concatenate([scores, new])
        order = np.argsort(-values, kind="stable")[:_STARTS]
        best, scores = [both[k] for k in order], values[order]
    ranked = sorted(found.values(), key=lambda pair: -pair[0])[: 2 * _STARTS]
    return [c for score, c in ranked if c.id not in own and np.isfinite(score)]


def exactly(names: Sequence[str], candidates: Sequence[Candidate]) -> dict[str, np.ndarray]:
    """Exactly known quantities of candidates."""
    return {name: compute(name, candidates) for name in names}


def _scores(
    pool: Pool, problem: Problem, beliefs: Beliefs, worth: Worth, candidates: Sequence[Candidate]
) -> np.ndarray:
    X = problem.scaled(pool.featurize(candidates))
    exact = exactly(list(problem.exact), candidates)
    score = worth.of(beliefs.appraise(torch.from_numpy(X), exact))[0].numpy()
    return np.where(allowed(problem.exact_constraints, exact, len(X)), score, -np.inf)


def allowed(constraints: Sequence[Constraint], exact: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """Which of n candidates keep the constraints on exactly known quantities."""
    out = np.ones(n, dtype=bool)
    for c in constraints:
        out &= np.array([c.satisfied(float(v)) for v in exact[c.name]], dtype=bool)
    return out


class Grown:
    """A pool with candidates added."""

    def __init__(self, pool: Pool, more: Sequence[Candidate]) -> None:
        self._pool, self._more = pool, tuple(more)
        self.feature_names = pool.feature_names
        self.features = np.vstack([np.asarray(pool.features), pool.featurize(self._more)])

    def __len__(self) -> int:
        return len(self._pool) + len(self._more)

    def __getitem__(self, index: int) -> Candidate:
        return self._pool[index] if index < len(self._pool) else self._more[index - len(self._pool)]

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Features of any candidates of the space."""
        return self._pool.featurize(candidates)

    def computed(self, name: str) -> np.ndarray:
        """Computed quantity of every candidate."""
        return np.concatenate([self._pool.computed(name), compute(name, self._more)])
