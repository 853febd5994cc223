import numpy as np
import pytest
from simulated_lab import heusler, put_mixture, quiet

from instruments.driver import Driver, Job
from instruments.simulated.cell import lattice_parameter_A, scaled, volume_A3
from instruments.simulated.diffractometer import Diffractometer
from instruments.simulated.pattern import WAVELENGTH_A, profile, reflections
from instruments.simulated.references import element

CUKA = WAVELENGTH_A["CuKa"]


def job(target: dict, seed: int = 1, **changes) -> Job:
    scan = {"two_theta_min_deg": 20.0, "two_theta_max_deg": 100.0, "step_deg": 0.02, "count_time_s": 1.0}
    return Job(f"xrd-{seed}", "diffract", "s1", scan | {"wavelength": "CuKa", "target": target} | changes, seed)


def measure(tmp_path, target, fraction, factor, seed=1, **changes):
    driver = Diffractometer(workdir=tmp_path, world=tmp_path)
    put_mixture(driver.world, target, fraction, factor)
    return driver.run(job(target, seed, **changes), quiet)


@pytest.mark.parametrize(
    ("x", "y", "z", "inverse", "fraction", "factor"),
    [
        ("Co", "Mn", "Si", False, 0.95, 0.971),
        ("Cu", "Mn", "Al", False, 0.90, 1.02),
        ("Fe", "V", "Al", False, 0.97, 0.985),
        ("Ni", "Mn", "Ga", False, 0.60, 1.005),
        ("Mn", "Pt", "Pd", True, 0.80, 1.06),
        ("Ru", "Fe", "Ga", False, 0.5, 1.033),
        ("Co", "Fe", "Ge", False, 0.75, 0.94),
        ("Rh", "Mn", "Sn", False, 0.99, 1.07),
        ("Fe", "Co", "Al", True, 0.85, 1.0),
        ("Au", "Mn", "Al", False, 0.40, 1.08),
        ("Ti", "Co", "Sb", True, 0.3, 1.05),
        ("Li", "Ag", "Bi", False, 0.9, 1.075),
    ],
)
def test_lattice_and_fraction_are_read_off_a_noisy_pattern(tmp_path, x, y, z, inverse, fraction, factor):
    outcome = measure(tmp_path, heusler(x, y, z, inverse=inverse), fraction, factor, seed=len(x + y) + ord(z[0]))
    assert outcome.status == "ok"
    assert outcome.readings["lattice_parameter_A"] == pytest.approx(5.8 * factor, rel=3e-3)
    assert outcome.readings["cell_volume_A3_per_atom"] == pytest.approx((5.8 * factor) ** 3 / 16, rel=9e-3)
    assert outcome.readings["phase_fraction"] == pytest.approx(fraction, abs=0.1)
    assert outcome.readings["rwp_pct"] < 40


def test_the_answer_follows_the_sample_not_the_command(tmp_path):
    target = heusler("Ni", "Mn", "Ga")
    read = []
    for i, (fraction, factor) in enumerate([(0.9, 0.95), (0.9, 1.01), (0.5, 1.01), (0.02, 1.01)]):
        outcome = measure(tmp_path / str(i), target, fraction, factor)
        read.append((outcome.readings["phase_fraction"], outcome.readings["lattice_parameter_A"] / 5.8))
    assert read[0][1] == pytest.approx(0.95, rel=1e-3) and read[1][1] == pytest.approx(1.01, rel=1e-3)
    assert [round(f, 1) for f, _ in read] == [0.9, 0.9, 0.5, 0.0]


def test_a_foreign_crystal_is_not_taken_for_the_target(tmp_path):
    driver = Diffractometer(workdir=tmp_path, world=tmp_path)
    put_mixture(driver.world, heusler("Ti", "Sn", "Au"), 0.0)
    outcome = driver.run(job(heusler("Ti", "Sn", "Au")), quiet)
    assert outcome.readings["phase_fraction"] < 0.1


def test_the_pattern_comes_back_and_is_counts(tmp_path):
    outcome = measure(tmp_path, heusler("Co", "Mn", "Si"), 0.9, 1.0)
    angle, counts = outcome.arrays["two_theta_deg"], outcome.arrays["counts"]
    assert angle.shape == counts.shape == (4001,) and (counts >= 0).all() and (counts == np.rint(counts)).all()
    strongest = angle[np.argmax(counts)]
    assert strongest == pytest.approx(np.degrees(2 * np.arcsin(CUKA / 2 / (5.8 / np.sqrt(8)))), abs=0.1)
    assert outcome.duration_s == 1800


