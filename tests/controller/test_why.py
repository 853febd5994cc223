from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from actors.crew import LocalCrew
from actors.orders import ChoiceOrder, Recipe, Step
from actors.pipeline import Pipeline
from controller.campaign import parse_campaign
from controller.cli import main
from controller.errors import CampaignError
from controller.rundir import RunDirectory
from controller.science import science_spec
from controller.why import why
from controller.why_words import lines
from models.candidate import Candidate
from models.observation import Choice, Observation
from tests.controller.made_runs import TABLE, table, table_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Eight results (three of them of the initial design), a failure of each kind, one chosen at random, one begun."""
    scribe = table(tmp_path_factory.mktemp("why") / "run")
    rows, step = list(table_rows()), Step(capability="use_bench", parameters={}, quantities=("strength_MPa",))
    for place, method in ((60, "random"), (62, "qLogNEI"), (64, "qLogNEI")):
        x, colour, _ = rows[place]
        candidate = Candidate(id=f"row-{place}", parameters={"x": x, "colour": colour})
        name = scribe.choose(Choice(candidate=candidate, value=0.1, method=method), Recipe(steps=(step,)))
        if place == 60:
            scribe.finish(name, "failed_synthesis", {}, "it crumbled")
        if place == 62:
            scribe.finish(name, "failed_measurement", {}, "the bench was in use")
    return scribe.close()


def told(run: RunDirectory, name: str) -> str:
    return "\n".join(lines(why(run, name)))


def test_a_choice_by_model_says_what_was_expected_what_mattered_and_what_was_learnt(run):
    found = why(run, "E0008")
    belief = found.explanation.beliefs["strength_MPa"]
    assert next(iter(belief.importance)) == "x"
    assert sum(belief.importance.values()) == pytest.approx(1)
    assert belief.effects["x"] != 0
    assert belief.expected.std**2 == pytest.approx(belief.doubt_std**2 + belief.noise_std**2)
    lesson = found.explanation.lessons["strength_MPa"]
    assert lesson.before is not None
    measured = found.result.values["strength_MPa"]
    assert abs(lesson.after.mean - measured) < abs(lesson.before.mean - measured)
    assert lesson.after.std < lesson.before.std
    said = told(run, "8")
    for word in ("expected    strength_MPa", "90 % between", "mattered    x", "unsure", "measured", "learnt"):
        assert word in said


def test_the_first_experiments_had_no_model_and_it_says_so(run):
    said = told(run, "E0001")
    assert "as part of the initial design" in said
    assert "there was no model" in said
    assert "it saw      0 results" in said
    assert "by models fitted to the same data; the choice did not ask them" in told(run, "E0003")


def test_a_random_choice_says_that_it_is_one_and_a_failed_synthesis_teaches_what_can_be_made(run):
    found = why(run, "E0009")
    said = "\n".join(lines(found))
    assert "chosen      at random" in said
    assert "the synthesis failed: it crumbled" in said
    lesson = found.explanation.lessons["synthesis_success"]
    assert lesson.before is None
    assert lesson.after.mean < 0.6


def test_a_failed_measurement_teaches_nothing(run):
    said = told(run, "E0010")
    assert "learnt      nothing: the bench was in use" in said


def test_what_is_under_way_can_be_explained_too(run):
    said = told(run, "E0011")
    assert "not begun" in said
    assert "not finished" in said
    assert "expected    strength_MPa" in said


def test_an_unknown_experiment_is_an_error_that_names_those_there_are(run, capsys):
    with pytest.raises(CampaignError, match=r"'E0999'; there are E0001 to E0011"):
        why(run, "E0999")
    assert main(["why", str(run.path), "E0999"]) == 2
    assert main(["why", str(run.path / "nowhere"), "E0001"]) == 3
    assert "no run here" in capsys.readouterr().err


def test_the_command_prints_words_or_one_object(run, capsys):
    assert main(["why", str(run.path), "E0008", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["experiment"] == "E0008"
    assert said["n_observations"] == 7
    assert said["recomputed"]["beliefs"]["strength_MPa"]["expected"]["std"] > 0
    assert main(["why", str(run.path), "E0008"]) == 0
    assert "E0008  row-14" in capsys.readouterr().out


def test_the_model_that_explains_is_the_model_that_chose(tmp_path: Path):
    rows = list(table_rows())
    (tmp_path / "table.csv").write_text("x,colour,strength_MPa\n" + "".join(f"{x},{c},{s}\n" for x, c, s in rows))
    spec = science_spec(parse_campaign(TABLE.format(budget=20), "campaign.yaml"), tmp_path)
    seen = tuple(
        Observation(
            experiment=f"E{k}",
            candidate=Candidate(id=f"row-{k}", parameters={"x": rows[k][0], "colour": rows[k][1]}),
            values={"strength_MPa": rows[k][2]},
            outcome="measured",
        )
        for k in range(0, 80, 8)
    )
    order = ChoiceOrder(decision=1, q=1, seed=5, observations=seen, pending=())

    async def ask():
        pipeline = Pipeline(spec, LocalCrew())
        try:
            choice = (await pipeline.choose(order)).choices[0]
            return choice, await pipeline.explain(order, choice.candidate)
        finally:
            await pipeline.close()

    choice, explanation = asyncio.run(ask())
    assert choice.model_hash == explanation.model_hash != ""
    assert choice.data_hash == explanation.data_hash
    expected, belief = choice.predicted["strength_MPa"], explanation.beliefs["strength_MPa"].expected
    assert belief.mean == pytest.approx(expected.mean)
    assert belief.std == pytest.approx(expected.std)
