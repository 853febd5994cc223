"""The hull of a chemical system, with the uncertainty of its energies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from models.errors import DataError
from models.thermo import entries, formulas
from models.thermo.entries import Phase
from models.thermo.hull import Hull, computed_hull


def binary(energies, std=0.0):
    """A hull of A = Mg and B = O with compounds at given energies per atom: formula -> energy."""
    names = ["Mg", "O", *energies]
    phases = [Phase(name, formulas.atoms(name)) for name in names]
    return Hull(phases, np.array([0.0, 0.0, *energies.values()]), np.array([0.0, 0.0, *[std] * len(energies)]))


def test_a_stable_compound_lies_on_the_hull_and_decomposes_into_its_neighbours():
    found = binary({"MgO": -3.0, "MgO2": -2.1}).stability(formulas.atoms("MgO2"))
    assert found.e_above_hull_eV_per_atom == 0.0
    assert found.decomposition == pytest.approx({"MgO": 2 / 3, "O": 1 / 3})
    assert found.decomposition_energy_eV_per_atom == pytest.approx(-0.1)


def test_an_unstable_compound_lies_above_the_line_between_its_neighbours():
    found = binary({"MgO": -3.0, "MgO2": -1.9}).stability(formulas.atoms("MgO2"))
    assert found.e_above_hull_eV_per_atom == pytest.approx(0.1)


def test_a_composition_without_an_energy_still_has_a_decomposition():
    found = binary({"MgO": -3.0}).stability({"Mg": 3, "O": 2})
    assert np.isnan(found.e_above_hull_eV_per_atom)
    assert found.decomposition == pytest.approx({"MgO": 0.8, "Mg": 0.2})
    assert found.probability == {}


def test_the_probability_of_lying_on_the_hull_is_that_of_the_energies():
    # One competitor that is certain (the elements): the probability is the normal distribution's own.
    hull = binary({"MgO": 0.05}, std=0.05)
    assert hull.stability(formulas.atoms("MgO"), within_meV=(0, 50, 100)).probability == pytest.approx(
        {0: 0.1587, 50: 0.5, 100: 0.8413}, abs=1e-3
    )


def test_an_uncertain_neighbour_makes_the_distance_uncertain():
    sure, unsure = (binary({"MgO": -3.0, "MgO2": -1.97}, std).stability(formulas.atoms("MgO2")) for std in (1e-3, 0.05))
    assert sure.probability[50] == pytest.approx(1.0)
    assert 0.5 < unsure.probability[50] < 0.8
    assert unsure.std_eV_per_atom == pytest.approx(np.hypot(0.05, 0.05 * 2 / 3), rel=0.1)


def test_a_hull_names_an_element_that_it_does_not_hold():
    with pytest.raises(DataError, match="Ti"):
        binary({"MgO": -3.0}).decompose({"Ti": 1, "O": 2})


@settings(deadline=None)
@given(st.lists(st.floats(-3, 1), min_size=6, max_size=6), st.integers(0, 10**6))
def test_a_decomposition_has_the_composition_and_no_cheaper_one_exists(energies, seed):
    names = ["Mg", "Ti", "O", "MgO", "TiO2", "Ti2O3", "MgTiO3", "Mg2TiO4", "MgTi2O5"]
    phases = [Phase(name, formulas.atoms(name)) for name in names]
    hull = Hull(phases, np.array([0.0, 0.0, 0.0, *energies]), np.zeros(9))
    amounts = np.random.default_rng(seed).integers(1, 9, size=3).astype(float)
    mixture, energy = hull.decompose(dict(zip(("Mg", "O", "Ti"), amounts, strict=True)))
    shares = np.array([[p.atoms.get(el, 0.0) / p.n_atoms for el in hull.elements] for p in phases])
    assert mixture @ shares == pytest.approx(amounts / amounts.sum(), abs=1e-7)
    best = linprog(hull.energies, A_eq=shares.T, b_eq=amounts / amounts.sum())
    assert energy == pytest.approx(best.fun, abs=1e-7)


@pytest.mark.parametrize("formula", ["BaTiO3", "LiCoO2", "YBa2Cu3O7", "LiFePO4", "BiFeO3", "MgAl2O4"])
def test_distances_agree_with_the_decomposition_energies_that_the_data_hold(athanor_data, formula):
    atoms = formulas.atoms(formula)
    published = entries.phase(formula).decomposition_eV_per_atom
    found = computed_hull(atoms).stability(atoms)
    assert found.decomposition_energy_eV_per_atom == pytest.approx(published, abs=1e-3)


def test_a_superconductor_just_above_the_hull_is_not_called_impossible(athanor_data):
    atoms = formulas.atoms("YBa2Cu3O7")
    found = computed_hull(atoms).stability(atoms)
    assert 0.01 < found.e_above_hull_eV_per_atom < 0.04
    assert found.probability[50] > 0.5
    assert list(found.probability.values()) == sorted(found.probability.values())


def test_a_system_has_one_hull(athanor_data):
    assert computed_hull(["Ti", "Ba", "O"]) is computed_hull({"O", "Ba", "Ti"})
