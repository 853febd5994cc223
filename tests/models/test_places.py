import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.places import Places


@given(st.lists(st.lists(st.integers(0, 60), max_size=20), max_size=12))
def test_numbers_stand_where_a_dict_would_have_them(blocks):
    places, expected = Places(), {}
    for block in blocks:
        fresh = [i for i in dict.fromkeys(block) if i not in expected]
        expected.update({i: len(expected) + k for k, i in enumerate(fresh)})
        assert places.add(np.array(block, dtype=np.int64)).tolist() == fresh
    assert len(places) == len(expected)
    assert places.find(np.arange(70)).tolist() == [expected.get(i, -1) for i in range(70)]


def test_many_blocks_lie_in_few_runs():
    places = Places()
    for start in range(0, 100_000, 500):
        places.add(np.arange(start, start + 500))
    assert len(places._runs) < 12
    assert places.find(np.array([99_999, 100_000])).tolist() == [99_999, -1]
