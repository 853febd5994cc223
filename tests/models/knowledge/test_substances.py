import pytest

from models.knowledge.substances import formula_of, is_organic_or_water


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("BaTiO3", "BaTiO3"),
        ("Ba(NO3)2*6H2O", "Ba(NO3)2"),
        ("Co(NO3)2·6H2O", "Co(NO3)2"),
        ("LiNi0.5Mn1.5O4-δ", "LiNi0.5Mn1.5O4"),
        ("barium carbonate", "BaCO3"),
        ("titanium dioxide", "TiO2"),
        ("Iron(III) oxide", "Fe2O3"),
        ("iron (II) oxalate dihydrate", "FeC2O4"),
        ("lithium hydroxide monohydrate", "LiOH"),
        ("manganese carbonate", "MnCO3"),
        ("aluminium nitrate", "Al(NO3)3"),
        ("calcium phosphate", "Ca3(PO4)2"),
        ("Zn powder", "Zn"),
        ("zinc powder", "Zn"),
        ("alumina", "Al2O3"),
    ],
)
def test_names_become_formulas(name, formula):
    assert formula_of(name) == formula


@pytest.mark.parametrize("name", ["powder", "the mixture", "PVP", "BLF", "sample A", "solution", "nafion", ""])
def test_what_is_no_substance_has_no_formula(name):
    assert formula_of(name) is None


def test_solvents_are_known_by_their_elements():
    assert is_organic_or_water("H2O") and not is_organic_or_water("BaCO3")
