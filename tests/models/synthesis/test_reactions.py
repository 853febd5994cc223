"""Balanced reactions, competition, barriers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DataError
from models.synthesis import precursor_list
from models.synthesis.competition import compete
from models.synthesis.epitaxy import patches, smallest_match_A2
from models.synthesis.nucleation import barrier_eV, pareto_front
from models.synthesis.reactions import GASES, enumerate_reactions
from models.thermo import formulas


def reactions_of(target, *precursors):
    return enumerate_reactions(formulas.atoms(target), [formulas.atoms(p) for p in precursors])


def words(found, precursors):
    """Each reaction as precursor -> coefficient, gas -> amount given off."""
    out = []
    for sets, amounts, gas in zip(found.sets, found.coefficients, found.gases, strict=True):
        solid = {precursors[i]: float(x) for i, x in zip(sets, amounts, strict=True) if i >= 0}
        out.append((solid, {g: float(x) for g, x in zip(GASES, gas, strict=True) if x}))
    return out


def test_a_carbonate_and_an_oxide_give_carbon_dioxide():
    names = ["BaCO3", "TiO2"]
    ((solid, gas),) = words(reactions_of("BaTiO3", *names), names)
    assert solid == pytest.approx({"BaCO3": 1, "TiO2": 1})
    assert gas == pytest.approx({"CO2": 1})


def test_oxygen_is_taken_up_where_the_precursors_hold_too_little():
    names = ["Li2CO3", "Co3O4"]
    ((solid, gas),) = words(reactions_of("LiCoO2", *names), names)
    assert solid == pytest.approx({"Li2CO3": 1 / 2, "Co3O4": 1 / 3})
    assert gas == pytest.approx({"CO2": 1 / 2, "O2": -1 / 12})


def test_nitrates_give_nitrogen_dioxide_and_ammonium_salts_ammonia():
    names = ["LiNO3", "NH4H2PO4", "FeO"]
    ((_, gas),) = words(reactions_of("LiFePO4", *names), names)
    assert gas["NO2"] == pytest.approx(1)
    assert gas["NH3"] == pytest.approx(1)
    assert gas["H2O"] == pytest.approx(1.5)


def test_a_nitride_takes_nitrogen_from_the_gas():
    ((_, gas),) = words(reactions_of("GaN", "Ga"), ["Ga"])
    assert gas == pytest.approx({"N2": -0.5})


def test_no_reaction_where_an_element_has_no_source():
    assert len(reactions_of("BaTiO3", "TiO2", "SrCO3")) == 0


def test_precursors_with_foreign_elements_that_would_stay_are_not_used():
    names = ["BaCl2", "BaCO3", "TiO2"]
    assert [solid for solid, _ in words(reactions_of("BaTiO3", *names), names)] == [
        pytest.approx({"BaCO3": 1.0, "TiO2": 1.0})
    ]


def test_a_gas_cannot_be_a_target():
    with pytest.raises(DataError, match="weighed"):
        reactions_of("H2O", "BaO")


POWDERS = [
    "BaO",
    "BaCO3",
    "Ba(NO3)2",
    "Ba(OH)2",
    "TiO2",
    "Ti",
    "Y2O3",
    "CuO",
    "Cu",
    "Cu2O",
    "NH4H2PO4",
    "Li2CO3",
    "FePO4",
]


@settings(deadline=None)
@given(
    st.sampled_from(["BaTiO3", "YBa2Cu3O7", "LiFePO4", "Ba2YCu3O6.5", "BaTi0.9Fe0.1O3", "Li3PO4"]),
    st.sets(st.sampled_from(POWDERS), min_size=2),
)
def test_every_reaction_keeps_every_atom(target, powders):
    names = sorted(powders)
    for solid, gas in words(reactions_of(target, *names), names):
        balance = {el: -n for el, n in formulas.atoms(target).items()}
        for side, sign in ((solid, 1.0), (gas, -1.0)):
            for name, x in side.items():
                for el, n in formulas.atoms(name).items():
                    balance[el] = balance.get(el, 0.0) + sign * x * n
        assert np.allclose(list(balance.values()), 0.0, atol=1e-8)
        assert min(solid.values()) > 0


def test_competing_phases_are_those_that_two_precursors_can_form():
    names, rivals = ["BaO", "TiO2"], ["Ba2TiO4", "BaTi2O5", "BaO2", "SrTiO3"]
    found = reactions_of("BaTiO3", *names)
    held = [formulas.atoms(name) for name in rivals]
    cost = np.array([-1.0, -1.0])
    # Ba2TiO4 from 2 BaO + TiO2: driven by 0.7 eV; BaTi2O5: not driven; the others cannot form from both.
    energies = np.array([-3.0 - 0.7, -3.0 + 0.8, -9.0, -9.0])
    got = compete(found, [formulas.atoms(n) for n in names], cost, held, energies, np.full(4, 1e-3))
    assert got.energies_eV_per_atom[0, :2] == pytest.approx([-0.1, 0.1])
    assert np.isnan(got.energies_eV_per_atom[0, 2:]).all()
    assert got.count.tolist() == [1]
    assert got.expected[0] == pytest.approx(1.0)
    assert got.strongest_eV_per_atom[0] == pytest.approx(-0.1)


def test_an_uncertain_competitor_counts_as_half():
    found = reactions_of("BaTiO3", "BaO", "TiO2")
    held = [formulas.atoms("Ba2TiO4")]
    precursors = [formulas.atoms("BaO"), formulas.atoms("TiO2")]
    got = compete(found, precursors, np.array([-1.0, -1.0]), held, np.array([-3.0]), np.array([0.05]))
    assert got.expected[0] == pytest.approx(0.5)


def test_the_barrier_falls_with_driving_force_and_with_fit():
    driven = barrier_eV(np.array([-0.02, -0.04]), 0.5, 0.0)
    assert driven[0] > driven[1]
    fits = barrier_eV(-0.02, np.array([0.1, 0.9]), 0.2)
    assert fits[0] < fits[1]
    assert barrier_eV(0.01, 0.1, 0.1) == np.inf


def test_the_barrier_without_any_fit_is_that_of_a_free_sphere():
    """16/3 pi s^3 / dG^2 with s = 2 J/m2 = 0.1248 eV/A2, and 10 eV for rearranging all."""
    assert barrier_eV(-0.05, 1.0, 1.0) == pytest.approx(16 / 3 * np.pi * 0.12483**3 / 0.05**2 + 10, rel=1e-4)


def test_the_front_holds_what_nothing_else_beats():
    barrier = np.array([1.0, 5.0, 5.1, 10.0, 20.0, np.inf])
    rivals = np.array([9.0, 3.0, 3.2, 3.0, 1.0, 0.0])
    assert pareto_front(barrier, rivals).tolist() == [True, True, True, False, True, False]


def test_a_lattice_fits_itself_on_its_smallest_face_and_a_turned_setting_alike():
    cubic = 4.0 * np.eye(3)
    sheared = np.array([[4.0, 0, 0], [4.0, 4.0, 0], [0, 0, 4.0]])
    assert smallest_match_A2(patches(cubic), patches(cubic)) == pytest.approx(16.0)
    assert smallest_match_A2(patches(cubic), patches(sheared)) == pytest.approx(16.0)


def test_twice_the_lattice_fits_on_four_cells_of_it():
    assert smallest_match_A2(patches(4.0 * np.eye(3)), patches(8.0 * np.eye(3))) == pytest.approx(64.0)


def test_lattices_that_do_not_fit_within_the_largest_patch_do_not_match():
    assert smallest_match_A2(patches(14.0 * np.eye(3)), patches(4.0 * np.eye(3) + np.diag([0, 0.7, 0.4]))) == np.inf


@pytest.mark.parametrize(
    ("formula", "kind"),
    [
        ("TiO2", "oxide"), ("BaCO3", "carbonate"), ("Ba(NO3)2", "nitrate"), ("LiOH", "hydroxide"), ("Ti", "element"),
        ("NH4H2PO4", "ammonium"), ("H3BO3", "hydroxide"), ("P2O5", "oxide"), ("Li3PO4", "salt"), ("LiF", "salt"),
        ("CO2", None), ("O2", None), ("BaTiO3", None), ("H2O", None), ("C2H4", None),
    ],
)  # fmt: skip
def test_powders_have_kinds(formula, kind):
    assert precursor_list.kind_of(formulas.atoms(formula)) == kind


def test_what_can_be_bought_for_a_titanate(athanor_data):
    found = {p.phase.formula: p.kind for p in precursor_list.available(formulas.atoms("BaTiO3"))}
    assert {"TiO2": "oxide", "BaCO3": "carbonate", "Ba(NO3)2": "nitrate", "Ti": "element"}.items() <= found.items()
    assert "BaTiO3" not in found
    assert not any("Cl" in name for name in found)


def test_powders_are_spelled_as_chemists_do(athanor_data):
    assert precursor_list.spelled("PH6NO4") == "NH4H2PO4"
    assert precursor_list.spelled("LiHO") == "LiOH"
