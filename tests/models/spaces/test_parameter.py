import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DataError, SpaceError
from models.roles import Condition, Generator
from models.spaces import build_space


def dials(parameters, *constraints):
    return build_space({"kind": "parameters", "parameters": parameters, "constraints": list(constraints)})


UNIT = {"low": 0, "high": 1}
MIXED = {
    "T": {"type": "int", "low": 300, "high": 900, "step": 50},
    "rate": {"low": 1e-3, "high": 10, "log": True},
    "solvent": {"type": "categorical", "values": ["water", "ethanol", 3]},
    "x": {"low": -1, "high": 1, "step": 0.25},
}


def test_proposals_keep_bounds_types_and_steps():
    space = dials(MIXED)
    assert isinstance(space, Generator)
    assert space.size is None
    found = space.propose(300, Condition(seed=1))
    assert len({c.id for c in found}) == 300
    for c in found:
        assert space.satisfies(c.parameters)
        assert isinstance(c.parameters["T"], int)
        assert c.parameters["T"] % 50 == 0
        assert c.parameters["x"] * 4 == int(c.parameters["x"] * 4)
        assert c.parameters["solvent"] in ("water", "ethanol", 3)
    rates = np.log10([c.parameters["rate"] for c in found])
    assert abs(np.mean(rates) + 1) < 0.1, "a logarithmic dial is sampled evenly in decades"


def test_proposals_depend_on_seed_and_offset_only():
    one, two = dials(MIXED), dials(MIXED)
    two.propose(7, Condition(seed=3))
    assert one.propose(50, Condition(seed=1, offset=20)) == two.propose(70, Condition(seed=1))[20:]
    assert one.propose(5, Condition(seed=1)) != one.propose(5, Condition(seed=2))


def test_the_first_proposals_fill_the_box():
    space = dials({"a": UNIT, "b": UNIT})
    X = space.featurize(space.propose(64, Condition(seed=0)))
    counts, _, _ = np.histogram2d(X[:, 0], X[:, 1], bins=4, range=[[0, 1], [0, 1]])
    assert counts.min() >= 2


def test_features_are_scaled_to_the_range_and_one_hot():
    space = dials(MIXED)
    assert space.feature_names == ("T", "rate", "x", "solvent=water", "solvent=ethanol", "solvent=3")
    candidate = space.propose(1, Condition(seed=0))[0].model_copy(
        update={"parameters": {"T": 600, "rate": 0.1, "x": 1.0, "solvent": "ethanol"}}
    )
    np.testing.assert_allclose(space.featurize([candidate])[0], [0.5, 0.5, 1, 0, 1, 0], atol=1e-12)
    X = space.featurize(space.propose(200, Condition(seed=4)))
    assert X.min() >= 0
    assert X.max() <= 1
    assert space.featurize([]).shape == (0, 6)


def test_a_setting_that_does_not_belong_here_has_no_features():
    space = dials(MIXED)
    good = space.propose(1, Condition(seed=0))[0]
    for bad in ({"solvent": "oil"}, {"T": "hot"}, {"rate": float("nan")}):
        with pytest.raises(DataError, match=next(iter(bad))):
            space.featurize([good.model_copy(update={"parameters": {**good.parameters, **bad}})])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_linear_constraints_hold_for_every_proposal(data):
    names = ["a", "b", "c", "d"][: data.draw(st.integers(2, 4))]
    weights = {n: data.draw(st.sampled_from([-2.0, -1.0, 0.5, 1.0, 3.0])) for n in names}
    inside = {n: data.draw(st.floats(0.25, 0.75)) for n in names}
    total = sum(weights[n] * inside[n] for n in names)
    kind = data.draw(st.sampled_from(["equal", "at_most", "at_least"]))
    slack = 0.1 * sum(map(abs, weights.values()))
    bound = {"equal": total, "at_most": total + slack, "at_least": total - slack}[kind]
    space = dials(dict.fromkeys(names, UNIT), {"coefficients": weights, kind: bound})
    found = space.propose(50, Condition(seed=data.draw(st.integers(0, 100))))
    assert len(found) == 50
    near = space.propose(30, Condition(seed=1, incumbents=tuple(found[:2])))
    for c in [*found, *near]:
        value = sum(w * c.parameters[n] for n, w in weights.items())
        assert all(0 <= c.parameters[n] <= 1 for n in names)
        if kind == "equal":
            assert value == pytest.approx(bound, abs=1e-6)
        else:
            assert (value <= bound + 1e-6) if kind == "at_most" else (value >= bound - 1e-6)


