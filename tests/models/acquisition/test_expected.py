from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from models.acquisition.expected import log_expected_hypervolume_improvement, log_probability_between
from models.acquisition.hypervolume import hypervolume, improvement_cells


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@settings(deadline=None)
@given(st.floats(-8, 8), st.floats(0.01, 10), st.floats(-8, 8))
def test_one_objective_is_expected_improvement(mean, std, best):
    log_ei = log_expected_hypervolume_improvement(
        tensor([[mean]]), tensor([[std]]), np.array([[best]]), np.array([[np.inf]])
    )
    z = (mean - best) / std
    if z > -5:
        assert float(log_ei.exp()) == pytest.approx(std * (z * norm.cdf(z) + norm.pdf(z)), rel=1e-6)


def test_hopeless_candidates_are_still_ranked():
    mean = tensor([[-1.0], [-30.0], [-200.0], [-1e4], [-1e6]])
    score = log_expected_hypervolume_improvement(mean, torch.ones_like(mean), np.array([[0.0]]), np.array([[np.inf]]))
    assert torch.isfinite(score).all()
    assert (score.diff() < 0).all()


@pytest.mark.parametrize("m", [2, 3])
def test_several_objectives_equal_an_average_over_samples(m):
    rng = np.random.default_rng(m)
    front, reference = rng.uniform(0, 1, size=(6, m)), np.full(m, -0.2)
    mean, std = rng.uniform(0.3, 1, size=m), rng.uniform(0.1, 0.5, size=m)
    lower, upper = improvement_cells(front, reference)
    score = log_expected_hypervolume_improvement(tensor(mean[None]), tensor(std[None]), lower, upper)
    before = hypervolume(front, reference)
    draws = mean + std * rng.normal(size=(1500, m))
    gains = [hypervolume(np.concatenate([front, y[None]]), reference) - before for y in draws]
    assert float(score.exp()) == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / math.sqrt(len(gains)))


def test_an_exactly_known_objective_has_no_spread():
    front, reference = np.array([[1.0, 1.0]]), np.array([0.0, 0.0])
    lower, upper = improvement_cells(front, reference)
    mean = tensor([[2.0, 0.5], [0.5, 0.5], [3.0, 3.0]])
    gain = log_expected_hypervolume_improvement(mean, torch.zeros_like(mean), lower, upper).exp()
    assert gain.tolist() == pytest.approx([0.5, 0.0, 8.0])


@settings(deadline=None)
@given(st.floats(-30, 30), st.floats(0.01, 5), st.floats(-3, 3), st.floats(0.01, 5))
def test_probability_between_equals_scipy(mean, std, low, width):
    high = low + width
    got = float(log_probability_between(tensor([mean]), tensor([std]), low, high).exp())
    a, b = (low - mean) / std, (high - mean) / std
    expected = norm.cdf(b) - norm.cdf(a) if a < 0 else norm.sf(a) - norm.sf(b)
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_open_bounds():
    mean, std = tensor([0.0]), tensor([1.0])
    assert float(log_probability_between(mean, std, 0.0, math.inf).exp()) == pytest.approx(0.5)
    assert float(log_probability_between(mean, std, -math.inf, 1.0).exp()) == pytest.approx(norm.cdf(1.0))
    assert float(log_probability_between(mean, std, -math.inf, math.inf)) == pytest.approx(0.0)


def test_probability_far_out_stays_finite():
    log_p = log_probability_between(tensor([100.0, -100.0]), tensor([1.0, 1.0]), -1.0, 1.0)
    assert torch.isfinite(log_p).all()
    assert float(log_p[0]) == pytest.approx(float(log_p[1]))