def test_the_same_seed_repeats_the_pattern_and_a_longer_count_has_less_noise(tmp_path):
    target = heusler("Co", "Mn", "Si")
    once, again, other = (measure(tmp_path, target, 0.9, 1.0, seed) for seed in (1, 1, 2))
    assert (once.arrays["counts"] == again.arrays["counts"]).all() and once.readings == again.readings
    assert (once.arrays["counts"] != other.arrays["counts"]).any()
    long = measure(tmp_path, target, 0.9, 1.0, count_time_s=25.0)
    assert long.readings["rwp_pct"] < 0.5 * once.readings["rwp_pct"]


def test_a_perfect_instrument_reads_the_truth(tmp_path):
    driver = Diffractometer(workdir=tmp_path, world=tmp_path, noise=0)
    target = heusler("Fe", "V", "Al")
    put_mixture(driver.world, target, 0.7, 0.97)
    readings = driver.run(job(target), quiet).readings
    assert readings["lattice_parameter_A"] == pytest.approx(5.8 * 0.97, rel=1e-5)
    assert readings["phase_fraction"] == pytest.approx(0.7, abs=1e-3)


def test_hexagonal_targets_work_too(tmp_path):
    cell = element("Mg").cell | {"formula": "Mg"}
    target = {**cell, "species": ["Ti", "Al"], "formula": "TiAl", "lattice_A": scaled(element("Mg").lattice_A, 0.9)}
    readings = measure(tmp_path, target, 0.8, 1.03).readings
    assert readings["lattice_parameter_A"] == pytest.approx(lattice_parameter_A(target["lattice_A"]) * 1.03, rel=3e-3)
    assert readings["phase_fraction"] == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"wavelength": "blue"}, "CuKa"),
        ({"two_theta_max_deg": 20.5}, "too few points"),
        ({"count_time_s": 0}, "too few"),
    ],
)
def test_a_wrong_scan_is_refused(tmp_path, changes, says):
    outcome = measure(tmp_path, heusler("Co", "Mn", "Si"), 0.9, 1.0, **changes)
    assert outcome.status == "failed" and says in outcome.message


def test_an_interrupted_scan_may_be_repeated(tmp_path):
    driver = Diffractometer(workdir=tmp_path, world=tmp_path)
    outcome = driver.inspect(job(heusler("Co", "Mn", "Si")))
    assert isinstance(driver, Driver) and driver.capabilities()[0].idempotent
    assert outcome is not None and outcome.status == "untouched"


def test_silicon_has_its_textbook_lines():
    half = 5.431 / 2
    measured = element("Si").cell | {"lattice_A": [[0, half, half], [half, 0, half], [half, half, 0]]}
    lines = reflections(measured, CUKA, 90)
    angles = np.degrees(2 * np.arcsin(CUKA / 2 / np.sort(lines.spacing_A)[::-1]))
    assert angles[:5] == pytest.approx([28.47, 47.35, 56.18, 69.21, 76.46], abs=0.04)


def test_the_area_of_a_profile_is_that_of_its_lines_wherever_they_fall():
    grid = np.arange(20, 150, 0.02)
    lines = reflections(heusler("Co", "Mn", "Si"), CUKA, 100)
    areas = [profile(lines, grid, CUKA, broadening=b).sum() for b in (0.8, 1.0, 1.3)]
    assert areas == pytest.approx([areas[0]] * 3, rel=0.02)


@pytest.mark.parametrize(
    ("lattice", "edge"),
    [
        ([[0, 2, 2], [2, 0, 2], [2, 2, 0]], 4.0),
        ([[-1.5, 1.5, 1.5], [1.5, -1.5, 1.5], [1.5, 1.5, -1.5]], 3.0),
        ([[3, 0, 0], [0, 3, 0], [0, 0, 3]], 3.0),
        ([[3, 0, 0], [-1.5, 2.598, 0], [0, 0, 5]], 3.0),
    ],
)
def test_the_conventional_edge_of_a_primitive_cell(lattice, edge):
    assert lattice_parameter_A(lattice) == pytest.approx(edge)
    assert volume_A3(scaled(lattice, 2)) == pytest.approx(8 * abs(np.linalg.det(np.array(lattice))))