def test_fractions_that_add_up_to_one_are_spread_over_the_simplex():
    names = "abcde"
    space = dials(dict.fromkeys(names, UNIT), {"coefficients": dict.fromkeys(names, 1), "equal": 1})
    X = space.featurize(space.propose(2000, Condition(seed=0)))
    np.testing.assert_allclose(X.sum(axis=1), 1.0, atol=1e-8)
    np.testing.assert_allclose(X.mean(axis=0), 0.2, atol=0.02)
    np.testing.assert_allclose(X.std(axis=0), 0.163, atol=0.02)  # that of the uniform (Dirichlet) distribution
    assert (X < 1e-9).mean() < 0.01, "the bounds do not collect points"


def test_half_of_the_proposals_are_near_the_incumbents():
    space = dials({"a": UNIT, "b": UNIT, "k": {"type": "categorical", "values": ["x", "y"]}})
    best = space.propose(1, Condition(seed=9))[0]
    found = space.propose(100, Condition(seed=1, incumbents=(best,)))
    assert len({c.id for c in found} | {best.id}) == 101
    distance = np.linalg.norm(space.featurize(found)[:, :2] - space.featurize([best])[:, :2], axis=1)
    far = np.linalg.norm(
        space.featurize(space.propose(100, Condition(seed=1)))[:, :2] - space.featurize([best])[:, :2], axis=1
    )
    assert np.median(distance[:50]) < 0.5 * np.median(far)
    assert 0 < distance[:50].min() < 0.02, "some moves polish"


def test_discrete_dials_run_out():
    space = dials({"n": {"type": "int", "low": 1, "high": 3}, "k": {"type": "categorical", "values": ["x", "y"]}})
    assert len(space.propose(100, Condition(seed=0))) == 6
    assert space.propose(100, Condition(seed=0, offset=6)) == []


def test_integers_that_must_add_up_are_found():
    counts = {n: {"type": "int", "low": 0, "high": 10} for n in "abc"}
    space = dials(counts, {"coefficients": dict.fromkeys("abc", 1), "equal": 10})
    assert len(space.propose(1000, Condition(seed=0))) == 66


def test_a_float_takes_up_what_integers_leave():
    space = dials(
        {"n": {"type": "int", "low": 0, "high": 5}, "x": {"low": 0, "high": 10}},
        {"coefficients": {"n": 2, "x": 1}, "equal": 10},
    )
    found = space.propose(6, Condition(seed=0))
    assert sorted(c.parameters["n"] for c in found) == [0, 1, 2, 3, 4, 5]
    assert all(2 * c.parameters["n"] + c.parameters["x"] == pytest.approx(10) for c in found)


@pytest.mark.parametrize(
    "constraint",
    [
        {"coefficients": {"a": 1, "b": 1}, "at_least": 1.99},
        {"coefficients": {"a": 1, "b": 1}, "equal": 3},
        {"coefficients": {"a": 1}, "at_most": -1},
    ],
)
def test_constraints_that_hardly_anything_satisfies_are_refused(constraint):
    with pytest.raises(SpaceError, match=r"only \d+ of \d+ settings satisfy.*widen"):
        dials({"a": UNIT, "b": UNIT}, constraint)
