"""A calculator as an instrument: EMT for speed, CHGNet and Quantum ESPRESSO for real."""

from __future__ import annotations

import shutil
import threading

import pytest

pytest.importorskip("ase", reason="pip install 'athanor[ase]'")

from instruments.conformance import check_driver
from instruments.driver import Driver, Job
from instruments.drivers.ase_calculator import AseCalculator, _run_until
from instruments.drivers.base import Stopped
from instruments.errors import LabError

EMT = "ase.calculators.emt:EMT"


def quiet(fraction: float, message: str) -> None:
    pass


def fcc(symbol: str, a_A: float) -> dict:
    h = a_A / 2
    return {"species": [symbol], "lattice_A": [[0, h, h], [h, 0, h], [h, h, 0]], "frac_coords": [[0, 0, 0]]}


def diamond(a_A: float) -> dict:
    return fcc("Si", a_A) | {"species": ["Si", "Si"], "frac_coords": [[0, 0, 0], [0.25, 0.25, 0.25]]}


def job(target: object) -> Job:
    return Job("c1", "calculate", "s1", {"target": target}, 0)


def test_a_relaxed_cell_has_the_potentials_lattice_parameter(tmp_path):
    driver = AseCalculator(workdir=tmp_path, calculator=EMT, relax="cell", fmax_eV_per_A=0.005)
    assert isinstance(driver, Driver)
    outcome = driver.run(job(fcc("Cu", 3.5)), quiet)
    assert outcome.status == "ok", outcome.message
    assert (4 * outcome.readings["volume_A3_per_atom"]) ** (1 / 3) == pytest.approx(3.59, abs=0.02)
    assert outcome.readings["max_force_eV_per_A"] < 0.01 and outcome.readings["steps"] > 0


def test_the_bulk_modulus_is_that_of_the_potential(tmp_path):
    driver = AseCalculator(workdir=tmp_path, calculator=EMT, relax="cell", fmax_eV_per_A=0.001, bulk_modulus=True)
    assert "bulk_modulus_GPa" in driver.capabilities()[0].quantities
    outcome = driver.run(job(fcc("Cu", 3.6)), quiet)
    assert outcome.readings["bulk_modulus_GPa"] == pytest.approx(134, rel=0.05)  # of EMT, as ASE's own tests say


def test_a_cell_that_is_not_relaxed_has_no_bulk_modulus(tmp_path):
    outcome = AseCalculator(workdir=tmp_path, calculator=EMT, bulk_modulus=True).run(job(fcc("Cu", 4.2)), quiet)
    assert outcome.status == "failed" and "relax the cell first" in outcome.message


def test_one_point_is_calculated_as_it_is(tmp_path):
    outcome = AseCalculator(workdir=tmp_path, calculator=EMT).run(job(fcc("Cu", 3.61)), quiet)
    assert outcome.readings["volume_A3_per_atom"] == pytest.approx(3.61**3 / 4)
    assert len(outcome.arrays["lattice_A"]) == 3


def test_what_does_not_converge_is_failed_and_not_a_result(tmp_path):
    driver = AseCalculator(workdir=tmp_path, calculator=EMT, relax="cell", max_steps=1, fmax_eV_per_A=1e-6)
    outcome = driver.run(job(fcc("Cu", 3.2)), quiet)
    assert outcome.status == "failed" and "not relaxed" in outcome.message


def test_an_element_that_the_potential_does_not_know_is_failed(tmp_path):
    assert AseCalculator(workdir=tmp_path, calculator=EMT).run(job(fcc("U", 4.0)), quiet).status == "failed"


@pytest.mark.parametrize(
    "target",
    [
        None, {}, "Cu", {"species": []}, fcc("Cu", 0.0), fcc("Xx", 4.0), fcc("Cu", float("nan")),
        fcc("Cu", 3.6) | {"frac_coords": [[0, 0]]}, fcc("Cu", 3.6) | {"species": ["Cu"] * 501},
    ],
)  # fmt: skip
def test_what_is_no_structure_is_refused(tmp_path, target):
    outcome = AseCalculator(workdir=tmp_path, calculator=EMT).run(job(target), quiet)
    assert outcome.status == "failed" and "refused" in outcome.message


