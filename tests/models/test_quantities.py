import math

import numpy as np
import pytest

from models import elements
from models.candidate import Candidate
from models.errors import DataError, UnknownNameError
from models.quantities import (
    AVOGADRO,
    BOHR_MAGNETON,
    MU_0,
    compute,
    computed,
    computed_names,
    derive,
    derived,
    derived_names,
    mass_fractions,
)

FORMULAS = (
    *("Co2MnSi", "Ni2MnGa", "Cu2MnAl", "Fe2VAl", "Mn2PtPd", "Fe3O4", "SrTiO3", "BaTiO3", "NdFe14B", "SmCo5"),
    *("MgB2", "GaAs", "Bi2Te3", "LiCoO2", "CsPbI3", "WC", "TiNiSn", "ZrNiSn", "Al2O3", "Ag3Sn"),
)


def candidate(formula):
    return Candidate(id=formula, composition=elements.parse_formula(formula))


@pytest.mark.parametrize("formula", FORMULAS)
def test_hhi_equals_pymatgens(formula):
    from pymatgen.analysis.hhi import HHIModel

    production, reserve = HHIModel().get_hhi(formula)
    assert compute("hhi_production", [candidate(formula)])[0] == pytest.approx(production, rel=1e-5)
    assert compute("hhi_reserve", [candidate(formula)])[0] == pytest.approx(reserve, rel=1e-5)


def test_hhi_alone_means_production():
    assert compute("hhi", [candidate("Co2MnSi")]) == compute("hhi_production", [candidate("Co2MnSi")])


def test_mass_fractions_are_those_of_the_scale():
    fractions = mass_fractions(np.array([[2.0, 3.0]]), ["Fe", "O"])
    assert fractions[0, 0] == pytest.approx(0.6994, abs=1e-3)
    assert fractions.sum() == pytest.approx(1.0)


def test_computed_quantities_do_not_depend_on_the_size_of_the_formula_unit():
    once, twice = candidate("Co2MnSi"), candidate("Co4Mn2Si2")
    for name in set(computed_names()) - {"molar_mass_g_per_mol"}:
        assert compute(name, [once])[0] == pytest.approx(compute(name, [twice])[0])


def test_an_element_that_a_candidate_lacks_needs_no_data():
    amounts = np.array([[1.0, 0.0]])
    assert computed("hhi")(amounts, ["Fe", "He"])[0] == 2400.0


def test_a_numeric_parameter_is_a_computed_quantity():
    hot = Candidate(id="p-1", parameters={"temperature_C": 900, "solvent": "water"})
    assert compute("temperature_C", [hot]).tolist() == [900.0]
    with pytest.raises(UnknownNameError, match="hhi_reserve"):
        compute("solvent", [hot])


def test_a_composition_that_is_missing_is_named():
    with pytest.raises(DataError, match="p-1"):
        compute("hhi", [candidate("Fe"), Candidate(id="p-1")])


def test_iron_has_its_magnetisation():
    """2.22 Bohr magnetons an atom in the bcc cell of 2.866 A make 2.19 T."""
    iron = candidate("Fe")
    grams = 1.7
    readings = {
        "moment_A_m2": 2.22 * BOHR_MAGNETON * grams / 55.845 * AVOGADRO,
        "sample_mass_g": grams,
        "cell_volume_A3_per_atom": 2.866**3 / 2,
    }
    assert derive("saturation_magnetization_T", readings, iron) == pytest.approx(2.197, abs=0.005)
    assert derive("moment_muB_per_formula_unit", readings, iron) == pytest.approx(2.22, rel=1e-4)
    assert derive("xray_density_g_per_cm3", readings, iron) == pytest.approx(7.88, abs=0.01)


def test_magnetisation_is_moment_density_of_the_cell():
    heusler = candidate("Co2MnSi")
    cell_A3 = 5.65**3 / 4
    readings = {
        "moment_A_m2": 5.0 * BOHR_MAGNETON / (cell_A3 * 1e-30) * 1e-6,
        "sample_mass_g": derive("xray_density_g_per_cm3", {"cell_volume_A3_per_atom": cell_A3 / 4}, heusler),
        "cell_volume_A3_per_atom": cell_A3 / 4,
    }
    expected = MU_0 * 5.0 * BOHR_MAGNETON / (cell_A3 * 1e-30)
    assert derive("saturation_magnetization_T", readings, heusler) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", derived_names())
@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_nothing_is_derived_from_a_missing_or_broken_reading(name, bad):
    for broken in derived(name).needs:
        readings = {need: 1.0 for need in derived(name).needs if need != broken}
        if bad is not None:
            readings[broken] = bad
        assert derive(name, readings, candidate("Fe")) is None


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="price_USD_per_kg"):
        computed("cost")
    with pytest.raises(UnknownNameError, match="saturation_magnetization_T"):
        derived("magnetization")
