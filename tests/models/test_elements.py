import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import elements
from models.errors import DataError, UnknownNameError


def test_the_table_agrees_with_pymatgen_on_mass_and_electronegativity():
    from pymatgen.core import Element

    for symbol in ("Li", "Al", "Mn", "Co", "Sn", "Bi"):
        element = Element(symbol)
        assert elements.values("mass_g_per_mol", [symbol])[0] == pytest.approx(float(element.atomic_mass), rel=1e-5)
        assert elements.values("electronegativity", [symbol])[0] == pytest.approx(element.X)
        assert elements.values("group", [symbol])[0] == element.group


def test_valence_electrons_count_24_in_a_heusler_without_moment():
    fe, v, al = elements.values("valence_electrons", ["Fe", "V", "Al"])
    assert 2 * fe + v + al == 24


def test_unpaired_electrons_follow_hund():
    assert elements.values("unpaired_d", ["Ti", "Cr", "Mn", "Fe", "Cu", "Zn", "Al"]).tolist() == [2, 5, 5, 4, 0, 0, 0]


def test_metallic_radii_are_near_the_textbook_values():
    radii = elements.values("radius_A", ["Fe", "Al", "Cu", "Mg"])
    np.testing.assert_allclose(radii, [1.26, 1.43, 1.28, 1.60], atol=0.03)


def test_an_unknown_element_or_property_is_named():
    with pytest.raises(UnknownNameError, match="'Xx'"):
        elements.values("Z", ["Fe", "Xx"])
    with pytest.raises(UnknownNameError, match="melting_K"):
        elements.values("melting_point", ["Fe"])


def test_a_missing_value_is_an_error_and_not_a_number():
    assert not elements.has("electronegativity", ["Fe", "He"])
    with pytest.raises(DataError, match="He"):
        elements.values("electronegativity", ["Fe", "He"])


def test_excluded_groups_are_disjoint_and_have_reasons():
    groups = (elements.RADIOACTIVE, elements.RARE_EARTH, elements.POISONOUS)
    for i, one in enumerate(groups):
        elements.check_symbols(one)
        assert all(one.values())
        for other in groups[i + 1 :]:
            assert not (set(one) & set(other)) - {"Pm"}


@pytest.mark.parametrize(
    ("text", "composition"),
    [
        ("Co2MnSi", {"Co": 2, "Mn": 1, "Si": 1}),
        ("Ba(TiO3)2", {"Ba": 1, "Ti": 2, "O": 6}),
        ("Li2Co0.5Fe.5Cl4", {"Li": 2, "Co": 0.5, "Fe": 0.5, "Cl": 4}),
        ("CoMnCo", {"Co": 2, "Mn": 1}),
        ("[Fe(CN)6]2", {"Fe": 2, "C": 12, "N": 12}),
    ],
)
def test_formulas_are_read(text, composition):
    assert elements.parse_formula(text) == composition


@pytest.mark.parametrize("text", ["", "Xy2", "Co2)", "(Co2", "2Co", "Co-Mn", "co2", "()2"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(DataError, match="not a formula"):
        elements.parse_formula(text)


@given(st.dictionaries(st.sampled_from(elements.symbols()), st.integers(1, 99), min_size=1, max_size=6))
def test_a_written_formula_reads_back(composition):
    text = "".join(f"{el}{n}" for el, n in composition.items())
    assert elements.parse_formula(text) == composition


def test_amounts_refuses_an_element_outside_the_space():
    with pytest.raises(UnknownNameError, match="'Fe'"):
        elements.amounts([{"Fe": 1.0}], ["Co", "Mn"])
