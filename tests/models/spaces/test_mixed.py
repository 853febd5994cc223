from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.errors import SpaceError
from models.roles import Condition
from models.spaces import build_space, parse_space
from models.spaces.expression import Expression
from models.spaces.simplex import snapped
from models.spaces.spec import CompositionSpec

ALLOY = {
    "kind": "parameters",
    "composition": {
        "elements": {"Fe": {"low": 0.2}, "Co": {}, "Ni": {"high": 0.5}, "Al": {"high": 0.3}},
        "step": 0.05,
        "most": 3,
    },
    "parameters": {
        "temperature_C": {"low": 400, "high": 1200},
        "time_h": {"low": 0.5, "high": 48, "log": True},
        "passes": {"type": "int", "low": 1, "high": 5},
        "gas": {"type": "categorical", "values": ["Ar", "H2"]},
    },
    "constraints": [
        {"coefficients": {"x_Co": 1, "x_Ni": 1}, "at_most": 0.7},
        {"expression": "(temperature_C + 273) * (20 + log10(time_h))", "at_most": 28000},
    ],
}


def obeys(candidate):
    p = candidate.parameters
    fractions = [p["x_Fe"], p["x_Co"], p["x_Ni"], p["x_Al"]]
    assert sum(fractions) == pytest.approx(1.0, abs=1e-9)
    assert p["x_Fe"] >= 0.2 - 1e-9
    assert p["x_Ni"] <= 0.5 + 1e-9
    assert p["x_Co"] + p["x_Ni"] <= 0.7 + 1e-7
    assert sum(f > 0 for f in fractions) <= 3
    assert all(abs(f * 20 - round(f * 20)) < 1e-6 for f in fractions)
    assert (p["temperature_C"] + 273) * (20 + np.log10(p["time_h"])) <= 28000 + 1e-6
    assert p["passes"] in range(1, 6)
    assert p["gas"] in ("Ar", "H2")


def test_everything_at_once_is_proposed_and_obeyed():
    space = build_space(ALLOY)
    first = space.propose(200, Condition(seed=1))
    assert len({c.id for c in first}) == 200
    near = space.propose(60, Condition(seed=2, incumbents=tuple(first[:3])))
    moved = space.neighbours(first[:3], 40, seed=3, shrink=0.1)
    assert len(moved) == 40
    for candidate in [*first, *near, *moved]:
        obeys(candidate)
    assert {c.parameters["gas"] for c in first} == {"Ar", "H2"}


def test_a_composition_has_the_features_of_its_elements():
    space = build_space(ALLOY)
    candidates = space.propose(50, Condition(seed=1))
    X = space.featurize(candidates)
    assert X.shape == (50, len(space.feature_names))
    assert np.isfinite(X).all()
    valence = X[:, space.feature_names.index("valence_electrons_mean")]
    own = {"Fe": 8, "Co": 9, "Ni": 10, "Al": 3}
    expected = [sum(own[el] * n for el, n in c.composition.items()) for c in candidates]
    assert valence == pytest.approx(expected, rel=1e-6)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5),
    st.sampled_from([None, 0.05, 0.1, 0.25]),
    st.sampled_from([None, 1, 2, 3]),
)
@settings(max_examples=100, deadline=None)
def test_fractions_snap_to_the_grid_and_still_add_up(rows, step, most):
    spec = CompositionSpec(elements={el: {} for el in ("Fe", "Co", "Ni", "Al")}, step=step, most=most)
    found = snapped(np.array(rows) + 1e-6, spec)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(rows)))
    assert (found >= 0).all()
    if most is not None:
        assert ((found > 1e-12).sum(axis=1) <= most).all()
    if step is not None:
        assert np.abs(found / step - np.round(found / step)).max() < 1e-6


def test_an_expression_is_arithmetic_and_nothing_else():
    value = Expression("a * sqrt(b) - max(a, 2) ** 2")({"a": np.array([1.0, 3.0]), "b": np.array([4.0, 9.0])})
    assert value.tolist() == [-2.0, 0.0]
    for text in (
        "__import__('os')",
        "a.b",
        "a[0]",
        "lambda: 1",
        "a if b else c",
        "'text'",
        "a <",
        "sqrt(a, b)",
        "f(a)",
    ):
        with pytest.raises(ValueError, match=r"expression|allowed|takes"):
            Expression(text)


