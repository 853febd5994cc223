from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.orders import ChoiceAnswer, Recipe
from controller import events as ev
from controller.campaign import parse_campaign
from controller.errors import CampaignError
from controller.loop import Overhead
from controller.replay import _replay
from controller.rundir import RunDirectory
from controller.state import State, decide, evolve
from controller.summary import summarize
from controller.view_progress import Progress
from controller.view_summary import closing, prospect_lines, status_lines
from models.prospects import Prospects
from tests.controller.fakes import CAMPAIGN, FakeHands, FakeScience, begin, fold, run


class Prophet(FakeScience):
    """Says with each decision how much improvement it expects; the noise is 1."""

    def __init__(self, *improvements: float | None, hours: float = 0.0) -> None:
        super().__init__()
        self.improvements, self.hours = improvements, hours

    async def choose(self, order):
        answer = await super().choose(order)
        said = self.improvements[min(order.decision, len(self.improvements)) - 1]
        return ChoiceAnswer(choices=answer.choices, prospects=None if said is None else prospects(said, order.q))

    async def plan(self, candidate, offers):
        recipe = await super().plan(candidate, offers)
        first = recipe.steps[0].model_copy(update={"parameters": {"x": 0.5, "hours": self.hours}})
        return Recipe(steps=(first, *recipe.steps[1:]))


def prospects(improvement: float, q: int = 1) -> Prospects:
    return Prospects(
        expected_improvement=improvement, gains=(improvement,) * q, noise_std=1.0, best="c", best_mean=5.0, best_std=0.1
    )


def finished(path: Path, more: str, science: FakeScience, *, batch: int = 1, budget: int = 12) -> State:
    """Run a campaign with more to its text to its end, replay it, and return its state."""
    journal, state = begin(path, batch=batch, budget=budget, more=more)
    loop = run(journal, state, FakeHands(lambda c: {"readings": {"purity": 0.9, "y": 10.0}}), science)
    assert asyncio.run(_replay(journal, lambda line: None, science)) > 0
    return loop.state


def test_a_campaign_without_rules_ends_with_its_budget_and_says_so(tmp_path):
    state = finished(tmp_path / "j", "", Prophet(None), budget=3)
    assert (state.rule, state.finished) == ("budget", "3 experiments done")
    assert summarize(state, running=False)["rule"] == "budget"


def test_a_target_that_is_reached_ends_the_campaign_once_what_was_begun_is_finished(tmp_path):
    journal, state = begin(tmp_path / "j", budget=12, batch=1, more="stop: {target: {y: 7}}")
    hands = FakeHands(lambda c: {"readings": {"purity": 0.9, "y": float(int(c.experiment[1:]))}})
    end = run(journal, state, hands).state
    assert end.rule == "target"
    assert "E0007 has y 7 (wanted >= 7)" in end.finished
    assert len(end.observations) == len(end.experiments) < 12
    last = [event for _, _, event in journal.read()][-1]
    assert isinstance(last, ev.CampaignFinished)
    assert last.rule == "target"


def test_a_result_outside_a_constraint_reaches_no_target(tmp_path):
    journal, state = begin(tmp_path / "j", budget=3, more="stop: {target: {y: 7}}")
    hands = FakeHands(lambda c: {"readings": {"purity": 0.1, "y": 9.0}})
    assert run(journal, state, hands).state.rule == "budget"


def test_improvement_below_the_noise_so_often_in_a_row_ends_the_campaign_and_its_last_choices_are_not_begun(tmp_path):
    more = "stop: {improvement: {below_noise: 0.5, in_a_row: 2}}"
    state = finished(tmp_path / "j", more, Prophet(None, 0.4, 0.6, 0.4, 0.3))
    assert state.rule == "improvement"
    assert "by 0.3, less than 0.5 x the noise of a measurement (1), 2 decisions in a row" in state.finished
    assert state.decisions == 5
    assert len(state.experiments) == 4


def test_a_restart_after_any_event_ends_the_campaign_by_the_same_rule(tmp_path):
    more = "stop: {improvement: {below_noise: 0.5, in_a_row: 2}}"
    journal, state = begin(tmp_path / "whole", batch=1, more=more)
    run(journal, state, FakeHands(), Prophet(None, 0.4, 0.3))
    whole = [event for _, _, event in journal.read()]
    for cut in (8, 12, len(whole) - 1):
        part, _ = begin(tmp_path / f"cut{cut}", batch=1, more=more)
        part.stage(whole[4:cut])
        part.commit()
        end = run(part, fold(part), FakeHands(), Prophet(None, 0.4, 0.3)).state
        assert (end.rule, end.finished, len(end.experiments)) == ("improvement", whole[-1].reason, 2)


def test_an_experiment_that_costs_more_than_it_is_worth_is_not_made_and_ends_the_campaign(tmp_path):
    state = finished(tmp_path / "j", "stop: {worth: {per_unit: 10, cost: 7}}", Prophet(1.0, 1.0, 0.6))
    assert state.rule == "worth"
    assert "costs 7 and its expected improvement of 0.6 is worth 6" in state.finished
    last = state.experiments["E0003"]
    assert last.outcome == "failed_measurement"
    assert "never sent to the lab" in last.reason
    assert not last.records


