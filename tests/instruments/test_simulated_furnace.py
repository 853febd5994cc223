import math
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_lab import balanced_g, heusler, material, melt, quiet, stopping

from instruments.driver import Driver
from instruments.errors import LabError
from instruments.simulated.arc_furnace import ArcFurnace
from instruments.simulated.oracle import Material, Oracle

TARGET = heusler("Co", "Mn", "Si")


@pytest.fixture
def truth(monkeypatch) -> dict[str, Material]:
    answers = {"is": material(TARGET, -0.3)}
    monkeypatch.setattr(Oracle, "material", lambda self, target: answers["is"])
    return answers


def furnace(path: Path, **more) -> ArcFurnace:
    return ArcFurnace(workdir=path, world=path / "world", **more)


def fraction(driver: ArcFurnace, sample: str = "s1") -> float:
    found = driver.world.get(sample)
    assert found is not None
    assert math.isclose(sum(p.mass_fraction for p in found.phases), 1, rel_tol=1e-9)
    return sum(p.mass_fraction for p in found.phases if p.target)


def test_it_makes_a_sample_and_reports_its_mass_alone(tmp_path, truth):
    driver = furnace(tmp_path)
    assert isinstance(driver, Driver)
    outcome = driver.run(melt(TARGET), quiet)
    sample = driver.world.get("s1")
    assert outcome.status == "ok" and set(outcome.readings) == {"sample_mass_g", "mass_loss_pct"}
    assert sample is not None and abs(outcome.readings["sample_mass_g"] - sample.mass_g) < 1e-3
    assert 0.2 < outcome.readings["mass_loss_pct"] < 3
    assert 2 * 3600 < outcome.duration_s < 4 * 3600
    assert [entry["command_id"] for entry in sample.history] == ["make-s1"]


@pytest.mark.parametrize(
    ("energy_eV", "low", "high"), [(-0.3, 0.9, 1.0), (-0.03, 0.6, 0.8), (0.02, 0.2, 0.5), (0.3, 0, 0.01)]
)
def test_the_phase_forms_where_thermodynamics_says_so_and_the_furnace_calls_both_ok(
    tmp_path, truth, energy_eV, low, high
):
    truth["is"] = material(TARGET, energy_eV)
    driver = furnace(tmp_path)
    assert driver.run(melt(TARGET), quiet).status == "ok"
    assert low <= fraction(driver) <= high


def test_what_has_no_energy_minimum_never_forms(tmp_path, truth):
    truth["is"] = material(TARGET, -5.0, bound=False)
    driver = furnace(tmp_path)
    driver.run(melt(TARGET), quiet)
    assert fraction(driver) == 0


def test_a_wrong_weighing_costs_phase_fraction(tmp_path, truth):
    driver = furnace(tmp_path)
    driver.run(melt(TARGET, "right"), quiet)
    wrong = balanced_g(TARGET) | {"Mn": 0.5 * balanced_g(TARGET)["Mn"]}
    driver.run(melt(TARGET, "wrong", masses_g=wrong), quiet)
    missing = {el: g for el, g in balanced_g(TARGET).items() if el != "Si"}
    driver.run(melt(TARGET, "missing", masses_g=missing), quiet)
    assert fraction(driver, "wrong") < 0.7 < fraction(driver, "right")
    assert fraction(driver, "missing") == 0


def test_volatile_elements_boil_off(tmp_path, truth):
    zinc = heusler("Cu", "Zn", "Al")
    truth["is"] = material(zinc, -0.3)
    driver = furnace(tmp_path)
    loss = {el: driver.run(melt(heusler("Cu", el, "Al"), el), quiet).readings["mass_loss_pct"] for el in ("Zn", "Fe")}
    assert loss["Zn"] > 3 * loss["Fe"] > 0


def test_too_few_melts_or_too_cold_an_arc_leave_elements_behind(tmp_path, truth):
    driver = furnace(tmp_path)
    for name, changes in {"good": {}, "once": {"melts": 1}, "cold": {"melt_temperature_C": 900.0}}.items():
        driver.run(melt(TARGET, name, **changes), quiet)
    assert fraction(driver, "once") < fraction(driver, "good") - 0.1
    assert fraction(driver, "cold") < fraction(driver, "good")


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=40
)
@given(
    grams=st.tuples(*[st.floats(0.05, 10)] * 3),
    energy=st.floats(-0.5, 0.5),
    seed=st.integers(0, 2**63 - 1),
    melts=st.integers(1, 6),
    celsius=st.floats(800, 3000),
)
def test_no_atom_appears_from_nowhere(tmp_path, truth, grams, energy, seed, melts, celsius):
    truth["is"] = material(TARGET, energy)
    driver = furnace(tmp_path, noise=1.0)
    masses = dict(zip(("Co", "Mn", "Si"), grams, strict=True))
    name = f"s{seed}-{time.monotonic_ns()}"
    outcome = driver.run(melt(TARGET, name, seed, masses_g=masses, melts=melts, melt_temperature_C=celsius), quiet)
    sample = driver.world.get(name)
    assert outcome.status == "ok" and sample is not None
    content: dict[str, float] = {}
    for phase in sample.phases:
        assert 0 <= phase.mass_fraction <= 1 + 1e-12
        shares = balanced_g({"species": phase.species}, sample.mass_g * phase.mass_fraction)
        for el, g in shares.items():
            content[el] = content.get(el, 0) + g
    for el, g in masses.items():
        assert content.get(el, 0) <= g + 1e-3
    if energy > 0:
        assert fraction(driver, name) < 0.5


