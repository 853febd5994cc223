from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.acquisition.backend import load_botorch
from models.acquisition.hypervolume import hypervolume, improvement_cells, pareto_front

Hypervolume = load_botorch().utils.multi_objective.hypervolume.Hypervolume
is_non_dominated = load_botorch().utils.multi_objective.pareto.is_non_dominated
outcomes = st.integers(1, 4).flatmap(
    lambda m: arrays(float, st.tuples(st.integers(0, 12), st.just(m)), elements=st.integers(-3, 3).map(float))
)


@settings(deadline=None)
@given(outcomes)
def test_front_equals_botorch(values):
    best = is_non_dominated(torch.from_numpy(values), deduplicate=True).numpy() if len(values) else []
    assert pareto_front(values).tolist() == np.flatnonzero(best).tolist()


@settings(deadline=None)
@given(outcomes.filter(lambda v: v.shape[1] > 1))
def test_hypervolume_equals_botorch(values):
    m = values.shape[1]
    reference = np.full(m, -2.5)
    beating = torch.from_numpy(values[(values > reference).all(axis=1)])
    front = beating[is_non_dominated(beating)] if len(beating) else beating
    expected = Hypervolume(torch.from_numpy(reference)).compute(front) if len(front) else 0.0
    assert hypervolume(values, reference) == pytest.approx(expected)


@settings(deadline=None)
@given(outcomes)
def test_minimizing_is_maximizing_the_negative(values):
    m = values.shape[1]
    signs = [-1.0] * m
    assert pareto_front(values, signs).tolist() == pareto_front(-values).tolist()
    assert hypervolume(values, [2.0] * m, signs) == pytest.approx(hypervolume(-values, [-2.0] * m))


def test_known_staircase():
    values = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [1.0, 1.0], [np.nan, 9.0]])
    assert pareto_front(values).tolist() == [0, 1, 2]
    assert hypervolume(values, [0.0, 0.0]) == pytest.approx(6.0)
    assert hypervolume(values, [1.0, 1.0]) == pytest.approx(1.0)


def test_one_objective_counts_the_best():
    assert pareto_front(np.array([1.0, 4.0, 4.0, 2.0])).tolist() == [1]
    assert hypervolume(np.array([1.0, 4.0]), [1.5]) == pytest.approx(2.5)


def test_nothing_dominates_nothing():
    assert hypervolume(np.empty((0, 2)), [0.0, 0.0]) == 0.0
    assert hypervolume(np.array([[-1.0, 5.0]]), [0.0, 0.0]) == 0.0


@settings(deadline=None)
@given(outcomes, st.integers(0, 2**32 - 1))
def test_cells_measure_the_gain_of_any_further_point(values, seed):
    m = values.shape[1]
    reference = np.full(m, -2.5)
    point = np.random.default_rng(seed).uniform(-4, 5, size=m)
    lower, upper = improvement_cells(values, reference)
    gain = np.clip(np.minimum(point, upper) - lower, 0, None).prod(axis=1).sum()
    both = np.concatenate([values, point[None]])
    assert gain == pytest.approx(hypervolume(both, reference) - hypervolume(values, reference), abs=1e-9)
