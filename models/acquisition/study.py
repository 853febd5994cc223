"""The models of a campaign at one moment, fitted as the acquisition fits them, to be asked questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.acquisition.bayes import BayesAcquisition
from models.acquisition.beliefs import Beliefs, Incumbents
from models.acquisition.problem import Problem, generator_seed
from models.acquisition.surrogate import GaussianProcess, covariance
from models.acquisition.unit_features import FeatureScaling, is_mapped
from models.candidate import Candidate
from models.observation import Constraint, Objective, Observation
from models.roles import Pool


@dataclass(frozen=True)
class Study:
    """A problem and what is believed about it.

    Attributes:
        pool: what was chosen from.
        problem: the pool, what was observed, what is pending.
        beliefs: not conditioned on what is pending.
        incumbents: what has been reached.
        feature_names: of the columns of the problem's features.
        squash: raw features to the problem's.
    """

    pool: Pool
    problem: Problem
    beliefs: Beliefs
    incumbents: Incumbents
    feature_names: tuple[str, ...]
    squash: FeatureScaling

    @classmethod
    def of(
        cls,
        acquisition: BayesAcquisition,
        pool: Pool,
        observations: Sequence[Observation],
        pending: Sequence[Candidate],
        seed: int,
    ) -> Study | None:
        """Fit the acquisition's own models to a pool with its crude estimates; ``None`` where nothing is measured.

        Call it inside ``reproducible``.
        """
        if not len(pool):
            return None
        problem = acquisition.problem(pool, observations, pending)
        if not any(np.isfinite(values).any() for values in problem.values.values()):
            return None
        beliefs = acquisition.beliefs(problem, generator_seed(seed))
        raw = pool.features
        squash = FeatureScaling(raw if is_mapped(raw) else np.asarray(raw, dtype=float))
        return cls(pool, problem, beliefs, Incumbents.of(problem, beliefs), squash.names(pool.feature_names), squash)

    def points(self, candidates: Sequence[Candidate]) -> Tensor:
        """Features of candidates, (len, d)."""
        raw = np.asarray(self.pool.featurize(candidates), dtype=float).reshape(len(candidates), -1)
        return torch.from_numpy(self.squash(raw))

    def sample(self, most: int) -> Tensor:
        """At most that many rows of the pool, evenly spaced."""
        n = len(self.problem.pool_X)
        rows = np.unique(np.linspace(0, n - 1, min(most, n)).astype(int))
        return torch.from_numpy(np.asarray(self.problem.pool_X[rows], dtype=float))


def modeller(acquisition: Any, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> BayesAcquisition:
    """The acquisition itself where it has models to ask, else ours with its defaults."""
    return acquisition if isinstance(acquisition, BayesAcquisition) else BayesAcquisition(objectives, constraints)


def posterior_covariance(process: GaussianProcess, A: Tensor, x: Tensor) -> Tensor:
    """Covariance of the true values at (k, d) points with that at one point (d,); (k,)."""
    ahead = torch.cat([A, x[None]])
    half = torch.linalg.solve_triangular(
        process.root, covariance(process.X, ahead, process.lengthscale, process.kernel), upper=False
    )
    prior = covariance(A, x[None], process.lengthscale, process.kernel)[:, 0]
    return prior - half[:, :-1].T @ half[:, -1]