def test_the_same_seed_gives_the_same_sample_and_another_seed_another(tmp_path, truth):
    a, b = furnace(tmp_path / "a"), furnace(tmp_path / "b")
    assert a.run(melt(TARGET), quiet) == b.run(melt(TARGET), quiet)
    assert a.world.get("s1") == b.world.get("s1")
    assert a.run(melt(TARGET, "s2", seed=2), quiet).readings != b.run(melt(TARGET, "s2", seed=3), quiet).readings


def test_without_noise_two_seeds_agree(tmp_path, truth):
    driver = furnace(tmp_path, noise=0)
    assert driver.run(melt(TARGET, "a", 1), quiet).readings == driver.run(melt(TARGET, "b", 2), quiet).readings


def test_after_a_crash_the_crucible_tells_what_happened(tmp_path, truth):
    driver = furnace(tmp_path)
    before = driver.inspect(melt(TARGET))
    outcome = driver.run(melt(TARGET), quiet)
    assert before is not None and before.status == "untouched"
    assert furnace(tmp_path).inspect(melt(TARGET)) == outcome


def test_a_command_that_truly_acts_twice_stands_in_the_history_twice(tmp_path, truth):
    driver = furnace(tmp_path)
    driver.run(melt(TARGET), quiet)
    driver.run(melt(TARGET), quiet)
    sample = driver.world.get("s1")
    assert sample is not None and sample.acts("make-s1") == 2


HEAVY = {el: 12 * g for el, g in balanced_g(TARGET).items()}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"masses_g": HEAVY}, "sample_mass_g"),
        ({"current_A": 9000}, "current_A"),
        ({"atmosphere": "air"}, "argon"),
        ({"melt_temperature_C": math.nan}, "melt_temperature_C"),
        ({"masses_g": {"Co": -1.0, "Mn": 6.0}}, "negative"),
        ({"masses_g": {"Xx": 5.0}}, "no simulated matter for element 'Xx'"),
    ],
)
def test_a_wrong_job_is_refused_and_nothing_is_made(tmp_path, truth, changes, says):
    driver = furnace(tmp_path)
    outcome = driver.run(melt(TARGET, **changes), quiet)
    assert outcome.status == "failed" and says in outcome.message and "nothing was done" in outcome.message
    assert driver.world.samples() == []


def test_a_second_command_may_not_reuse_a_sample_id(tmp_path, truth):
    driver = furnace(tmp_path)
    driver.run(melt(TARGET), quiet)
    job = melt(TARGET)
    again = type(job)("other", job.capability, job.sample, job.parameters, 2)
    assert "exists already" in driver.run(again, quiet).message


def test_a_stop_during_the_melt_ends_it_before_anything_is_made(tmp_path, truth):
    driver = furnace(tmp_path, wall_s=30)
    with stopping(driver):
        outcome = driver.run(melt(TARGET), quiet)
    assert outcome.status == "failed" and "stopped" in outcome.message
    assert driver.world.samples() == [] and driver.health()["state"] == "idle"
    driver.wall_s = 0
    assert driver.run(melt(TARGET), quiet).status == "ok"


def test_injected_faults_come_at_their_rate_and_touch_nothing(tmp_path, truth):
    driver = furnace(tmp_path, faults={"fault": 0.3, "fail": 0.2, "nan": 0.2})
    outcomes = [driver.run(melt(TARGET, f"s{seed}", seed), quiet) for seed in range(100)]
    faults, fails = ([o.status for o in outcomes].count(s) for s in ("fault", "failed"))
    nans = sum(any(map(math.isnan, o.readings.values())) for o in outcomes)
    assert 15 < faults < 45 and 5 < fails < 30 and 3 < nans < 30
    assert len(driver.world.samples()) == 100 - faults - fails


@pytest.mark.parametrize("settings", [{"noise": -1}, {"faults": {"explode": 0.1}}, {"faults": {"nan": 2.0}}])
def test_impossible_settings_are_refused(tmp_path, settings):
    with pytest.raises(LabError, match="probabilities"):
        furnace(tmp_path, **settings)
