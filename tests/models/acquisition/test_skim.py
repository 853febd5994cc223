from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.acquisition.skim import Skim
from models.acquisition.surrogate import GaussianProcess


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def process(n, d, noise, lengthscale, kernel, seed=0):
    rng = np.random.default_rng(seed)
    X, y = torch.from_numpy(rng.random((n, d))), torch.from_numpy(rng.normal(size=n))
    scale = torch.full((d,), lengthscale, dtype=torch.float64)
    return GaussianProcess.conditioned(X, y, mean=0.3, noise=noise, lengthscale=scale, kernel=kernel)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 120),
    d=st.integers(1, 12),
    noise=st.sampled_from([1e-4, 1e-2, 0.5]),
    lengthscale=st.sampled_from([0.05, 0.5, 2.0, 20.0]),
    kernel=st.sampled_from(["rbf", "matern52"]),
    sample=st.integers(1, 64),
    seed=st.integers(0, 1000),
)
def test_the_mean_is_within_the_margin_and_the_spread_below_the_bound(n, d, noise, lengthscale, kernel, sample, seed):
    gp = process(n, d, noise, lengthscale, kernel, seed)
    rng = np.random.default_rng(seed + 1)
    near = gp.X[torch.from_numpy(rng.integers(0, n, 100))] + 0.01 * torch.from_numpy(rng.normal(size=(100, d)))
    points = torch.cat([torch.from_numpy(rng.random((200, d))), near, gp.X])
    look = Skim.of(gp, points[:sample])
    mean, std = gp.predict(points)
    seen_mean, seen_std = look(points)
    assert float((seen_mean - mean).abs().max()) <= look.margin
    assert float((std - seen_std).max()) <= 1e-9


def test_single_precision_is_used_where_it_is_safe_only():
    sample = torch.rand(200, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert Skim.of(process(80, 6, 0.1, 1.0, "matern52"), sample).dtype == torch.float32
    assert Skim.of(process(150, 1, 1e-4, 0.5, "rbf"), sample[:, :1]).dtype == torch.float64


def test_of_many_data_a_few_directions_are_looked_at():
    gp = process(400, 4, 0.1, 3.0, "matern52")
    points = torch.rand(2000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    look = Skim.of(gp, points[:300])
    assert len(look.heads) < 100
    assert float((look(points)[1] / gp.predict(points)[1]).median()) < 1.5
