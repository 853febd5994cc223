from importlib.resources import files

import numpy as np
import pytest

from models.characterization.references import crystal_of, references_of
from models.characterization.scattering import anomalous, attenuation_per_cm, scattering_factor
from models.elements import parse_formula
from models.errors import DataError, UnknownNameError

CU = 1.54056


def the(formula, name, elements):
    return next(c for c in references_of(elements) if c.formula == formula and c.name == name)


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    monkeypatch.delenv("ATHANOR_DATA", raising=False)


def test_forward_scattering_counts_the_electrons():
    assert scattering_factor("O", np.array(0.0), 0.3).real == pytest.approx(8, abs=0.1)


def test_an_element_near_its_edge_scatters_less():
    assert anomalous("Ni", CU)[0] < -2.5
    with pytest.raises(UnknownNameError, match="Xx"):
        scattering_factor("Xx", np.array(0.0), CU)


def test_iron_absorbs_copper_radiation_more_than_nickel_does():
    # 8.4 g/cm3 times 300 cm2/g and 46 cm2/g
    iron, nickel = (attenuation_per_cm({e: 2.0}, v, CU) for e, v in (("Fe", 23.55), ("Ni", 21.88)))
    assert iron == pytest.approx(2400, rel=0.08)
    assert iron > 5 * nickel


def test_forbidden_reflections_of_rock_salt_have_no_strength():
    seen = the("MgO", "periclase", ["Mg", "O"]).reflections(CU, 100)
    sums = sorted(int(k) for k in seen.keys[:, 0])
    assert sums[:5] == [3, 4, 8, 11, 12]
    assert 1 / np.sqrt(3 * seen.metric[0]) == pytest.approx(4.2117 / np.sqrt(3))


def test_intensities_agree_with_pymatgen():
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from pymatgen.core import Structure

    crystal = the("TiO2", "anatase", ["Ti", "O"])
    structure = Structure(crystal.lattice, list(crystal.species), crystal.positions)
    pattern = XRDCalculator(wavelength=CU).get_pattern(structure, two_theta_range=(20, 90), scaled=False)
    r = crystal.reflections(CU, 90)
    s2 = r.keys @ r.metric / 4
    theta = np.arcsin(np.sqrt(s2) * CU)
    mine = r.strength * (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    for angle, intensity in zip(pattern.x[:6], pattern.y[:6]):
        nearest = int(np.argmin(abs(np.degrees(2 * theta) - angle)))
        assert np.degrees(2 * theta[nearest]) == pytest.approx(angle, abs=0.01)
        assert mine[nearest] / mine.max() == pytest.approx(intensity / pattern.y.max(), abs=0.03)


def test_texture_averages_to_one():
    r = the("V2O5", "shcherbinaite", ["V", "O"]).reflections(0.5, 100)
    n = np.bincount(r.member_group)
    assert (r.texture(2, 0.8) * n).sum() / n.sum() == pytest.approx(1, abs=0.03)


def test_every_phase_that_ships_has_its_composition_and_no_atoms_on_top_of_each_other():
    with (files("models") / "data" / "xray_scattering.csv").open() as handle:
        everything = references_of([line.split(",")[0] for line in handle][1:])
    assert len(everything) > 290
    for crystal in everything:
        wanted = {e: n for e, n in parse_formula(crystal.formula).items() if e != "H"}
        got = {e: n for e, n in crystal.counts.items() if e != "H"}
        share = {e: n / sum(wanted.values()) for e, n in wanted.items()}
        assert got.keys() == wanted.keys(), crystal.label
        for e, n in got.items():
            assert n / sum(got.values()) == pytest.approx(share[e], abs=0.012), crystal.label
        heavy = [i for i, s in enumerate(crystal.species) if s != "H" and crystal.occupancy[i] == 1]
        apart = crystal.positions[heavy][:, None] - crystal.positions[heavy][None]
        distance = np.linalg.norm((apart - np.round(apart)) @ crystal.lattice, axis=-1) + 9 * np.eye(len(heavy))
        assert distance.min(initial=9) > 1.1, crystal.label


def test_a_primitive_cell_is_brought_to_the_conventional_one():
    a = 4.2117
    cell = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    crystal = crystal_of(cell, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]], measured=True)
    assert crystal is not None
    assert (crystal.formula, crystal.number) == ("MgO", 225)
    assert crystal.volume_A3 == pytest.approx(a**3)


def test_a_folder_without_structures_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no \.cif"):
        references_of(["Mg", "O"], tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        references_of(["Mg", "O"], tmp_path / "nowhere")


def test_a_folder_of_cifs_adds_what_does_not_ship(tmp_path):
    from pymatgen.core import Lattice, Structure

    Structure(Lattice.cubic(3.0), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(str(tmp_path / "odd.cif"))
    assert "odd" in {c.name for c in references_of(["Mg", "O"], tmp_path)}