def test_a_stop_ends_a_relaxation(tmp_path):
    driver = AseCalculator(workdir=tmp_path, calculator=EMT, relax="cell", fmax_eV_per_A=1e-9, max_steps=10**6)
    outcome = driver.run(job(fcc("Cu", 3.2)), lambda fraction, message: driver.stop())
    assert outcome.status == "failed" and "stopped" in outcome.message


@pytest.mark.parametrize("hosted", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["alone", "hosted"])
def test_it_keeps_a_drivers_promises(hosted):
    results = check_driver(AseCalculator, {"calculator": EMT}, job(fcc("Cu", 3.6)), hosted=hosted, stop_s=30.0)
    assert [(r.name, r.detail) for r in results if not r.passed] == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"calculator": "vasp"}, "package.module:name"),
        ({"calculator": EMT, "relax": "all"}, "relax"),
        ({"calculator": "espresso", "options": {"command": "no-such-pw.x"}}, "quantum-espresso"),
    ],
)
def test_wrong_settings_are_named(tmp_path, settings, says):
    with pytest.raises(LabError, match=says):
        AseCalculator(workdir=tmp_path, **settings)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # CHGNet's own, under torch 2.13
def test_chgnet_gives_silicon_its_lattice_parameter(tmp_path):
    pytest.importorskip("chgnet", reason="pip install 'athanor[lab]'")
    driver = AseCalculator(workdir=tmp_path, relax="cell", fmax_eV_per_A=0.02)
    outcome = driver.run(job(diamond(5.3)), quiet)
    assert outcome.status == "ok", outcome.message
    assert (8 * outcome.readings["volume_A3_per_atom"]) ** (1 / 3) == pytest.approx(5.46, abs=0.05)


def test_a_stop_ends_the_program_that_calculates(tmp_path):
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with (tmp_path / "out").open("wb") as out, pytest.raises(Stopped):
        _run_until(["sleep", "60"], tmp_path, out, stop)
    with (tmp_path / "out").open("wb") as out, pytest.raises(RuntimeError, match="ended with 1"):
        _run_until(["false"], tmp_path, out, threading.Event())


SILICON_GTH = """\
Si, LDA: Hartwigsen, Goedecker and Hutter, Phys. Rev. B 58, 3641 (1998), 10.1103/PhysRevB.58.3641
14 4 0
10 1 1 2 2001 0
0.44 1 -7.33610297
2
0.42273813 2 5.90692831 -1.26189397
3.25819622
0.48427842 1 2.72701346
0
"""
"""A pseudopotential in nine published numbers, in the form that pw.x reads as ``.gth``: the Debian package has none."""


@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not installed: apt install quantum-espresso")
def test_quantum_espresso_finds_the_lattice_parameter_of_silicon(tmp_path):
    (tmp_path / "Si.gth").write_text(SILICON_GTH)
    options = {
        "pseudo_dir": str(tmp_path),
        "pseudopotentials": {"Si": "Si.gth"},
        "input_data": {"system": {"ecutwfc": 20}},
        "kpts": [3, 3, 3],
    }
    driver = AseCalculator(workdir=tmp_path, calculator="espresso", options=options)
    cells = (5.2, 5.4, 5.6)
    outcomes = [driver.run(job(diamond(a_A)), quiet) for a_A in cells]
    assert [o.status for o in outcomes] == ["ok"] * 3, outcomes[0].message
    assert all(o.readings["max_force_eV_per_A"] < 0.01 for o in outcomes)
    energies = [o.readings["energy_eV_per_atom"] for o in outcomes]
    assert -109 < energies[1] < -106
    (low, middle, high), step = energies, cells[1] - cells[0]
    lowest_A = cells[1] + step * (low - high) / (2 * (low - 2 * middle + high))
    assert lowest_A == pytest.approx(5.40, abs=0.05)  # the local density approximation's; measured is 5.431


@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not installed: apt install quantum-espresso")
def test_a_pseudopotential_that_pw_cannot_read_is_a_failed_calculation_and_no_result(tmp_path):
    (tmp_path / "Si.gth").write_text("nothing\n")
    options = {"pseudo_dir": str(tmp_path), "pseudopotentials": {"Si": "Si.gth"}}
    outcome = AseCalculator(workdir=tmp_path, calculator="espresso", options=options).run(job(diamond(5.43)), quiet)
    assert outcome.status == "failed" and "pw.x ended with" in outcome.message and not outcome.readings
