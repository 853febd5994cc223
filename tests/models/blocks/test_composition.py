"""Compositions as arrays, and their statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.blocks.composition import (
    element_numbers,
    element_table,
    element_vectors,
    feature_names,
    magpie_features,
    parse,
    parse_all,
)
from models.blocks.families import family_features, family_names
from models.errors import DataError


def test_a_formula_keeps_the_order_of_its_sites():
    assert list(parse("Rh2MnGa").items()) == [("Rh", 2.0), ("Mn", 1.0), ("Ga", 1.0)]


@pytest.mark.parametrize(
    ("formula", "amounts"),
    [
        ("Ba0.4K0.6Fe2As2", {"Ba": 0.4, "K": 0.6, "Fe": 2, "As": 2}),
        ("Bi(Se0.9Br0.1)3", {"Bi": 1, "Se": 2.7, "Br": 0.3}),
        ("NaN", {"Na": 1, "N": 1}),
        ("PdD0.5H.5", {"Pd": 1, "H": 1.0}),
    ],
)
def test_formulas_of_the_literature_are_read(formula, amounts):
    assert parse(formula) == pytest.approx(amounts)


@pytest.mark.parametrize("formula", ["", "=z", "Xx2O", "AmO2", "Fe0", "2", "fe2o3"])
def test_what_is_no_formula_is_refused_by_name(formula):
    with pytest.raises(DataError):
        parse(formula)


@given(st.permutations(["Fe2", "O3", "Sr", "Ti0.5"]))
def test_features_do_not_depend_on_the_order_of_the_elements(parts):
    assert np.array_equal(magpie_features(parse_all(["".join(parts)])), magpie_features(parse_all(["Fe2O3SrTi0.5"])))


def test_features_do_not_depend_on_the_scale_or_on_the_neighbours_in_the_table():
    one = magpie_features(parse_all(["Fe2O3"]), with_fractions=True)
    many = magpie_features(parse_all(["NaCl", "Fe4O6", "BaTi0.5Zr0.5O3"]), with_fractions=True)
    assert one[0] == pytest.approx(many[1], abs=1e-12)


def test_statistics_are_what_their_names_say():
    names, row = feature_names(with_fractions=True), magpie_features(parse_all(["Fe2O3"]), with_fractions=True)[0]
    value = dict(zip(names, row, strict=True))
    assert value["Z_minimum"] == 8
    assert value["Z_range"] == 18
    assert value["Z_mean"] == pytest.approx(0.4 * 26 + 0.6 * 8)
    assert value["Z_deviation"] == pytest.approx(0.4 * (26 - 15.2) + 0.6 * (15.2 - 8))
    assert value["Z_mode"] == 8
    assert value["elements"] == 2
    assert value["norm_2"] == pytest.approx(np.hypot(0.4, 0.6))
    assert value["fraction_Fe"] == pytest.approx(0.4)
    assert value["ionic_character_max"] == pytest.approx(1 - np.exp(-0.25 * (3.44 - 1.83) ** 2))


def test_an_element_has_no_ionic_character():
    assert dict(zip(feature_names(), magpie_features(parse_all(["Fe"]))[0], strict=True))["ionic_character_max"] == 0


def test_the_table_has_no_gaps_and_every_element():
    table, names = element_table()
    assert table.shape == (94, len(names)) and np.isfinite(table).all()
    assert np.isfinite(element_vectors()).all()
    assert element_numbers()["Pu"] == 94
    assert (table[:, 0] == np.arange(1, 95)).all()


def test_a_family_of_elements_is_described_by_itself():
    rows = family_features(parse_all(["Nd2Fe14B", "BFe14Nd2", "Nd4Fe28B2", "NaCl"]))
    assert np.array_equal(rows[0], rows[1]) and np.array_equal(rows[0], rows[2])
    iron, salt = (dict(zip(family_names(), row.tolist(), strict=True)) for row in rows[[0, 3]])
    assert iron["3d_share"] == pytest.approx(14 / 17)
    assert iron["3d_Z_mean"] == 26.0 and iron["rare_earth_Z_mean"] == 60.0 and iron["3d_Z_deviation"] == 0.0
    assert iron["rare_earth_of_rare_earth_and_3d"] == pytest.approx(2 / 16)
    assert salt["3d_share"] == 0.0 and salt["3d_Z_mean"] == -1.0  # there is none, and a tree can see that
