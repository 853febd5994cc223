"""Boosted trees as plain arrays."""

from __future__ import annotations

import numpy as np
import pytest

from models.blocks.boosting import Boosting
from models.errors import DataError, NotFittedError


def problem(n: int = 800):
    draw = np.random.default_rng(0)
    X = draw.normal(size=(n, 5))
    return X, X[:, 0] + draw.normal(size=n)


def test_labels_are_learnt_and_come_back_from_arrays():
    X, _ = problem()
    y = X[:, 0] * X[:, 1] > 0
    trees = Boosting(rounds=60)
    trees.fit(X[:600], y[:600])
    assert ((trees.predict(X[600:]) > 0) == y[600:]).mean() > 0.85
    copy = Boosting()
    copy.restore(trees.arrays())
    assert np.array_equal(copy.predict(X), trees.predict(X))


@pytest.mark.parametrize("level", [0.1, 0.9])
def test_a_quantile_has_its_share_below(level):
    X, y = problem(3000)
    trees = Boosting(loss="quantile", quantile=level, rounds=60)
    trees.fit(X[:2000], y[:2000])
    assert (y[2000:] <= trees.predict(X[2000:])).mean() == pytest.approx(level, abs=0.05)


def test_unfitted_trees_say_so():
    with pytest.raises(NotFittedError):
        Boosting().predict(np.zeros((1, 2)))


def test_damaged_trees_are_refused():
    X, y = problem(200)
    trees = Boosting(loss="squared_error", rounds=3)
    trees.fit(X, y)
    arrays = trees.arrays()
    with pytest.raises(DataError, match="no boosted trees"):
        Boosting().restore({k: v for k, v in arrays.items() if k != "left"})
    with pytest.raises(DataError, match="damaged"):
        Boosting().restore(arrays | {"left": arrays["left"] + 10_000})
