from __future__ import annotations

import pickle

import numpy as np
import pytest
from arraypool import ArrayPool, ids, observe

from models.acquisition import BayesAcquisition, race, unit_features
from models.acquisition.unit_features import FeatureScaling, UnitFeatures, is_mapped
from models.observation import Objective

RNG = np.random.default_rng(0)


def mapped(tmp_path, X, dtype=np.float64, offset=0):
    path = tmp_path / "pool"
    path.write_bytes(b"x" * offset + np.ascontiguousarray(X, dtype).tobytes())
    return np.memmap(path, dtype, mode="r", offset=offset, shape=X.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 80])
def test_a_map_reads_as_the_array_that_it_is(tmp_path, dtype, offset):
    X = RNG.random((700, 5)).astype(dtype)
    features = UnitFeatures(mapped(tmp_path, X, dtype, offset))
    assert features.shape == (700, 5)
    assert len(features) == 700
    np.testing.assert_array_equal(features[30:690], X[30:690])
    np.testing.assert_array_equal(features[650:2000], X[650:])
    np.testing.assert_array_equal(features[[5, 699, 5]], X[[5, 699, 5]])
    np.testing.assert_array_equal(features[12], X[12])
    np.testing.assert_array_equal(features.stretch(100, 900)[[0, 599]], X[[100, 699]])
    assert len(features.stretch(100, 900)) == 600
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features))[3:5], X[3:5])  # noqa: S301


def test_scaling_in_blocks_is_scaling_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(unit_features, "BLOCK_ROWS", 100)
    X = np.column_stack([RNG.normal(size=950), np.full(950, 3.0), 1e6 + RNG.random(950), RNG.normal(size=950) ** 5])
    raw = mapped(tmp_path, X)
    at_once, in_blocks = FeatureScaling(X), FeatureScaling(raw)
    np.testing.assert_allclose(in_blocks(X), at_once(X), atol=1e-9)
    features = UnitFeatures(raw, in_blocks)
    assert features.shape == (950, 3)
    np.testing.assert_array_equal(features[10:20], in_blocks(X[10:20]))


def test_only_whole_maps_are_read_in_stretches(tmp_path):
    raw = mapped(tmp_path, RNG.random((20, 4)))
    assert is_mapped(raw)
    assert not is_mapped(raw[5:])
    assert not is_mapped(np.array(raw))
    assert not is_mapped(raw.T)


class MappedPool(ArrayPool):
    def __init__(self, raw):
        super().__init__(np.array(raw))
        self.raw = raw

    @property
    def features(self):
        return self.raw


def test_a_memory_mapped_pool_gives_the_choices_of_one_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(race, "_ADMIT", 100)
    X = RNG.normal(size=(3000, 3)) * [1, 1e3, 1e-3]
    plain, large = ArrayPool(X), MappedPool(mapped(tmp_path, X))
    seen = [observe(plain, int(r), {"M": float(np.sin(X[r, 0]))}) for r in RNG.choice(3000, 15, replace=False)]
    waiting = [plain[5], plain[6]]
    acquisition = BayesAcquisition([Objective(name="M")], initial=6, shortlist=16, mc_samples=32)
    choices = [acquisition.choose(pool, seen, waiting, 3, seed=1) for pool in (plain, large)]
    assert ids(choices[0]) == ids(choices[1])
    assert choices[0][0].data_hash == choices[1][0].data_hash
    assert not set(ids(choices[1])) & {"row-5", "row-6", *(o.candidate.id for o in seen)}