def test_where_an_expression_has_no_value_nothing_is_allowed():
    space = build_space(
        {
            "kind": "parameters",
            "parameters": {"a": {"low": -1, "high": 1}},
            "constraints": [{"expression": "log(a)", "at_least": -1}],
        }
    )
    assert all(c.parameters["a"] > 0.36 for c in space.propose(50, Condition(seed=0)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"composition": {"elements": {"Fe": {"low": 0.7}, "Co": {"low": 0.7}}}}, "add up"),
        ({"composition": {"elements": {"Fe": {}, "Co": {}}, "step": 0.3}}, "no multiple of step"),
        ({"constraints": [{"expression": "temperature_C * hours", "at_most": 1}]}, "hours"),
        ({"constraints": [{"expression": "gas * 2", "at_most": 1}]}, "categorical"),
        ({"constraints": [{"expression": "open('x')", "at_most": 1}]}, "not allowed"),
        ({"constraints": [{"expression": "passes"}]}, "at_most"),
        ({"parameters": {"x_Fe": {"low": 0, "high": 1}}, "constraints": []}, "other names"),
    ],
)
def test_mistakes_are_named(change, said):
    with pytest.raises(ValidationError, match=said):
        parse_space({**ALLOY, **change})


def product(tmp_path, **change):
    (tmp_path / "alloys.csv").write_text("formula,supplier\nFe3Al,A\nFeCo,B\nNi3Al,A\nCoNi,B\nFeNi,A\n")
    spec = {
        "kind": "product",
        "candidates": {"kind": "table", "file": "alloys.csv", "parameters": ["supplier"], "composition": "formula"},
        "parameters": {"temperature_C": {"low": 400, "high": 1200}, "passes": {"type": "int", "low": 1, "high": 3}},
        "constraints": [{"expression": "temperature_C * passes", "at_most": 2000}],
        **change,
    }
    return build_space(spec, tmp_path)


def test_a_pool_times_dials_gives_every_candidate_at_many_settings(tmp_path):
    space = product(tmp_path)
    pairs = space.propose(50, Condition(seed=0))
    assert len({c.id for c in pairs}) == 50
    assert {c.id.partition("@")[0] for c in pairs} == {f"row-{i}" for i in range(5)}
    assert all(c.parameters["temperature_C"] * c.parameters["passes"] <= 2000 for c in pairs)
    assert all(c.composition and c.parameters["supplier"] in ("A", "B") for c in pairs)
    X = space.featurize(pairs)
    assert X.shape == (50, len(space.feature_names))
    assert np.isfinite(X).all()
    assert space.propose(50, Condition(seed=0)) == pairs
    other = space.propose(50, Condition(seed=0, offset=50))
    assert not {c.id for c in other} & {c.id for c in pairs}


def test_moves_in_a_product_change_the_dials_or_the_candidate(tmp_path):
    space = product(tmp_path)
    start = space.propose(2, Condition(seed=0))
    moved = space.neighbours(start, 40, seed=1)
    bases = {c.id.partition("@")[0] for c in moved}
    assert len(bases) > 1
    assert len({c.parameters["temperature_C"] for c in moved}) > 5
    assert all(c.parameters["temperature_C"] * c.parameters["passes"] <= 2000 for c in moved)


def test_a_dial_with_the_name_of_a_column_is_refused(tmp_path):
    dials = {"supplier=A": {"low": 0, "high": 1}}
    with pytest.raises(SpaceError, match="other names"):
        product(tmp_path, parameters=dials, constraints=[])


def test_a_composition_belongs_to_the_candidates_of_a_product(tmp_path):
    with pytest.raises(ValidationError, match="candidates have the composition"):
        product(tmp_path, composition={"elements": {"Fe": {}, "Co": {}}})
