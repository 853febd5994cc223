"""A pool passed over by several actors gives the bounds that one process gives, also when an actor dies."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from actors.acquisition import AcquisitionRole
from actors.spec import Component
from actors.sweepers import RaySweep, shares
from models.acquisition.beliefs import Beliefs, Incumbents
from models.acquisition.ceiling import Ceiling, Worth
from models.acquisition.problem import Problem, Scale
from models.acquisition.surrogate import GaussianProcess
from models.acquisition.sweep import sweep
from models.acquisition.unit_features import UnitFeatures
from models.observation import Objective
from tests.actors.test_pipeline import spec

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def order(folder, n=5001):
    """A memory-mapped pool, and what a pass over it needs."""
    rng = np.random.default_rng(0)
    (folder / "pool").write_bytes(rng.random((n, 3)).tobytes())
    X = UnitFeatures(np.memmap(folder / "pool", np.float64, mode="r", shape=(n, 3)))
    data, y = rng.random((20, 3)), rng.normal(size=20)
    scale = torch.full((3,), 0.5, dtype=torch.float64)
    tensors = torch.from_numpy(data), torch.from_numpy(y)
    process = GaussianProcess.conditioned(*tensors, mean=0.0, noise=0.1, lengthscale=scale, kernel="matern52")
    beliefs = Beliefs((Objective(name="y"),), (), {"y": process}, {"y": Scale()}, "")
    problem = Problem(X, data, np.empty((0, 3)), np.ones(n, bool), {"y": y}, {}, (), ())
    worth = Worth.over(Incumbents.of(problem, beliefs))
    ceiling = Ceiling.of(worth, beliefs, torch.from_numpy(X[:200]))
    return X, {}, ceiling, np.full(n, np.inf, dtype=np.float32), -np.inf


def test_stretches_cover_every_row_once():
    for n, workers in ((10, 3), (2, 4), (7, 1)):
        covered = [row for start, stop in shares(n, workers) for row in range(start, stop)]
        assert covered == list(range(n))


def test_without_ray_the_pass_is_made_here(tmp_path):
    everything = order(tmp_path)
    np.testing.assert_array_equal(RaySweep(fewest_rows=1)(*everything), sweep(*everything))


def test_only_an_acquisition_that_passes_over_pools_is_told_where():
    role, other = (
        AcquisitionRole(spec(acquisition=Component(name="pareto"))),
        AcquisitionRole(spec(acquisition=Component(name="random"))),
    )
    spread = RaySweep()
    role.spread(spread)
    other.spread(spread)
    assert role._acquisition.sweep is spread
    assert not hasattr(other._acquisition, "sweep")


@pytest.mark.slow
def test_actors_give_the_bounds_of_one_process_also_when_one_dies(tmp_path):
    import ray

    everything = order(tmp_path)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        spread = RaySweep(fewest_rows=1000)
        alone = sweep(*everything)
        np.testing.assert_allclose(spread(*everything), alone, rtol=1e-4)
        workers = list(spread._workers or [])
        assert len(workers) == 2
        ray.kill(workers[0])
        np.testing.assert_allclose(spread(*everything), alone, rtol=1e-4)
        assert spread._workers == workers[1:]
    finally:
        ray.shutdown()
