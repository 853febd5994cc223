from __future__ import annotations

from pathlib import Path

import pytest

from controller.campaign import expand_path, load_campaign, parse_campaign
from controller.errors import CampaignError

GOOD = """\
name: mine
budget: {experiments: 5}
space:
  kind: parameters
  parameters:
    x: {low: 0, high: 1}
objectives:
  - {name: y}
lab:
  instruments:
    bench: {driver: function, settings: {function: "f.py:f"}}
"""


def problems(text: str) -> str:
    with pytest.raises(CampaignError) as error:
        parse_campaign(text, "mine.yaml")
    return str(error.value)


def test_a_good_campaign_is_read_with_its_defaults():
    campaign = parse_campaign(GOOD, "mine.yaml")
    assert (campaign.name, campaign.batch, campaign.compute.backend) == ("mine", 1, "ray")


def test_the_command_line_overrides_seed_and_budget():
    campaign = parse_campaign(GOOD, "mine.yaml", seed=7, budget=3)
    assert (campaign.seed, campaign.budget.experiments) == (7, 3)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("budget:", "budgte:", "mine.yaml:2: budgte: unknown key. Did you mean 'budget'?"),
        ("experiments: 5", "experiments: 0", "mine.yaml:2: budget.experiments: "),
        ("name: mine", "name: my campaign", "mine.yaml:1: name: "),
        ("{low: 0, high: 1}", "{low: 2, high: 1}", "mine.yaml:6: space.parameters.x: low (2) must be smaller"),
        ("{name: y}", "{name: y, direction: sideways}", "mine.yaml:8: objectives.0.direction: "),
        (
            "driver: function",
            "drivr: function",
            "mine.yaml:11: lab.instruments.bench.drivr: unknown key. Did you mean 'driver'?",
        ),
        ("kind: parameters", "kind: paramters", "mine.yaml:3: space"),
        ("  - {name: y}", "  - {name: y}\n  - {name: y}", "two objectives have the same name"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_fix(old, new, said):
    assert said in problems(GOOD.replace(old, new, 1))


def test_every_mistake_is_told_at_once():
    assert len(problems("name: x\nbudget: {experiments: many}\n").splitlines()) >= 4


@pytest.mark.parametrize(
    "garbage", ["\x00\x01", "a: [1, 2", "- just\n- a list", "", "42", "name: !!python/object:os.system x", "\t- x"]
)
def test_garbage_is_refused_in_words(garbage):
    assert "mine.yaml" in problems(garbage)


def test_a_file_that_is_no_text_is_refused_in_words(tmp_path):
    (tmp_path / "c.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(CampaignError, match="not a text file"):
        load_campaign(tmp_path / "c.yaml")
    with pytest.raises(CampaignError, match="Give the path of a campaign file"):
        load_campaign(tmp_path / "missing.yaml")


def test_paths_start_at_the_campaign_file_and_know_the_environment(monkeypatch):
    monkeypatch.setenv("PLACE", "/data")
    assert expand_path("a.csv", Path("/here")) == Path("/here/a.csv")
    assert expand_path("${PLACE}/a.csv", Path("/here")) == Path("/data/a.csv")
    monkeypatch.delenv("PLACE")
    with pytest.raises(CampaignError, match="PLACE is not set"):
        expand_path("${PLACE}/a.csv", Path("/here"))


@pytest.mark.parametrize(
    ("effort", "said"),
    [
        ("{money: {per: {gold_mg: 2}}}", "effort.money.per: .*gold_mg"),
        ("{hours: {measure: {base: 1, per: {tepmerature_C: 0.1}}}}", "effort.hours.measure.per: .*tepmerature_C"),
        ("{money: {per: {gas: {air: 0}}}}", "gas = 'argon' has no number; give one beside .'air'."),
    ],
)
def test_what_an_effort_names_is_checked_before_anything_starts(tmp_path, effort, said):
    from controller.science import check_acquisition

    text = GOOD.replace(
        "x: {low: 0, high: 1}", "x: {low: 0, high: 1}\n    gas: {type: categorical, values: [air, argon]}"
    )
    good = "{money: {base: 1, per: {x: 2, gas: {air: 0, argon: 1.5}}}}"
    check_acquisition(parse_campaign(f"{text}acquisition: {{name: pareto, effort: {good}}}\n", "c.yaml"), tmp_path)
    with pytest.raises(CampaignError, match=said):
        check_acquisition(
            parse_campaign(f"{text}acquisition: {{name: pareto, effort: {effort}}}\n", "c.yaml"), tmp_path
        )
