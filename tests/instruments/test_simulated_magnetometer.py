import pytest
from simulated_lab import heusler, put_mixture, quiet

from instruments.driver import Driver, Job
from instruments.simulated.magnetometer import Magnetometer
from instruments.simulated.references import element

TARGET = heusler("Co", "Mn", "Si")
AMPERE_M2_PER_MOL = 5.5849
"""One Bohr magneton a formula unit."""


def job(seed: int = 1) -> Job:
    return Job(f"vsm-{seed}", "magnetometry", "s1", {"field_T": 2.0}, seed)


def test_five_bohr_magnetons_a_formula_unit_give_the_textbook_moment(tmp_path):
    driver = Magnetometer(workdir=tmp_path, world=tmp_path, noise=0)
    assert isinstance(driver, Driver)
    put_mixture(driver.world, TARGET, 1.0, moments=(1, 1, 3, 0), mass_g=2.0)
    outcome = driver.run(job(), quiet)
    moles = 2.0 / sum(element(el).mass_g_per_mol for el in TARGET["species"])
    assert outcome.readings == pytest.approx({"moment_A_m2": moles * 5 * AMPERE_M2_PER_MOL, "field_T": 2.0}, rel=1e-4)
    assert outcome.duration_s == 2400


def test_only_left_over_iron_cobalt_and_nickel_add_to_it(tmp_path):
    driver = Magnetometer(workdir=tmp_path, world=tmp_path, noise=0)
    put_mixture(driver.world, TARGET, 0.0, mass_g=2.0)
    share = 2 * element("Co").mass_g_per_mol / sum(element(el).mass_g_per_mol for el in TARGET["species"])
    cobalt = 2.0 * share / element("Co").mass_g_per_mol * element("Co").moment_muB_per_atom * AMPERE_M2_PER_MOL
    assert element("Mn").moment_muB_per_atom > 0
    assert driver.run(job(), quiet).readings["moment_A_m2"] == pytest.approx(cobalt, rel=1e-4)


def test_noise_is_about_one_per_cent_and_repeats_with_the_seed(tmp_path):
    driver = Magnetometer(workdir=tmp_path, world=tmp_path)
    put_mixture(driver.world, TARGET, 1.0, moments=(1, 1, 3, 0))
    read = [driver.run(job(seed), quiet).readings["moment_A_m2"] for seed in range(60)]
    mean = sum(read) / 60
    spread = (sum((x - mean) ** 2 for x in read) / 59) ** 0.5 / mean
    assert 0.006 < spread < 0.015
    assert driver.run(job(7), quiet).readings["moment_A_m2"] == read[7]


def test_no_sample_no_moment(tmp_path):
    driver = Magnetometer(workdir=tmp_path, world=tmp_path)
    assert "make it first" in driver.run(job(), quiet).message
    outcome = driver.inspect(job())
    assert driver.capabilities()[0].idempotent and outcome is not None and outcome.status == "untouched"
