import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_lab import balanced_g, heusler, melt, quiet

from instruments.driver import Job
from instruments.errors import LabError
from instruments.simulated import oracle
from instruments.simulated.arc_furnace import ArcFurnace
from instruments.simulated.cell import scaled
from instruments.simulated.diffractometer import Diffractometer
from instruments.simulated.magnetometer import Magnetometer
from instruments.simulated.oracle import EV_PER_A3_IN_GPA, Oracle, equation_of_state
from instruments.simulated.references import element, element_symbols

EXPERIMENT_A = {("Co", "Mn", "Si"): 5.65, ("Cu", "Mn", "Al"): 5.95, ("Fe", "V", "Al"): 5.76, ("Ni", "Mn", "Ga"): 5.82}


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Oracle:
    return Oracle(tmp_path_factory.mktemp("oracle"))


@pytest.mark.parametrize(("names", "measured_A"), EXPERIMENT_A.items())
def test_heuslers_come_out_within_two_per_cent_of_experiment_and_stable(known, names, measured_A):
    truth = known.material(heusler(*names))
    assert truth.bound and truth.lattice_parameter_A == pytest.approx(measured_A, rel=0.02)
    assert -1 < truth.formation_energy_eV_per_atom < -0.05
    assert 90 < truth.bulk_modulus_GPa < 300


def test_manganese_carries_the_moment_of_the_copper_heusler(known):
    moments = known.material(heusler("Cu", "Mn", "Al")).moments_muB
    assert 3 < moments[2] < 4.5 and max(moments[0], moments[1], moments[3]) < 0.2


@pytest.mark.parametrize("guess_A", [5.2, 6.15, 7.0])
def test_a_guess_far_off_finds_the_same_minimum(known, guess_A):
    near, far = known.material(heusler("Co", "Mn", "Si")), known.material(heusler("Co", "Mn", "Si", guess_A))
    assert far.lattice_parameter_A == pytest.approx(near.lattice_parameter_A, rel=1e-3)
    assert far.energy_eV_per_atom == pytest.approx(near.energy_eV_per_atom, abs=1e-3)


def test_a_soft_heavy_alloy_does_not_collapse(known):
    assert known.material(heusler("Bi", "Sn", "Au", 6.9)).lattice_parameter_A == pytest.approx(7.56, rel=0.02)


def test_an_answer_is_computed_once_and_kept(known, monkeypatch):
    truth = known.material(heusler("Co", "Mn", "Si"))
    monkeypatch.setattr(oracle, "potential", lambda: pytest.fail("asked the potential again"))
    assert Oracle(known.cache).material(heusler("Co", "Mn", "Si")) == truth


def test_a_torn_cache_file_is_computed_again(known):
    truth = known.material(heusler("Fe", "V", "Al"))
    for path in known.cache.glob("*.json"):
        if json.loads(path.read_text())["formula"] == "Fe2VAl":
            path.write_text(path.read_text()[:50])
    assert known.material(heusler("Fe", "V", "Al")).lattice_parameter_A == truth.lattice_parameter_A


@pytest.mark.parametrize("symbol", ["Fe", "Al", "Si", "Ti", "In", "Mn"])
def test_the_shipped_reference_of_an_element_is_what_the_potential_gives(symbol):
    from pymatgen.core import Lattice, Structure

    row = element(symbol)
    swollen = Structure(Lattice(scaled(row.lattice_A, 1.03)), row.species, row.frac_coords)
    state = equation_of_state(swollen)
    assert state.energy_eV_per_atom == pytest.approx(row.energy_eV_per_atom, abs=1e-3)
    assert (1.03 * state.edge_factor) ** 3 == pytest.approx(1, abs=0.01)


