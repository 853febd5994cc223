"""The best of a pool by exact worth, pick after pick, without scoring again what cannot win."""

from __future__ import annotations

import numpy as np
import torch

from models.acquisition.beliefs import Beliefs, Incumbents
from models.acquisition.ceiling import Ceiling, Worth
from models.acquisition.problem import Problem
from models.acquisition.sweep import Kept, Sweep, sweep

_KEEP = 8192  # candidates that are kept of a pass over the pool
_SAMPLE = 512  # candidates by which a cheap look is prepared
_CHUNK = 256  # candidates that are scored at a time
_TIE = 1e-9  # scores closer than this, relative to their size, are equal: digits of rounding decide nothing


class Race:
    """Ranks the candidates of a pool by log expected feasible (hypervolume) improvement while a batch is chosen.

    What is pending or picked is believed to come out as predicted (kriging believer; Ginsbourger et al. 2010,
    doi:10.1007/978-3-642-10701-6_6). Then no candidate's worth can rise during a batch, so that any earlier score,
    or bound, is an upper bound of the present score, and only candidates whose bound reaches the best present scores
    are scored again: lazy greedy selection (Minoux 1978, doi:10.1007/BFb0006528). A large pool is passed over once in
    single precision for bounds; the best of these compete in double precision. Should one that was not kept be able to
    win, the pool is passed over again, so the result is that of scoring the whole pool at each pick.

    Args:
        problem: when the batch begins.
        beliefs: not conditioned on pending points.
        sweep: passes over the pool, here or elsewhere.
        keep: how many candidates compete.
    """

    def __init__(self, problem: Problem, beliefs: Beliefs, sweep: Sweep = sweep, keep: int = _KEEP) -> None:
        self._beliefs, self._sweep, self._keep = beliefs, sweep, max(1, keep)
        self._believed, self._conditions = beliefs, 0
        self._rows = np.zeros(0, dtype=np.int64)
        self._bounds = self._scores = np.zeros(0)
        self._scored = np.zeros(0, dtype=int)  # how many points were believed when a candidate was scored
        self._dropped: float | None = np.inf
        self.passes = 0

    def best(self, problem: Problem, incumbents: Incumbents, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``count`` best eligible rows, best first, ties in order of the rows, and their scores.

        Fewer only where fewer are eligible.

        Args:
            problem: as it is after the picks made so far, which are among its pending points.
            incumbents: the same.
        """
        count = max(1, count)
        new = torch.from_numpy(problem.pending_X[self._conditions :])
        self._believed, self._conditions = self._believed.believe(new), len(problem.pending_X)
        worth = Worth.over(incumbents)
        if not self.passes:
            self._pass(problem, worth)
        while True:
            rows, scores = self._ranked(problem, worth, count)
            beaten = self._dropped is None or (len(rows) == count and scores[-1] - _slack(scores[-1]) > self._dropped)
            if beaten:
                return rows, scores
            if self._fresh:  # even at once too few were kept
                self._keep *= 4
            self._pass(problem, worth)

    def _pass(self, problem: Problem, worth: Worth) -> None:
        self.passes += 1
        exact = {o.name: problem.exact[o.name].pool for o in self._beliefs.objectives if o.name in problem.exact}
        eligible = np.flatnonzero(problem.eligible)
        if len(eligible) <= self._keep:
            kept = Kept(eligible, np.full(len(eligible), np.inf), None)
        else:
            sample = eligible[np.linspace(0, len(eligible) - 1, _SAMPLE).astype(int)]
            ceiling = Ceiling.of(worth, self._believed, torch.from_numpy(problem.pool_X[sample]).double())
            del eligible
            kept = self._sweep(problem.pool_X, problem.eligible, exact, ceiling, self._keep)
        self._rows, self._bounds, self._dropped = kept.rows, kept.bounds.copy(), kept.dropped
        self._scores, self._scored = np.full(len(kept.rows), -np.inf), np.full(len(kept.rows), -1)
        self._swept_at = self._conditions

    @property
    def _fresh(self) -> bool:
        return self._swept_at == self._conditions

    def _ranked(self, problem: Problem, worth: Worth, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The best of the competitors, every score as of now."""
        alive = problem.eligible[self._rows]
        chunk = max(count, _CHUNK)
        while True:
            now = np.flatnonzero(alive & (self._scored == self._conditions))
            if len(now) >= count:
                nth = np.partition(self._scores[now], len(now) - count)[len(now) - count]
                threshold = nth - _slack(nth)
            else:
                threshold = -np.inf
            stale = np.flatnonzero(alive & (self._scored < self._conditions) & (self._bounds >= threshold))
            if not len(stale):
                return _in_order(self._rows[now], self._scores[now], count)
            most = stale[np.argsort(-self._bounds[stale], kind="stable")[:chunk]]
            self._score(problem, worth, np.sort(most))
            chunk *= 2

    def _score(self, problem: Problem, worth: Worth, places: np.ndarray) -> None:
        rows = self._rows[places]
        exact = {name: e.pool[rows] for name, e in problem.exact.items()}
        seen = self._believed.appraise(torch.from_numpy(problem.pool_X[rows]).double(), exact)
        score, ceiling = worth.of(seen)
        self._scores[places], self._scored[places] = score.numpy(), self._conditions
        self._bounds[places] = np.minimum(self._bounds[places], ceiling.numpy() + _slack(ceiling.numpy()))


def _slack(score: float | np.ndarray) -> float | np.ndarray:
    return _TIE * np.maximum(1.0, np.abs(np.nan_to_num(score, neginf=0.0, posinf=0.0)))


def _in_order(rows: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """By falling score; what differs by rounding only, in order of the rows."""
    order = np.argsort(-scores, kind="stable")
    rows, scores = rows[order], scores[order]
    with np.errstate(invalid="ignore"):  # two of minus infinity
        steps = np.nan_to_num(scores[:-1] - scores[1:], nan=0.0, posinf=np.inf) > _slack(scores[:-1])
    group = np.concatenate([[0], np.cumsum(steps)]) if len(scores) else np.zeros(0)
    order = np.lexsort((rows, group))[:count]
    return rows[order], scores[order]
