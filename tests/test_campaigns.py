"""The campaigns that ship, and those that `athanor init` writes, from YAML to a replayed run through real hosts."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from controller.campaign import load_campaign
from controller.rundir import RunDirectory
from controller.science import check_science
from controller.state import State
from models.screening import screen
from models.spaces import build_space
from tests.command_line import ROOT, athanor, athanor_here

CAMPAIGNS = sorted((ROOT / "campaigns").glob("*.yaml"))
TO_RUN = [path.stem for path in CAMPAIGNS if path.stem != "heusler-magnets"]
"""All but the one that `make run` runs."""


def run_to_its_end(file: Path, folder: Path, budget: int, *more: str) -> tuple[State, dict]:
    """Run a campaign, replay it, and return its state and status."""
    ran = athanor("run", file, "--dir", "run", "--budget", budget, "--quiet", *more, cwd=folder)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    replayed = athanor_here("replay", "run", "--quiet", cwd=folder)
    assert replayed.returncode == 0, replayed.stderr
    status = json.loads(athanor_here("status", "run", "--json", cwd=folder).stdout)
    assert status["state"] == "finished"
    return RunDirectory(folder / "run").load(), status


def run_lightly(file: Path, folder: Path, budget: int) -> tuple[State, dict]:
    """``run_to_its_end`` with random choices and no report: importing torch in five processes takes the most time."""
    text, found = re.subn(r"^acquisition: .*$", "acquisition: {name: random}", file.read_text(), flags=re.MULTILINE)
    assert found == 1
    light = folder / "light"
    light.mkdir()
    (light / file.name).write_text(text)
    for beside in [*file.parent.glob("*.py"), *file.parent.glob("*.csv")]:
        shutil.copy(beside, light)
    return run_to_its_end(light / file.name, folder, budget, "--no-report")


def path_of(name: str) -> Path:
    """The file of a campaign that ships; skips where the data that it reads is not at hand."""
    path = ROOT / "campaigns" / f"{name}.yaml"
    if "ATHANOR_DATA" in path.read_text() and not Path(os.environ.get("ATHANOR_DATA", "") or "-").is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("ATHANOR_DATA must point at the shared data under CI")
        pytest.skip("ATHANOR_DATA is not set: no shared data to read")
    return path


@pytest.mark.parametrize("name", [path.stem for path in CAMPAIGNS])
def test_every_campaign_that_ships_is_valid_and_says_what_it_is(name):
    path = path_of(name)
    campaign, text = load_campaign(path)
    assert campaign.name == name
    assert campaign.description
    assert text.startswith("# ")
    size = check_science(campaign, path.parent)
    if size is not None:
        space: Any = build_space(campaign.space, path.parent, tuple(o.name for o in campaign.objectives))
        left = screen(campaign.screening, space).mask.sum() if campaign.screening.rules else size
        assert left >= 2 * campaign.budget.experiments, "nothing to choose from: the rules or the space are too narrow"


def test_there_is_a_campaign_of_each_kind():
    kinds = {load_campaign(path)[0].space.kind for path in CAMPAIGNS}
    assert kinds == {"table", "parameters", "prototype", "product"}
    assert len(CAMPAIGNS) >= 8


def test_every_candidate_of_the_sintered_campaigns_has_a_route_that_their_furnace_can_carry_out(tmp_path):
    from instruments.registry import resolve_driver
    from models.registry import resolve

    for name in ("perovskite", "rock-salt"):
        campaign, _ = load_campaign(path_of(name))
        (furnace,) = [i for i in campaign.lab.instruments.values() if i.driver == "simulated.box_furnace"]
        driver = resolve_driver(furnace.driver)(workdir=tmp_path, world=tmp_path, **furnace.settings)
        (capability,) = driver.capabilities()
        planner = resolve("planners", campaign.planner.name)(**campaign.planner.settings)
        space = build_space(campaign.space)
        assert space.size
        for index in range(space.size):
            (route,) = planner.plan(space[index])  # type: ignore[index]
            parameters = route.operations[0].parameters
            for key, limit in capability.limits.items():
                assert limit.low <= parameters[key] <= limit.high


def test_a_table_of_measured_rows_runs_to_its_end_and_replays(tmp_path):
    state, status = run_lightly(path_of("crossed-barrel"), tmp_path, 4)
    with (Path(os.environ["ATHANOR_DATA"]) / "campaigns/liang2021/Crossed_barrel.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(set(status["choices"])) == 4
    for observation in state.observations:
        dials = observation.candidate.parameters
        measured = {float(r["toughness"]) for r in rows if all(float(r[k]) == float(v) for k, v in dials.items())}
        assert observation.values["toughness"] in measured
    assert status["best"]["values"]["toughness"] == max(o.values["toughness"] for o in state.observations)


@pytest.mark.slow
def test_a_mixed_space_with_a_python_function_keeps_bounds_integers_categories_and_constraints(tmp_path):
    state, status = run_lightly(path_of("catalyst-function"), tmp_path, 4)
    assert status["outcomes"]["measured"] == 4
    for observation in state.observations:
        dials: dict[str, Any] = observation.candidate.parameters
        assert 180 <= dials["temperature_C"] <= 320
        assert 10 <= dials["pressure_bar"] <= 80
        assert float(2 * dials["pressure_bar"]).is_integer()
        assert 5 <= dials["flow_mL_per_min"] <= 200
        assert isinstance(dials["layers"], int)
        assert 1 <= dials["layers"] <= 12
        assert dials["promoter"] in {"none", "Zn", "Zr", "Ga"}
        assert dials["temperature_C"] + 2 * dials["pressure_bar"] <= 420
        assert observation.values["catalyst_g"] == pytest.approx(0.4 * dials["layers"])


@pytest.mark.slow
def test_a_pool_times_dials_chooses_alloys_of_the_shelf_at_settings_that_the_furnace_has(tmp_path):
    state, _ = run_lightly(path_of("age-hardening"), tmp_path, 5)
    with (ROOT / "campaigns" / "age_hardening_alloys.csv").open() as stream:
        shelf = {row["alloy"] for row in csv.DictReader(stream)}
    assert len(shelf) == 24
    assert len({o.candidate.id for o in state.observations}) == 5
    for observation in state.observations:
        dials: dict[str, Any] = observation.candidate.parameters
        assert dials["alloy"] in shelf
        assert observation.candidate.composition["Al"] > 80
        assert 110 <= dials["temperature_C"] <= 240
        assert dials["temperature_C"] % 5 == 0
        assert 0.5 <= dials["time_h"] <= 72
        assert 30 <= observation.values["hardness_HV"] < 250


@pytest.mark.slow
def test_a_calculated_energy_and_a_quick_indent_stand_in_for_the_slow_measurement(tmp_path):
    """The energy is from a potential that is quick to load; CHGNet's is the example's own."""
    file = tmp_path / "stiff-semiconductors.yaml"
    path = path_of("stiff-semiconductors")
    text, found = re.subn("calculator: chgnet", "calculator: 'ase.calculators.lj:LennardJones'", path.read_text())
    assert found == 1
    file.write_text(text)
    shutil.copy(path.parent / "stiff_semiconductors.py", tmp_path)
    state, status = run_to_its_end(file, tmp_path, 14, "--no-report")
    made = {observation.candidate.fidelity for observation in state.observations}
    assert {"", "calculate"} <= made <= {"", "calculate", "indent"}
    for observation in state.observations:
        reading = {"": "bulk_modulus_GPa", "calculate": "energy_eV_per_atom", "indent": "hardness_GPa"}
        assert set(reading.values()) & set(observation.values) == {reading[observation.candidate.fidelity]}
    assert status["best"]["values"]["bulk_modulus_GPa"] > 0


@pytest.mark.slow
def test_a_prototype_space_is_sintered_measured_and_replayed(tmp_path):
    state, status = run_lightly(path_of("perovskite"), tmp_path, 3)
    assert status["outcomes"]["failed_measurement"] == 0
    assert status["outcomes"]["measured"] >= 2
    for experiment in state.experiments.values():
        assert [record.instrument for record in experiment.records] == ["box-furnace", "diffractometer"]
        assert experiment.recipe is not None
        assert "Tammann" in experiment.recipe.reason
        assert 3.5 < experiment.values["lattice_parameter_A"] < 4.6


@pytest.mark.slow
def test_a_computational_campaign_is_a_laboratory_campaign(tmp_path):
    file = tmp_path / "zincblende.yaml"
    emt = "{calculator: 'ase.calculators.emt:EMT', relax: cell, bulk_modulus: true, fmax_eV_per_A: 0.01}"
    text, found = re.subn(r"settings: \{calculator: chgnet.*", f"settings: {emt}", path_of("zincblende").read_text())
    assert found == 1
    for letter, metals in (("M", "[Cu, Ag, Au]"), ("X", "[Al, Ni, Pd, Pt]")):  # what that fast potential knows
        text = re.sub(rf"^    {letter}: \[.*", f"    {letter}: {metals}", text, flags=re.MULTILINE)
    file.write_text(text)
    state, status = run_lightly(file, tmp_path, 3)
    assert status["experiments"] == 3
    measured = [o for o in state.observations if o.values]
    assert len(measured) >= 2
    assert all(0 < o.values["bulk_modulus_GPa"] < 500 for o in measured)
    assert all(e.records[0].instrument == "potential" for e in state.experiments.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", TO_RUN)
def test_every_campaign_runs_to_its_end_with_its_own_acquisition_and_replays(name, tmp_path):
    _, status = run_to_its_end(path_of(name), tmp_path, 4)
    assert status["experiments"] == 4
    assert status["outcomes"]["measured"] >= 2
    assert status["best"] is not None
    assert (tmp_path / "run" / "report" / "report.html").stat().st_size > 5000


TWO_WAYS = """\
name: two-ways
budget: {experiments: 30}
space: {kind: table, file: rows.csv, parameters: [x, solvent]}
objectives:
  - {name: gain, direction: maximize}
  - {name: cost, direction: minimize}