def test_the_reference_table_has_every_element_a_user_may_want():
    wanted = (
        "H Li Be B C N O F Na Mg Al Si P S Cl K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Rb Sr Y Zr Nb Mo "
        "Ru Rh Pd Ag Cd In Sn Sb Te I Cs Ba La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
        "Hg Tl Pb Bi Th U"
    )
    assert set(wanted.split()) <= set(element_symbols())
    for symbol in element_symbols():
        row = element(symbol)
        assert set(row.species) == {symbol} and len(row.species) == len(row.frac_coords)
        assert row.volume_A3_per_atom == pytest.approx(abs(np.linalg.det(row.lattice_A)) / len(row.species), rel=1e-4)
        assert row.energy_eV_per_atom < 0 and row.mass_g_per_mol > 1
        assert (row.melting_point_K or 1) > 0 and (row.boiling_point_K or 1) > 0


def test_an_unknown_element_and_a_cell_that_is_none_are_refused(known):
    with pytest.raises(LabError, match="no simulated matter for element 'Xe'"):
        known.material(heusler("Xe", "Mn", "Si"))
    with pytest.raises(LabError, match="real cell"):
        known.material(heusler("Co", "Mn", "Si") | {"lattice_A": [[0.0] * 3] * 3})


class Toy:
    """A made-up third-order Birch-Murnaghan solid."""

    def __init__(self, v0_A3: float, bulk_GPa: float, slope: float) -> None:
        self.v0, self.bulk, self.slope = v0_A3, bulk_GPa / EV_PER_A3_IN_GPA, slope

    def __call__(self, structure, factors, task):
        return [(self.energy(structure.volume * f**3), [0.0]) for f in factors]

    def energy(self, volume: float) -> float:
        x = (self.v0 / volume) ** (2 / 3) - 1
        return 9 / 16 * self.v0 * self.bulk * (x**3 * self.slope + x**2 * (6 - 4 * (x + 1))) - 3


@settings(max_examples=50, deadline=None)
@given(st.floats(0.85, 1.2), st.floats(5, 400), st.floats(3.5, 5.5))
def test_the_fit_recovers_any_birch_murnaghan_solid(edge, bulk_GPa, slope):
    from pymatgen.core import Lattice, Structure

    start = Structure(Lattice.cubic(3), ["Fe"], [[0, 0, 0]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "_predict", Toy(27 * edge**3, bulk_GPa, slope))
        state = equation_of_state(start)
    assert state.bound
    assert state.edge_factor == pytest.approx(edge, rel=1e-4)
    assert state.bulk_modulus_GPa == pytest.approx(bulk_GPa, rel=0.02)
    assert state.energy_eV_per_atom == pytest.approx(-3, abs=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_energy_that_only_falls_means_that_there_is_no_such_phase(monkeypatch, sign):
    from pymatgen.core import Lattice, Structure

    monkeypatch.setattr(oracle, "_predict", lambda s, factors, task: [(sign * f, [0.0]) for f in factors])
    state = equation_of_state(Structure(Lattice.cubic(3), ["Fe"], [[0, 0, 0]]))
    assert not state.bound and math.isfinite(state.energy_eV_per_atom)


def test_the_three_instruments_agree_with_the_truth_from_end_to_end(tmp_path):
    target = heusler("Co", "Mn", "Si", 5.9)
    shared = {"workdir": tmp_path, "world": tmp_path / "world"}
    furnace = ArcFurnace(**shared)
    assert furnace.run(melt(target), quiet).status == "ok"
    pattern = Diffractometer(**shared).run(Job("x", "diffract", "s1", {"target": target}, 1), quiet)
    moment = Magnetometer(**shared).run(Job("m", "magnetometry", "s1", {"field_T": 2.0}, 1), quiet)
    truth = furnace.oracle.material(target)
    assert pattern.readings["lattice_parameter_A"] == pytest.approx(truth.lattice_parameter_A, rel=3e-3)
    assert pattern.readings["phase_fraction"] > 0.8
    moles = sum(balanced_g(target).values()) / sum(element(el).mass_g_per_mol for el in target["species"])
    assert moment.readings["moment_A_m2"] == pytest.approx(moles * 5.5849 * sum(truth.moments_muB), rel=0.15)
    assert [entry["command_id"] for entry in furnace.world.need("s1").history] == ["make-s1", "x", "m"]
