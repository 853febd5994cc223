from __future__ import annotations

import gc
import hashlib

import numpy as np
import pytest

from models import feature_store
from models.errors import DataError
from models.feature_store import FeatureStore

RNG = np.random.default_rng(0)


def filled(spill_bytes, rows=50_000):
    X = RNG.random((rows, 3))
    store = FeatureStore(3, spill_bytes)
    for block in np.array_split(X, 13):
        store.append(block)
    return X, store


@pytest.mark.parametrize("spill_bytes", [10**9, 1000])
def test_rows_come_back_as_they_were_added(spill_bytes):
    X, store = filled(spill_bytes)
    assert len(store) == len(X)
    np.testing.assert_array_equal(store.array, X)
    np.testing.assert_array_equal(np.concatenate([block for _, block in store.stretches()]), X)
    assert isinstance(store.array, np.memmap) is (spill_bytes == 1000)


@pytest.mark.parametrize("spill_bytes", [10**9, 1000])
def test_some_rows_are_a_store_of_their_own(spill_bytes):
    X, store = filled(spill_bytes)
    rows = np.flatnonzero(RNG.random(len(X)) < 0.3)
    np.testing.assert_array_equal(store.take(rows).array, X[rows])
    assert len(store.take(rows[:0])) == 0


@pytest.mark.parametrize("spill_bytes", [10**9, 1000])
def test_the_digest_is_that_of_all_bytes_however_often_it_was_asked_for(spill_bytes):
    X, store = filled(spill_bytes, 20_000)
    assert store.digest() == hashlib.sha256(X.tobytes()).hexdigest()
    store.append(X[:5])
    assert store.digest() == hashlib.sha256(X.tobytes() + X[:5].tobytes()).hexdigest()


def test_the_file_goes_with_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store.tempfile, "tempdir", str(tmp_path))
    _, store = filled(1000, 1000)
    assert len(list(tmp_path.iterdir())) == 1
    del store
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_says_what_to_do(monkeypatch):
    _, store = filled(1000, 1000)
    monkeypatch.setattr(store, "_path", "/dev/full")
    with pytest.raises(DataError, match="TMPDIR"):
        store.append(np.zeros((100_000, 3)))
