from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from instruments.driver import Job, Outcome
from instruments.errors import LabError
from instruments.registry import resolve_driver
from instruments.simulated.solid_state import ASSAY

POWDERS = {"precursors_g": {"CaCO3": 2.0017, "SnO2": 3.0142}, "mill_min": 30.0}
HOT = {"temperature_C": 1250.0, "hours": 12.0, "ramp_K_per_min": 5.0, "cooling_K_per_min": 5.0, "atmosphere": "air"}
LOOK = {"target_formula": "CaSnO3", "elements": ["Ca", "Sn", "O"], "step_deg": 0.04, "two_theta_max_deg": 60.0}


class Bench:
    def __init__(self, folder: Path, **settings) -> None:
        shared = {"workdir": folder, "world": folder}
        self.station = resolve_driver("simulated.powder_station")(**shared)
        self.furnace = resolve_driver("simulated.reaction_furnace")(**shared, **settings)
        self.diffractometer = resolve_driver("simulated.phase_diffractometer")(**shared)

    def do(self, capability: str, parameters: dict, sample: str = "s", command: str = "", seed: int = 1) -> Outcome:
        who = {"fire": self.furnace, "identify": self.diffractometer}.get(capability, self.station)
        return who.run(Job(command or f"{sample}/{capability}", capability, sample, parameters, seed), lambda *_: None)


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


def test_weighed_powders_are_what_the_balance_says_and_nothing_has_reacted(bench):
    outcome = bench.do("weigh_mix", POWDERS)
    assert outcome.readings["weighed_g"] == pytest.approx(5.0159, abs=0.001)
    sample = bench.station.world.need("s")
    assert {phase.formula for phase in sample.phases} == {"CaCO3", "SnO2"}
    assert sample.mass_g == pytest.approx(5.0159 * ASSAY, abs=0.001)


def test_a_fired_sample_has_lost_its_gas_and_the_pattern_tells_its_phases(bench):
    bench.do("weigh_mix", POWDERS)
    fired = bench.do("fire", HOT)
    assert fired.readings["mass_loss_pct"] == pytest.approx(100 * 44.01 / (100.09 + 150.71), abs=0.4)
    seen = bench.do("identify", {**LOOK, "elements": ["Ca", "Sn"]})
    truth = {phase.formula: phase.mass_fraction for phase in bench.station.world.need("s").phases}
    assert seen.readings["phase_fraction"] == pytest.approx(truth["CaSnO3"], abs=0.04)
    assert len(seen.arrays["counts"]) == len(seen.arrays["two_theta_deg"])


def test_the_same_seed_gives_the_same_sample_and_another_one_another(tmp_path):
    masses = []
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        bench = Bench(tmp_path / place)
        bench.do("weigh_mix", POWDERS, seed=seed)
        bench.do("fire", {**HOT, "temperature_C": 1050.0}, seed=seed)
        masses.append(bench.station.world.need("s").phases)
    assert masses[0] == masses[1] != masses[2]


def test_powders_may_be_added_when_it_is_ground_again(bench):
    bench.do("weigh_mix", {"precursors_g": {"MgO": 0.4, "Nb2O5": 2.7}, "mill_min": 10})
    bench.do("fire", HOT)
    added = bench.do("regrind", {"mill_min": 10, "add_g": {"BaCO3": 6.0}})
    assert added.readings["weighed_g"] == pytest.approx(6.0, abs=0.001)
    assert "BaCO3" in {phase.formula for phase in bench.station.world.need("s").phases}


def test_an_act_is_seen_on_the_sample_and_one_that_did_not_happen_is_not(bench):
    def job(capability: str) -> Job:
        return Job(f"s/{capability}", capability, "s", HOT, 1)

    assert bench.station.inspect(job("weigh_mix")).status == "untouched"
    bench.do("weigh_mix", POWDERS)
    assert bench.station.inspect(job("weigh_mix")).status == "ok"
    assert bench.furnace.inspect(job("fire")).status == "untouched"
    reported = bench.do("fire", HOT)
    assert bench.furnace.inspect(job("fire")).readings == reported.readings


@pytest.mark.parametrize(
    ("capability", "change", "words"),
    [
        ("fire", {"temperature_C": 1601.0}, "temperature_C = 1601"),
        ("fire", {"hours": None}, "hours = None"),
        ("fire", {"atmosphere": "helium"}, "this furnace has air"),
        ("weigh_mix", {"precursors_g": {}}, "give precursors_g"),
        ("weigh_mix", {"precursors_g": {"CaCO3": 1e4}}, "the jar takes"),
        ("weigh_mix", {"precursors_g": {"Qq": 1.0}}, "no simulated matter"),
        ("identify", {"elements": []}, "identify needs elements"),
        ("identify", {"step_deg": 30.0}, "too few points"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason_and_leaves_the_sample(bench, capability, change, words):
    bench.do("weigh_mix", POWDERS)
    before = bench.station.world.need("s")
    parameters = {"fire": HOT, "weigh_mix": POWDERS, "identify": LOOK}[capability] | change
    outcome = bench.do(capability, parameters, command="other", sample="t" if capability == "weigh_mix" else "s")
    assert outcome.status == "failed" and words in outcome.message
    assert bench.station.world.need("s") == before


def test_a_furnace_without_a_gas_line_says_what_it_has(tmp_path):
    bench = Bench(tmp_path, atmospheres=["air", "O2"])
    bench.do("weigh_mix", POWDERS)
    assert "this furnace has air, O2" in bench.do("fire", {**HOT, "atmosphere": "Ar"}).message
    with pytest.raises(LabError, match="no simulated atmosphere"):
        Bench(tmp_path, atmospheres=["neon"])


def test_nothing_on_the_stage_is_no_sample(bench):
    assert "there is no sample" in bench.do("fire", HOT).message


def other_analysis(two_theta_deg, counts, elements):
    assert elements == ["C", "Ca", "O", "Sn"] and len(counts) == len(two_theta_deg)
    return [
        SimpleNamespace(formula="CaSnO3", weight_fraction=0.7),
        SimpleNamespace(formula="SnO2", weight_fraction=0.3),
    ]


def test_another_analysis_may_read_the_pattern(tmp_path, bench):
    bench.do("weigh_mix", POWDERS)
    name = f"{__name__}:other_analysis"
    bench.diffractometer = resolve_driver("simulated.phase_diffractometer")(
        workdir=tmp_path, world=tmp_path, analysis=name
    )
    readings = bench.do("identify", LOOK).readings
    assert readings["phase_fraction"] == 0.7 and readings["weight_fraction_SnO2"] == 0.3
    with pytest.raises(LabError, match="module:function"):
        resolve_driver("simulated.phase_diffractometer")(workdir=tmp_path, world=tmp_path, analysis="nowhere:f")
