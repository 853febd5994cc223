"""Charge balance and electronegativity."""

from __future__ import annotations

import pytest

from models.blocks.composition import parse
from models.blocks.validity import is_plausible, plausible


@pytest.mark.parametrize("formula", ["NaCl", "SrTiO3", "LiCoO2", "Fe3Al", "Fe", "Fe3O4", "GaAs", "Mn3O4"])
def test_what_exists_is_plausible(formula):
    assert is_plausible(parse(formula))


@pytest.mark.parametrize("formula", ["NaCl3", "Al2O7", "MgF", "CaNa2"])
def test_charges_that_cannot_balance_are_not_plausible_among_salts(formula):
    expected = formula == "CaNa2"  # metals need no charges
    assert is_plausible(parse(formula)) == expected


def test_many_at_once():
    assert plausible([parse("NaCl"), parse("NaCl3")]).tolist() == [True, False]
