"""Multi-layer perceptrons on tables."""

from __future__ import annotations

import numpy as np
import pytest

from models.blocks.perceptron import Perceptron
from models.errors import DataError, NotFittedError


def ring(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a plane, in thousands, and whether they lie inside a circle; the third feature never changes."""
    plane = np.random.default_rng(seed).normal(size=(count, 2))
    return np.column_stack([1000 * plane, np.ones(count)]), (plane**2).sum(axis=1) < 1.4


@pytest.fixture(scope="module")
def network() -> Perceptron:
    made = Perceptron(hidden=(32, 16), drop=0.0, epochs=30)
    made.fit(*ring(1500, 0))
    return made


def test_it_learns_what_is_not_linear(network):
    X, y = ring(500, 1)
    assert np.mean((network.predict(X) > 0) == y) > 0.93


def test_it_gives_log_odds(network):
    X, y = ring(2000, 1)
    probability = 1 / (1 + np.exp(-network.predict(X)))
    assert probability.mean() == pytest.approx(y.mean(), abs=0.03)


def test_a_weight_of_rows_is_a_number_of_rows():
    X, y = np.zeros((1000, 1)), np.arange(1000) < 500
    network = Perceptron(hidden=(4,), drop=0.0, epochs=40, rate=0.03)
    network.fit(X, y, np.where(y, 3.0, 1.0))
    assert network.predict(X[:1])[0] == pytest.approx(np.log(3), abs=0.1)


def test_what_is_far_from_everything_known_is_believed_no_more_than_what_is_at_the_edge(network):
    X = np.array([[1e4, 0.0, 1.0], [1e9, 0.0, 1.0]])
    assert network.predict(X)[0] == pytest.approx(network.predict(X)[1])


def test_the_same_seed_teaches_the_same_and_draws_nothing_from_others():
    import torch

    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first, second = (Perceptron(hidden=(8,), epochs=2, seed=3) for _ in range(2))
    for one in (first, second):
        one.fit(*ring(200, 0))
    assert all(np.array_equal(one, second.arrays()[name]) for name, one in first.arrays().items())
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_what_is_kept_answers_as_before(network):
    restored = Perceptron()
    restored.restore(network.arrays())
    X = ring(20, 2)[0]
    assert np.array_equal(restored.predict(X), network.predict(X))


@pytest.mark.parametrize("damage", [{"weight1": np.zeros((3, 16))}, {"mean": np.zeros(2)}, {"bias2": np.zeros(4)}])
def test_layers_that_do_not_fit_are_refused(network, damage):
    with pytest.raises(DataError, match="do not fit"):
        Perceptron().restore(network.arrays() | damage)


def test_a_checkpoint_without_a_layer_is_refused(network):
    with pytest.raises(DataError, match="train again"):
        Perceptron().restore({name: one for name, one in network.arrays().items() if name != "weight1"})


def test_without_rows_there_is_nothing_to_learn():
    with pytest.raises(DataError, match="nothing"):
        Perceptron().learn(np.zeros((0, 2)), np.array([], dtype=int), lambda scores, some: scores(some).sum())


def test_before_it_has_learnt_it_says_so():
    with pytest.raises(NotFittedError, match="fit"):
        Perceptron().predict(np.zeros((2, 4)))
    with pytest.raises(NotFittedError, match="fit"):
        Perceptron().arrays()
