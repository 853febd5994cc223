"""One objective over a finite pool: what is most likely to be among its best 5 %."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from models.acquisition.bayes import Batch, BayesAcquisition, descending
from models.acquisition.beliefs import Beliefs
from models.acquisition.benchmark import Planner
from models.acquisition.problem import Problem
from models.errors import DataError
from models.observation import Constraint, Objective

_LARGEST = 20_000
"""Of more candidates the improvement is chosen by, as ``pareto`` does: beliefs about all of them cost too much."""
_LEAST = 1e-300


class TopAcquisition(BayesAcquisition):
    """Chooses the candidate that is most likely to be among the best 5 % of the pool, times that it can be made.

    The rule and the beliefs of ``models.acquisition.benchmark.Planner``, which finds the best of measured pools sooner
    than expected improvement does (docs/benchmarks/planning.md), with a campaign's failures, constraints, prices and
    batches. What it says of a choice (expected value, spread, feasibility) comes from the models of ``pareto``.

    Args:
        objectives: one, measured.
        constraints: as for ``BayesAcquisition``.
        initial: number of experiments before the first model.
        settings: others of ``BayesAcquisition``, but for ``fidelities``, ``noise``, ``monotone`` and ``prior``.

    Raises:
        DataError: more than one objective, one that is computed, or a setting that it has no use for.
    """

    citation = "Garnett et al., ICML 2012, arXiv:1206.6406"

    def __init__(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        initial: int = 2,
        **settings: Any,
    ) -> None:
        super().__init__(objectives, constraints, initial=initial, **settings)
        if len(self.objectives) != 1 or self.objectives[0].source == "computed":
            raise DataError("acquisition top looks for the best of one measured objective; for others name: pareto")
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
        planner = Planner(points.X, list(batch.problem.columns), seed)
        values = self.objectives[0].sign * batch.problem.values[self.objectives[0].name]
        while not batch.full and batch.problem.eligible.any():
            problem = batch.problem
            likely = planner.score(points.observed, list(values), points.rows(problem.pending_X))
            scores = np.log(np.maximum(likely[: len(pool_X)], _LEAST)) + _log_feasibility(beliefs, problem)
            if batch.prices is not None:
                scores = scores + batch.prices.worth
            scores = np.where(problem.eligible, scores, -np.inf)
            ranked = descending(scores)[: max(self.shortlist, 1)]
            row = batch.add(ranked, scores[ranked], method="top 5 %", note=beliefs.note)
            if row is not None:
                batch.explain(beliefs, row)


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
