"""Choosing from a finite pool by beliefs about all of it: the best 5 %, or of several objectives the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from models.acquisition.bayes import Batch, BayesAcquisition, descending
from models.acquisition.beliefs import Beliefs
from models.acquisition.benchmark import top_probability
from models.acquisition.front import expected_growth
from models.acquisition.pool_gp import PoolGP, Posterior
from models.acquisition.problem import Problem
from models.errors import DataError
from models.observation import Constraint, Objective

_LARGEST = 20_000
"""Of more candidates the improvement is chosen by, as ``pareto`` does: beliefs about all of them cost too much."""
_LEAST = 1e-300


class TopAcquisition(BayesAcquisition):
    """Chooses by what is believed about every candidate of a finite pool, times the probability that it can be made.

    Of one objective: what is most likely to be among the best 5 % of the pool. Of several: what is expected to enlarge
    the Pareto front most (``expected_growth``), each objective as half value and half rank, as the beliefs have it. The
    beliefs are ``PoolGP``'s, as in the benchmarked planner (``models.acquisition.benchmark.Planner``), which finds the
    best of measured pools sooner than expected improvement by a fitted process (docs/benchmarks/planning.md). Failures,
    constraints, prices and batches count as in ``pareto``, whose models also say what is expected of a choice.

    Args:
        objectives: measured ones.
        constraints: as for ``BayesAcquisition``.
        initial: number of experiments before the first model.
        settings: others of ``BayesAcquisition``, but for ``fidelities``, ``noise``, ``monotone`` and ``prior``.

    Raises:
        DataError: an objective that is computed, or a setting that it has no use for.
    """

    citation = "Garnett et al., ICML 2012, arXiv:1206.6406; Emmerich et al., CEC 2011, doi:10.1109/CEC.2011.5949880"

    def __init__(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        initial: int = 2,
        **settings: Any,
    ) -> None:
        super().__init__(objectives, constraints, initial=initial, **settings)
        if computed := [o.name for o in self.objectives if o.source == "computed"]:
            raise DataError(f"acquisition top takes measured objectives; {computed[0]} is computed: name pareto")
        for name in ("fidelities", "noise", "monotone", "prior"):
            if settings.get(name):
                raise DataError(f"acquisition top has no use for {name}; drop it, or name: pareto")

    def _exploit(self, batch: Batch, seed: int) -> None:
        pool_X = batch.problem.pool_X
        if not isinstance(pool_X, np.ndarray) or len(pool_X) > _LARGEST:
            super()._exploit(batch, seed)
            return
        if batch.full or not batch.eligible.size:
            return
        beliefs = self.beliefs(batch.problem, seed)
        points = _Points(batch.problem)
        processes = [PoolGP(points.X, seed + k) for k in range(len(self.objectives))]
        method = "top 5 %" if len(processes) == 1 else "growth of the front"
        while not batch.full and batch.problem.eligible.any():
            problem = batch.problem
            worth = self._worth(processes, points, problem)[: len(pool_X)]
            scores = np.log(np.maximum(worth, _LEAST)) + _log_feasibility(beliefs, problem)
            if batch.prices is not None:
                scores = scores + batch.prices.worth
            scores = np.where(problem.eligible, scores, -np.inf)
            ranked = descending(scores)[: self.shortlist]
            row = batch.add(ranked, scores[ranked], method=method, note=beliefs.note)
            if row is not None:
                batch.explain(beliefs, row)

    def _worth(self, processes: Sequence[PoolGP], points: _Points, problem: Problem) -> np.ndarray:
        """What each point is worth if it can be made; ones where an objective has never been measured."""
        pending = points.rows(problem.pending_X)
        values = [o.sign * problem.values[o.name] for o in self.objectives]
        known = [np.flatnonzero(np.isfinite(y)) for y in values]
        if not all(len(rows) for rows in known):
            return np.ones(len(points.X))
        found = [
            process.believe([points.observed[i] for i in rows], y[rows].tolist(), pending)
            for process, rows, y in zip(processes, known, values, strict=True)
        ]
        if len(found) == 1:
            return top_probability(*found[0])
        beliefs = [posterior for posterior, _ in found]
        counts = self._counts(problem, np.all(np.isfinite(values), axis=0))
        front = np.column_stack([_reached(b, rows, counts) for b, rows in zip(beliefs, known, strict=True)])
        reference = np.array(
            [
                _reference(b, y[rows], None if o.reference is None else o.sign * o.reference)
                for b, rows, y, o in zip(beliefs, known, values, self.objectives, strict=True)
            ]
        )
        front = front if len(front) else reference[None]
        return expected_growth([b.mean for b in beliefs], [b.std for b in beliefs], front, reference)

    def _counts(self, problem: Problem, known: np.ndarray) -> np.ndarray:
        """Observations that satisfy every constraint, as far as it was measured."""
        for constraint in problem.constraints:
            read = problem.values[constraint.name]
            known = known & np.array([not np.isfinite(v) or constraint.satisfied(v) for v in read], dtype=bool)
        return np.flatnonzero(known)


def _reached(beliefs: Posterior, known: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """One objective of the observations that count, and of what is pending, as the beliefs have it."""
    return np.concatenate([beliefs.observed[np.searchsorted(known, counts)], beliefs.observed[len(known) :]])


def _reference(beliefs: Posterior, y: np.ndarray, worst: float | None) -> float:
    """The worst value of interest, as the beliefs have it; a little below all that was measured where nobody said."""
    z = beliefs.observed[: len(y)]
    if worst is None:
        return float(z.min()) - 0.1 * max(float(np.ptp(z)), 1.0)
    order = np.argsort(y)
    slope = float(np.ptp(z)) / max(float(np.ptp(y)), 1e-300)
    return float(np.interp(worst, y[order], z[order])) + slope * min(0.0, worst - float(y.min()))


class _Points:
    """The pool, and after it what was observed or is pending and is not in it."""

    def __init__(self, problem: Problem) -> None:
        pool_X = np.asarray(problem.pool_X)
        self._place = {x.tobytes(): row for row, x in reversed(list(enumerate(pool_X)))}
        more = [x for x in [*problem.observed_X, *problem.pending_X] if x.tobytes() not in self._place]
        self._place |= {x.tobytes(): len(pool_X) + k for k, x in enumerate(more)}
        self.X = np.concatenate([pool_X, np.array(more).reshape(-1, pool_X.shape[1])])
        self.observed = self.rows(problem.observed_X)

    def rows(self, X: np.ndarray) -> list[int]:
        """Where points are."""
        return [self._place[x.tobytes()] for x in X]


def _log_feasibility(beliefs: Beliefs, problem: Problem) -> np.ndarray:
    """Log probability that each candidate of the pool can be made and satisfies the constraints, shape (n,)."""
    believed = beliefs.believe(torch.from_numpy(problem.pending_X), problem.tasks)
    exact = {name: known.pool for name, known in problem.exact.items()}
    return believed.appraise(torch.from_numpy(np.asarray(problem.pool_X)), exact).log_feasibility.numpy()
