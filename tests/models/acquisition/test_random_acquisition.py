from __future__ import annotations

import numpy as np
from arraypool import ArrayPool, ids, observe

from models.acquisition import RandomAcquisition
from models.roles import Acquisition

pool = ArrayPool(np.arange(20.0)[:, None])


def test_is_an_acquisition():
    assert isinstance(RandomAcquisition(), Acquisition)


def test_seed_decides():
    first = ids(RandomAcquisition().choose(pool, [], [], 5, seed=1))
    assert first == ids(RandomAcquisition(["ignored"], initial=3).choose(pool, [], [], 5, seed=1))
    assert first != ids(RandomAcquisition().choose(pool, [], [], 5, seed=2))


def test_never_twice_and_until_the_pool_is_empty():
    seen = [observe(pool, i, {}) for i in range(10)]
    pending = [pool[i] for i in range(10, 15)]
    choices = RandomAcquisition().choose(pool, seen, pending, 9, seed=0)
    assert sorted(ids(choices)) == sorted(f"row-{i}" for i in range(15, 20))
    assert all(c.method == "random" and c.data_hash for c in choices)


def test_every_candidate_is_as_likely():
    first = [RandomAcquisition().choose(pool, [], [], 1, seed=s)[0].candidate.id for s in range(400)]
    counts = np.unique(first, return_counts=True)[1]
    assert len(counts) == 20
    assert counts.max() < 45  # 20 expected; five standard deviations above
