"""``athanor plan``: stability, routes, recipe, reasons."""

import json
import os
from pathlib import Path

import pytest

from controller.cli import main


@pytest.fixture(autouse=True)
def data():
    folder = os.environ.get("ATHANOR_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    if os.environ.get("CI") == "true":
        pytest.fail("ATHANOR_DATA must point at the shared data under CI")
    pytest.skip("ATHANOR_DATA is not set: no shared data to read")


def test_a_formula_gives_stability_routes_and_a_recipe(capsys):
    assert main(["plan", "BaTiO3", "--no-literature", "--top", "2", "--grams", "10"]) == 0
    said = capsys.readouterr().out
    assert "on the hull" in said and "within 50 meV" in said
    assert "1. BaCO3 + TiO2" in said and "BaCO3 + TiO2 -> BaTiO3 + CO2" in said
    assert "nucleation barrier" in said and "compete" in said
    assert "recipe of route 1" in said and "g BaCO3" in said
    assert "3. " not in said


def test_why_names_the_competitors_and_draws(capsys, tmp_path):
    file = tmp_path / "routes.png"
    assert main(["plan", "BaTiO3", "--no-literature", "--top", "2", "--why", "--diagram", str(file)]) == 0
    said = capsys.readouterr().out
    assert "what competes" in said and "Ba2TiO4" in said and str(file) in said
    assert file.read_bytes().startswith(b"\x89PNG")
    assert file.stat().st_size > 10_000


def test_the_object_for_programs_has_the_numbers(capsys):
    assert main(["plan", "LiCoO2", "--no-literature", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["target"] == "LiCoO2"
    best = said["routes"][0]
    assert best["precursors"] == ["Co3O4", "Li2CO3"]
    assert best["temperature_C"]["low"] < best["temperature_C"]["value"] < best["temperature_C"]["high"]
    assert best["numbers"]["reaction_energy_eV_per_atom"] < 0


def test_a_batch_goes_on_after_a_target_that_cannot_be_planned(capsys, tmp_path):
    file = tmp_path / "targets.txt"
    file.write_text("SrTiO3\n\nXeF2\nnot a formula\nMgAl2O4\n")
    assert main(["plan", "--batch", str(file), "--json", "--no-literature"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["target"] for line in lines] == ["SrTiO3", "XeF2", "not a formula", "MgAl2O4"]
    assert ["error" in line for line in lines] == [False, True, True, False]
    for line in (lines[0], lines[3]):
        scores = [route["score"] for route in line["routes"]]
        assert 1 <= len(scores) <= 5 and scores == sorted(scores, reverse=True)
        assert {"value", "low", "high"} == set(line["routes"][0]["temperature_C"])
    assert lines[0]["routes"][0]["precursors"] == ["SrCO3", "TiO2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one FORMULA"),
        (["BaTiO3", "--batch", "x"], "give one FORMULA"),
        (["XeF2", "--no-literature"], "another target"),
        (["Ba(", "--no-literature"], "formula"),
        (["BaTiO3", "--no-literature", "--atmosphere", "xenon"], "known: air"),
        (["--batch", "/nowhere/targets.txt", "--no-literature"], "cannot read"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(capsys, words, said):
    assert main(["plan", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("athanor: ") and said in error


def test_without_the_data_the_error_says_what_to_set(capsys, monkeypatch):
    monkeypatch.delenv("ATHANOR_DATA")
    assert main(["plan", "BaTiO3", "--no-literature"]) == 2
    assert "set ATHANOR_DATA" in capsys.readouterr().err


LAB = """
athanor_lab: 1
name: small
instruments:
  box: {driver: "tests.controller.test_cli_plan:Box", settings: {hottest_C: %s}}
"""


class Box:
    """A furnace that can do all that a plan asks for, up to a temperature."""

    def __init__(self, *, workdir, hottest_C):
        self.hottest_C = hottest_C

    def capabilities(self):
        from instruments.driver import Capability, Limit

        names = ("sinter", "weigh_mix", "fire", "regrind", "identify")
        return [Capability(name, limits={"temperature_C": Limit(20, self.hottest_C)}) for name in names]


@pytest.mark.parametrize(("hottest_C", "code"), [(1600, 0), (300, 2)])
def test_a_lab_that_is_not_hot_enough_refuses_and_says_why(capsys, tmp_path, hottest_C, code):
    (tmp_path / "lab.yaml").write_text(LAB % hottest_C)
    assert main(["plan", "BaTiO3", "--no-literature", "--lab", str(tmp_path)]) == code
    out, err = capsys.readouterr()
    assert ("recipe for" in out) == (code == 0)
    assert ("temperature_C" in err and "cannot make it" in err) == (code == 2)
