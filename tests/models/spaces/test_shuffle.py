import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import SpaceError
from models.spaces import shuffled


@given(st.integers(1, 3000), st.integers(0, 2**40))
def test_a_shuffle_holds_every_number_once(size, seed):
    assert sorted(shuffled(size, seed, 0, size).tolist()) == list(range(size))


@given(st.integers(1, 10**12), st.integers(0, 2**40), st.data())
def test_a_piece_of_a_shuffle_is_the_same_piece_of_the_whole(size, seed, data):
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, min(size, start + 50)))
    middle = data.draw(st.integers(start, stop))
    whole = shuffled(size, seed, start, stop)
    pieces = np.concatenate([shuffled(size, seed, start, middle), shuffled(size, seed, middle, stop)])
    np.testing.assert_array_equal(whole, pieces)
    assert ((whole >= 0) & (whole < size)).all()


def test_seeds_give_different_orders_that_look_random():
    size = 39270
    orders = [shuffled(size, seed, 0, size) for seed in range(4)]
    for a in range(4):
        assert abs(np.corrcoef(orders[a], np.arange(size))[0, 1]) < 0.03
        for b in range(a):
            assert abs(np.corrcoef(orders[a], orders[b])[0, 1]) < 0.03
    first = np.sort(orders[0][:1000])
    assert np.abs(np.quantile(first / size, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.05


def test_a_place_outside_the_space_is_refused():
    with pytest.raises(SpaceError, match="space of 5"):
        shuffled(5, 0, 3, 6)
