"""The best of a pool by exact worth, pick after pick, without scoring again what cannot win."""

from __future__ import annotations

import numpy as np
import torch

from models.acquisition.beliefs import Beliefs, Incumbents
from models.acquisition.ceiling import Ceiling, Worth
from models.acquisition.problem import Problem
from models.acquisition.sweep import Sweep, sweep

_ADMIT = 8192  # candidates that join the race at a time
_SAMPLE = 512  # candidates by which a cheap look is prepared
_CHUNK = 256  # candidates that are scored at a time
_TIE = 1e-9  # scores closer than this, relative to their size, are equal: digits of rounding decide nothing


class Race:
    """Ranks the candidates of a pool by log expected feasible (hypervolume) improvement while a batch is chosen.

    What is pending or picked is believed to come out as predicted (kriging believer; Ginsbourger et al. 2010,
    doi:10.1007/978-3-642-10701-6_6). Then no candidate's worth can rise during a batch, so that any earlier score, or
    bound, is an upper bound of the present score, and only candidates whose bound reaches the best present scores are
    scored again: lazy greedy selection (Minoux 1978, doi:10.1007/BFb0006528). A large pool is passed over for bounds
    once, in single precision; where picks have lowered the scores so far that many old bounds reach them, those
    candidates are passed over again. The race itself is run in double precision by those who may win. The result is
    that of scoring the whole pool at each pick.

    Args:
        problem: when the batch begins.
        beliefs: not conditioned on pending points.
        sweep: passes over the pool, here or elsewhere.
        admit: how many candidates join the race at a time.
        worth: (n,) added to the logarithm of each candidate's worth: minus the logarithm of its price.
    """

    def __init__(
        self,
        problem: Problem,
        beliefs: Beliefs,
        sweep: Sweep = sweep,
        admit: int | None = None,
        worth: np.ndarray | None = None,
    ) -> None:
        self._worth = worth
        self._sweep, self._admit = sweep, _ADMIT if admit is None else admit
        self._believed, self._conditions = beliefs, 0
        self._waiting = np.where(problem.eligible, np.float32(np.inf), np.float32(-np.inf))  # bounds, -inf once racing
        self._rows = np.zeros(0, dtype=np.int64)
        self._bounds = self._scores = np.zeros(0)
        self._scored = np.zeros(0, dtype=int)  # how many points were believed when a candidate was scored
        self._swept = -1  # how many points were believed at the last pass over the pool
        self.passes = 0

    @property
    def believed(self) -> Beliefs:
        """The beliefs with what is pending or picked."""
        return self._believed

    def best(self, problem: Problem, incumbents: Incumbents, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``count`` best eligible rows, best first, ties in order of the rows, and their scores.

        Fewer only where fewer are eligible.

        Args:
            problem: as it is after the picks made so far, which are among its pending points.
            incumbents: the same.
        """
        count = max(1, count)
        new = torch.from_numpy(problem.pending_X[self._conditions :])
        tasks = problem.tasks[self._conditions :]
        self._believed, self._conditions = self._believed.believe(new, tasks), len(problem.pending_X)
        worth = Worth.over(incumbents)
        while True:
            rows, scores = self._ranked(problem, worth, count)
            least = np.float32(_threshold(scores[-1]) if len(scores) == count else -np.inf)
            able = (self._waiting >= least) & (self._waiting > -np.inf)
            many = np.count_nonzero(able)
            if not many:
                return rows, scores
            if many > self._admit and self._swept < self._conditions:
                self._pass(problem, worth, able, float(least))
                able &= self._waiting >= least
            self._let_in(np.flatnonzero(able))

    def _pass(self, problem: Problem, worth: Worth, able: np.ndarray, least: float) -> None:
        """Bound anew all that wait and are able to win."""
        rows = np.flatnonzero(able)
        sample = problem.pool_X[rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(int)]]
        ceiling = Ceiling.of(worth, self._believed, torch.from_numpy(sample).double())
        del rows
        exact = {o.name: problem.exact[o.name].pool for o in ceiling.beliefs.objectives if o.name in problem.exact}
        if self._worth is None:
            self._waiting = self._sweep(problem.pool_X, exact, ceiling, self._waiting, least)
        else:
            asked = np.where(able, np.float32(np.inf), np.float32(-np.inf))
            bounds = self._sweep(problem.pool_X, exact, ceiling, asked, -np.inf) + self._worth
            bounds = np.nextafter(bounds.astype(np.float32), np.float32(np.inf))
            self._waiting = np.where(able, np.minimum(self._waiting, bounds), self._waiting)
        self._swept, self.passes = self._conditions, self.passes + 1

    def _let_in(self, rows: np.ndarray) -> None:
        """Let the best by their bounds join the race."""
        bounds = self._waiting[rows]
        if len(rows) > self._admit:
            chosen = np.argpartition(-bounds, self._admit - 1)[: self._admit]
            rows, bounds = rows[chosen], bounds[chosen]
        self._waiting[rows] = -np.inf
        self._rows = np.concatenate([self._rows, rows])
        self._bounds = np.concatenate([self._bounds, bounds.astype(float)])
        self._scores = np.concatenate([self._scores, np.full(len(rows), -np.inf)])
        self._scored = np.concatenate([self._scored, np.full(len(rows), -1)])

    def _ranked(self, problem: Problem, worth: Worth, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The best of those racing, each score as of now."""
        alive = problem.eligible[self._rows]
        chunk = max(count, _CHUNK)
        while True:
            now = np.flatnonzero(alive & (self._scored == self._conditions))
            least = -np.inf
            if len(now) >= count:
                least = _threshold(np.partition(self._scores[now], len(now) - count)[len(now) - count])
            stale = np.flatnonzero(alive & (self._scored < self._conditions) & (self._bounds >= least))
            if not len(stale):
                return _in_order(self._rows[now], self._scores[now], count)
            most = stale[np.argsort(-self._bounds[stale], kind="stable")[:chunk]]
            self._score(problem, worth, np.sort(most))
            chunk *= 2

    def _score(self, problem: Problem, worth: Worth, places: np.ndarray) -> None:
        rows = self._rows[places]
        exact = {name: e.pool[rows] for name, e in problem.exact.items()}
        score, ceiling = worth.of(self._believed.appraise(torch.from_numpy(problem.pool_X[rows]).double(), exact))
        more = 0.0 if self._worth is None else self._worth[rows]
        self._scores[places], self._scored[places] = score.numpy() + more, self._conditions
        self._bounds[places] = np.minimum(self._bounds[places], ceiling.numpy() + _tie(ceiling.numpy()) + more)


def _tie(score: np.ndarray) -> np.ndarray:
    return _TIE * np.maximum(1.0, np.abs(np.nan_to_num(score, neginf=0.0, posinf=0.0)))


def _threshold(score: float) -> float:
    """What a bound must reach for its candidate to be as good."""
    return float(score - _tie(np.asarray(score)))


def _in_order(rows: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """By falling score; what differs by rounding only, in order of the rows."""
    order = np.argsort(-scores, kind="stable")
    rows, scores = rows[order], scores[order]
    with np.errstate(invalid="ignore"):  # two of minus infinity
        steps = np.nan_to_num(scores[:-1] - scores[1:], nan=0.0, posinf=np.inf) > _tie(scores[:-1])
    group = np.concatenate([[0], np.cumsum(steps)]) if len(scores) else np.zeros(0)
    order = np.lexsort((rows, group))[:count]
    return rows[order], scores[order]