def test_what_an_experiment_costs_follows_from_its_recipe_where_prices_are_given(tmp_path):
    more = "stop: {worth: {per_unit: 10}}\nsafety: {prices: {per_hour: 4}}"
    assert finished(tmp_path / "dear", more, Prophet(0.7, hours=2.0)).rule == "worth"
    assert finished(tmp_path / "cheap", more, Prophet(0.7, hours=1.0), budget=3).rule == "budget"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("stop: {target: {z: 1}}", "stop.target names z"),
        ("stop: {improvement: {}}\nacquisition: {name: random}", "name pareto"),
        ("stop: {worth: {per_unit: 3}}", "worth.cost, or safety.prices"),
        ("replicates: {at_most: 1}", "greater than or equal to 2"),
    ],
)
def test_a_rule_that_does_not_fit_the_campaign_is_refused_with_the_reason(more, words):
    with pytest.raises(CampaignError, match=words):
        parse_campaign(CAMPAIGN.format(budget=5, batch=1, clock="simulated") + more, "campaign.yaml")


def test_rules_that_compare_with_the_noise_need_one_measured_objective():
    text = CAMPAIGN.format(budget=5, batch=1, clock="simulated")
    two = text.replace("[{name: y}]", "[{name: y}, {name: z}]")
    for more in ("stop: {improvement: {}}", "replicates: {at_most: 2}"):
        with pytest.raises(CampaignError, match="needs one objective, measured or derived"):
            parse_campaign(two + more, "campaign.yaml")


def test_an_emergency_stop_goes_before_every_rule(tmp_path):
    _, state = begin(tmp_path / "j", more="stop: {target: {y: 7}}")
    state.ending = ("target", "reached")
    state = evolve(state, ev.StopLatched(by="operator"))
    assert not decide(state).events


def test_repetitions_of_a_candidate_count_once_with_their_mean(tmp_path):
    class Repeating(FakeScience):
        async def choose(self, order):
            answer = await super().choose(order)
            first = order.observations[0].candidate if order.observations else answer.choices[0].candidate
            return answer.model_copy(update={"choices": (answer.choices[0].model_copy(update={"candidate": first}),)})

    journal, state = begin(tmp_path / "j", budget=6, batch=1)
    lucky = FakeHands(lambda c: {"readings": {"purity": 0.9, "y": 9.0 if c.experiment == "E0006" else 1.0}})
    end = run(journal, state, lucky, Repeating()).state
    measured = [o for o in end.observations if o.candidate == end.observations[0].candidate]
    assert len(measured) >= 3
    mean = sum(o.values["y"] for o in measured) / len(measured)
    assert summarize(end, running=False)["best"]["values"]["y"] == pytest.approx(mean)
    progress = Progress()
    progress.take(end)
    assert progress.best is not None
    assert progress.best.values["y"] == pytest.approx(mean)
    assert len({o.candidate.id for o in progress.leaders}) == len(progress.leaders)


def test_status_says_what_there_is_to_gain_and_which_rule_ended_the_campaign(tmp_path):
    _, state = begin(tmp_path / "j", batch=1, more="stop: {improvement: {below_noise: 0.5, in_a_row: 3}}")
    state = evolve(state, ev.ChoiceOrdered(decision=1, q=1, seed=1, n_observations=0, pending=()))
    state = evolve(state, ev.ChoiceMade(decision=1, choices=(), prospects=prospects(0.4)))
    assert prospect_lines(state)[-1].startswith("to gain: 0.4 of y, noise 1 (")
    end = run(*begin(tmp_path / "k", batch=1, more="stop: {target: {y: 1}}"), FakeHands(lambda c: LIKED)).state
    shown = status_lines(RunDirectory(tmp_path), end, summarize(end, running=False), Progress())
    assert "finished (target: target reached: E0001 has y 10 (wanted >= 1))" in shown[0]
    assert any("ended by the rule target" in line for line in closing(
        RunDirectory(tmp_path), end, Progress(), Overhead(), None, 1.0
    ))  # fmt: skip


LIKED = {"readings": {"purity": 0.9, "y": 10.0}}


def test_what_was_done_instead_of_the_usual_is_in_the_journal_and_in_status(tmp_path):
    class Clumsy(FakeScience):
        async def choose(self, order):
            answer = await super().choose(order)
            return answer.model_copy(update={"fallbacks": ("y: GP fit failed",) if order.decision == 2 else ()})

    journal, state = begin(tmp_path / "j", budget=3, batch=1)
    end = run(journal, state, FakeHands(lambda c: LIKED), Clumsy()).state
    made = [event for _, _, event in journal.read() if isinstance(event, ev.ChoiceMade)]
    assert [event.fallbacks for event in made] == [(), ("y: GP fit failed",), ()]
    summary = summarize(end, running=False)
    assert summary["fallbacks"] == [{"decision": 2, "what": "y: GP fit failed"}]
    shown = status_lines(RunDirectory(tmp_path), end, summary, Progress())
    assert "fall-backs at 1 of 3 decisions, last at decision 2: y: GP fit failed" in shown
