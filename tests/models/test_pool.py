import numpy as np
import pytest

from models.errors import DataError, UnknownNameError
from models.pool import CandidatePool
from models.quantities import compute
from models.roles import Condition, Generator
from models.spaces import build_space

DIALS = {"kind": "parameters", "parameters": {"t": {"low": 0, "high": 1}, "n": {"type": "int", "low": 1, "high": 9}}}


def test_a_pool_of_numbers_gives_the_candidates_of_the_space(heuslers):
    pool = CandidatePool(heuslers)
    block = heuslers.propose_indices(500, Condition(seed=1))
    assert pool.absorb(block) == 500
    assert len(pool) == 500
    assert pool.features.shape == (500, len(pool.feature_names))
    for k in (0, 17, 499):
        assert pool[k] == heuslers[int(block[k])]
        assert pool.name_of(k) == pool[k].id
        assert pool.position_of(pool[k]) == k
    np.testing.assert_array_equal(pool.featurize([pool[3], pool[9]]), pool.features[[3, 9]])


def test_what_the_pool_holds_is_not_taken_twice(heuslers):
    pool = CandidatePool(heuslers)
    pool.absorb(np.array([5, 6, 5]))
    assert pool.absorb(np.array([6, 7])) == 1
    assert pool.absorb([heuslers[7], heuslers[8]]) == 1
    assert pool.indices.tolist() == [5, 6, 7, 8]
    assert pool.position_of(heuslers[9]) is None


def test_computed_quantities_of_a_pool_are_those_of_its_candidates(heuslers):
    pool = CandidatePool(heuslers)
    pool.absorb(np.arange(0, 39270, 4000))
    for name in ("hhi", "hhi_reserve", "price_USD_per_kg"):
        np.testing.assert_allclose(pool.computed(name), compute(name, [pool[k] for k in range(len(pool))]))
    with pytest.raises(UnknownNameError, match="hhi"):
        pool.computed("beauty")


def test_a_subset_keeps_order_features_and_places(heuslers):
    pool = CandidatePool(heuslers)
    pool.absorb(np.arange(100))
    mask = np.arange(100) % 3 == 0
    part = pool.subset(mask)
    assert [part.name_of(k) for k in range(len(part))] == [pool.name_of(k) for k in np.flatnonzero(mask)]
    np.testing.assert_array_equal(part.features, pool.features[mask])
    assert part.position_of(pool[3]) == 1
    assert part.position_of(pool[1]) is None
    part.absorb(np.array([1]))
    assert len(pool) == 100, "a subset grows by itself"


def test_a_continuous_space_fills_a_pool_with_candidates():
    space = build_space(DIALS)
    assert isinstance(space, Generator)
    pool = CandidatePool(space)
    some = space.propose(20, Condition(seed=2))
    assert pool.absorb(some + some[:3]) == 20
    assert pool.indices is None
    assert pool[4] == some[4]
    assert pool.position_of(some[4]) == 4
    np.testing.assert_allclose(pool.computed("t"), [c.parameters["t"] for c in some])
    half = pool.subset(np.arange(20) < 10)
    assert len(half) == 10
    assert half.position_of(some[15]) is None
    with pytest.raises(DataError, match="candidates, not numbers"):
        pool.absorb(np.array([1, 2]))
    with pytest.raises(DataError, match="composition"):
        pool.computed("hhi")


def test_an_empty_pool_has_features_of_the_right_width(heuslers):
    assert CandidatePool(heuslers).features.shape == (0, len(heuslers.feature_names))
