"""Networks that compare the answers to one question."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import DataError, NotFittedError
from models.synthesis.listwise import ListwiseNetwork


def questions(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists of two to six answers; the largest first feature is right, whatever its own size."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(2, 7, size=count)
    X = draw.normal(size=(sizes.sum(), 4)).astype(np.float32)
    X[:, 0] += np.repeat(draw.normal(scale=3.0, size=count), sizes)
    y = np.concatenate([np.arange(len(some)) == some[:, 0].argmax() for some in np.split(X, np.cumsum(sizes)[:-1])])
    return X, y, sizes


@pytest.fixture(scope="module")
def network() -> ListwiseNetwork:
    made = ListwiseNetwork()
    made.fit_lists(*questions(600))
    return made


def test_it_learns_which_answer_is_best_among_those_beside_it(network):
    X, y, sizes = questions(200, seed=1)
    ends = np.cumsum(sizes)[:-1]
    right = [network.log_probability(some).argmax() == true.argmax()
             for some, true in zip(np.split(X, ends), np.split(y, ends), strict=True)]  # fmt: skip
    assert np.mean(right) > 0.9


def test_the_answers_of_one_list_share_one_probability(network):
    X, _, sizes = questions(3, seed=2)
    assert np.exp(network.log_probability(X[: sizes[0]])).sum() == pytest.approx(1.0)


def test_several_answers_may_be_right():
    X = np.tile(np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=np.float32), (200, 1))
    network = ListwiseNetwork()
    network.fit_lists(X, np.tile([True, True, False], 200), np.full(200, 3))
    assert np.exp(network.log_probability(X[:3]))[:2] == pytest.approx([0.5, 0.5], abs=0.02)


def test_the_same_seed_teaches_the_same(network):
    again = ListwiseNetwork()
    again.fit_lists(*questions(600))
    assert all(np.array_equal(one, again.arrays()[name]) for name, one in network.arrays().items())


def test_what_is_kept_answers_as_before(network):
    X = questions(1, seed=3)[0]
    restored = ListwiseNetwork()
    restored.restore(network.arrays())
    assert np.array_equal(restored.log_probability(X), network.log_probability(X))


def test_a_damaged_checkpoint_is_refused(network):
    arrays = network.arrays()
    with pytest.raises(DataError, match="train again"):
        ListwiseNetwork().restore({name: one for name, one in arrays.items() if name != "bias1"})
    with pytest.raises(DataError, match="do not fit"):
        ListwiseNetwork().restore(arrays | {"weight1": arrays["weight1"][:-1]})


def test_lists_without_a_right_answer_teach_nothing():
    X, y, sizes = questions(5)
    with pytest.raises(DataError, match="right one"):
        ListwiseNetwork().fit_lists(X, np.zeros_like(y), sizes)


def test_before_it_has_learnt_it_says_so():
    with pytest.raises(NotFittedError, match="fit"):
        ListwiseNetwork().log_probability(np.zeros((2, 4)))
