from __future__ import annotations

import numpy as np
import pytest
from arraypool import ArrayPool, observe
from hypothesis import given, settings
from hypothesis import strategies as st

from models.acquisition.problem import SYNTHESIS, FeatureScaling, Scale, build_problem, data_hash, matching_rows
from models.errors import UnknownNameError
from models.observation import Constraint, Objective

RNG = np.random.default_rng(0)
M, PHASE = Objective(name="M"), Constraint(name="phase", at_least=0.5)
HHI = Objective(name="hhi", direction="minimize", source="computed")


def test_features_fill_the_unit_cube():
    X = RNG.normal(size=(100, 3)) * [1, 1e6, 1e-6] + [0, 1e9, 5]
    scaled = FeatureScaling(X)(X)
    assert scaled.min(axis=0).tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    assert scaled.max(axis=0).tolist() == pytest.approx([1, 1, 1], abs=1e-9)


def test_constant_features_are_dropped():
    X = np.column_stack([np.full(10, 7.0), np.arange(10.0)])
    assert FeatureScaling(X)(X).shape == (10, 1)
    assert FeatureScaling(X[:, :1])(X[:, :1]).tolist() == [[0.0]] * 10


def test_an_outlier_neither_squeezes_the_others_nor_merges_with_another():
    X = np.concatenate([np.linspace(0, 1, 2000), [1e6, 2e6]])[:, None]
    scaled = FeatureScaling(X)(X)[:, 0]
    assert np.all(np.diff(scaled) > 0)
    Y = np.concatenate([RNG.normal(size=2000), [100.0]])[:, None]
    assert np.ptp(FeatureScaling(Y)(Y)[:2000]) > 0.2


@settings(deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=6))
def test_scale_goes_there_and_back(values):
    values = np.array(values)
    scale = Scale.of(values)
    unitless = scale.to_unitless(values)
    assert np.isfinite(unitless).all()
    assert scale.factor > 0
    back = np.array([scale.mean_std(z, 0.0)[0] for z in unitless])
    assert np.allclose(back, values, atol=1e-6 * np.abs(values).max())


def test_scale_ignores_what_is_unknown():
    assert Scale.of(np.array([np.nan, 1.0, 3.0])) == Scale(2.0, 1.0)
    assert Scale.of(np.array([np.nan])) == Scale()


def test_candidates_are_found_in_the_pool_without_making_all_of_it():
    X = RNG.random((5000, 4))
    pool = ArrayPool(X)
    wanted = [pool[i] for i in (4, 999, 4321)]
    pool.made = 0
    scaled = FeatureScaling(X)(X)
    assert matching_rows(pool, scaled, wanted, scaled[[4, 999, 4321]]).tolist() == [4, 999, 4321]
    assert pool.made == 3


def test_twins_are_told_apart_by_id_and_strangers_are_not_found():
    X = np.repeat(np.arange(5.0), 2)[:, None]
    pool = ArrayPool(X)
    stranger = ArrayPool(X, ids=[f"other-{i}" for i in range(10)])[3]
    assert matching_rows(pool, X, [pool[7], stranger], X[[7, 3]]).tolist() == [7, -1]


def test_each_quantity_is_learned_from_the_rows_that_have_it():
    pool = ArrayPool(np.arange(6.0)[:, None])
    seen = [
        observe(pool, 0, {"phase": 0.9, "M": 1.0}),
        observe(pool, 1, {"phase": 0.1}, "failed_synthesis"),
        observe(pool, 2, {"phase": 0.8, "M": 5.0}, "failed_measurement"),
        observe(pool, 3, {"phase": 0.7, "M": float("nan")}),
    ]
    problem = build_problem(pool, seen, [pool[4]], [M], [PHASE])
    assert np.array_equal(problem.values["M"], [1.0, np.nan, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(problem.values["phase"], [0.9, 0.1, np.nan, 0.7], equal_nan=True)
    assert problem.eligible.tolist() == [False] * 5 + [True]


def test_a_failed_synthesis_without_a_reason_is_learned_as_such():
    pool = ArrayPool(np.arange(6.0)[:, None])
    seen = [
        observe(pool, 0, {"M": 1.0}),
        observe(pool, 1, {}, "failed_synthesis"),
        observe(pool, 2, {}, "failed_measurement"),
    ]
    problem = build_problem(pool, seen, [], [M], [])
    assert np.array_equal(problem.values[SYNTHESIS], [1.0, 0.0, np.nan], equal_nan=True)
    assert [c.name for c in problem.constraints] == [SYNTHESIS]


def test_computed_quantities_are_known_for_every_point():
    pool = ArrayPool(np.arange(6.0)[:, None], {"hhi": [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]})
    gone = ArrayPool(np.array([[3.1]]), ids=["gone"])[0]
    problem = build_problem(pool, [observe(pool, 1, {"M": 0.0})], [pool[2], gone], [M, HHI], [])
    assert "hhi" not in problem.values
    assert problem.exact["hhi"].observed.tolist() == [8.0]
    assert problem.exact["hhi"].pending.tolist() == [7.0, 6.0]  # the second: of its nearest neighbour


def test_constraints_on_computed_quantities_are_never_broken():
    pool = ArrayPool(np.arange(6.0)[:, None], {"price": [1.0, 2.0, 3.0, np.nan, 5.0, 6.0]})
    problem = build_problem(pool, [], [], [M], [Constraint(name="price", at_least=2, at_most=5)])
    assert np.flatnonzero(problem.eligible).tolist() == [1, 2, 4]
    assert problem.constraints == ()


def test_an_objective_that_cannot_be_computed_is_an_error():
    with pytest.raises(UnknownNameError, match="hhi"):
        build_problem(ArrayPool(np.zeros((3, 1))), [], [], [HHI], [])


def test_data_hash_sees_everything():
    pool, other = ArrayPool(np.arange(3.0)[:, None]), ArrayPool(np.arange(4.0)[:, None])
    seen = [observe(pool, 0, {"M": 1.0})]
    hashes = [
        data_hash(pool, [], []),
        data_hash(other, [], []),
        data_hash(pool, seen, []),
        data_hash(pool, [observe(pool, 0, {"M": 1.1})], []),
        data_hash(pool, seen, [pool[1]]),
    ]
    assert len(set(hashes)) == 5
    assert data_hash(pool, seen, [pool[1]]) == hashes[-1]