constraints:
  - {name: purity, at_least: 50}
acquisition: {name: random}
lab:
  clock: simulated
  instruments:
    bench: {driver: table, settings: {duration_s: 60}}
compute: {backend: local}
"""
ROWS = [
    # x, solvent, gain, cost, purity; the first setting was measured twice
    (1, "water", 5.0, 3.0, 90),
    (1, "water", 5.2, 3.1, 91),
    (2, "water", 7.0, 6.0, 80),
    (3, "water", 9.0, 9.0, 10),
    (1, "ethanol", 2.0, 1.0, 70),
    (2, "ethanol", 1.0, 2.0, 95),
    (3, "ethanol", 6.0, 7.0, 60),
]


@pytest.mark.slow
def test_a_table_with_one_goal_up_and_one_down_ends_when_all_is_tried_with_the_true_front(tmp_path):
    (tmp_path / "two-ways.yaml").write_text(TWO_WAYS)
    lines = ["x,solvent,gain,cost,purity", *(",".join(map(str, row)) for row in ROWS)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    state, status = run_to_its_end(tmp_path / "two-ways.yaml", tmp_path, 30)
    assert status["reason"] == "every candidate of the space has been tried"
    assert len(set(status["choices"])) == status["experiments"] == 6
    values = [(o.values["gain"], o.values["cost"], o.values["purity"]) for o in state.observations]
    assert set(values) <= {row[2:] for row in ROWS}
    pure = [v for v in values if v[2] >= 50]
    best = {v for v in pure if not any(w != v and w[0] >= v[0] and w[1] <= v[1] for w in pure)}
    assert {(p["values"]["gain"], p["values"]["cost"], p["values"]["purity"]) for p in status["pareto"]} == best
    assert status["best"]["values"]["gain"] == 7.0


@pytest.mark.parametrize("kind", ["function", "table"])
def test_what_init_writes_is_valid_and_runs(kind, tmp_path):
    written_by_init(kind, tmp_path)
    _, status = run_lightly(tmp_path / "mine.yaml", tmp_path, 2)
    assert status["outcomes"]["measured"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["function", "table", "prototype"])
def test_what_init_writes_runs_with_its_own_acquisition(kind, tmp_path):
    written_by_init(kind, tmp_path)
    _, status = run_to_its_end(tmp_path / "mine.yaml", tmp_path, 3)
    assert status["outcomes"]["measured"] == 3


def written_by_init(kind: str, folder: Path) -> None:
    assert athanor_here("init", "mine", "--kind", kind, cwd=folder).returncode == 0
    checked = athanor_here("validate", "mine.yaml", cwd=folder)
    assert checked.returncode == 0, checked.stderr
    assert "ok. mine" in checked.stdout
