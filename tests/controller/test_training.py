"""Training beside the campaign, as the controller orders it: which version a decision uses never hangs on the time."""

from __future__ import annotations

import asyncio
import random

import pytest

from actors.orders import ChoiceAnswer, ChoiceOrder, TrainingOrder, TrainingReport
from controller import events as ev
from controller.campaign import parse_campaign
from controller.errors import CampaignError, ReplayMismatch
from controller.journal import Journal
from controller.replay import replay
from controller.rundir import RunDirectory
from models.candidate import digest
from models.retraining import Retraining
from tests.controller.fakes import CAMPAIGN, FakeHands, FakeScience, begin, fold, run

TRAINER = "predictor: {{name: property}}\ntrainer: {{every: {every}, lag: {lag}, cold_every: 3}}\n"


class TrainingScience(FakeScience):
    """Versions are digests of what they were trained on; trainings take as long as they like."""

    def __init__(self, jitter: int = 0, salt: str = "") -> None:
        super().__init__()
        self.jitter, self.salt = random.Random(jitter), salt
        self.trainings: list[int] = []
        self.under_way = 0

    async def train(self, order: TrainingOrder) -> TrainingReport:
        self.under_way += 1
        assert self.under_way == 1, "one training after the other"
        for _ in range(self.jitter.randrange(30)):
            await asyncio.sleep(0)
        self.under_way -= 1
        n = len(order.observations)
        self.trainings.append(n)
        name = digest([self.salt, *(o.experiment for o in order.observations)])
        return TrainingReport(n_observations=n, cold=n == 1, candidate=name, serving=name, published=True)

    async def choose(self, order: ChoiceOrder) -> ChoiceAnswer:
        assert order.trained_on is not None
        assert bool(order.model) == bool(order.trained_on), "the version that is named is there"
        return await super().choose(order)


def go(path, *, every: int = 1, lag: int = 1, jitter: int = 0, budget: int = 8):
    journal, state = begin(path, budget=budget, more=TRAINER.format(every=every, lag=lag))
    science = TrainingScience(jitter)
    loop = run(journal, state, FakeHands(), science)
    return journal, science, loop.state


def test_every_result_is_trained_on_in_turn_and_a_decision_uses_the_version_it_is_bound_to(tmp_path):
    _, science, state = go(tmp_path / "j")
    assert science.trainings == list(range(1, len(science.trainings) + 1))
    assert len(science.trainings) >= 3
    for order in science.orders:
        assert order.trained_on == max(0, len(order.observations) - 1)
    named = {r.n_observations: r.serving for r in state.trainings}
    assert all(order.model == named.get(order.trained_on, "") for order in science.orders)


@pytest.mark.parametrize(("every", "lag"), [(1, 0), (3, 0), (2, 3), (4, 1)])
def test_results_between_trainings_and_the_lag_say_which_version_that_is(tmp_path, every, lag):
    _, science, _ = go(tmp_path / "j", every=every, lag=lag)
    assert all(n % every == 0 for n in science.trainings)
    for order in science.orders:
        assert order.trained_on == max(0, len(order.observations) - lag) // every * every


def test_how_long_trainings_take_decides_nothing(tmp_path):
    runs = []
    for jitter in range(4):
        journal, _, _ = go(tmp_path / f"j{jitter}", jitter=jitter)
        events = [event for _, _, event in journal.read()]
        choosing = [e for e in events if isinstance(e, ev.ChoiceOrdered | ev.ChoiceMade)]
        made = [e.model_dump_json(exclude={"seconds"}) for e in choosing]
        runs.append((made, [e.n_observations for e in events if isinstance(e, ev.TrainingOrdered)]))
    assert all(made == runs[0][0] for made, _ in runs)
    assert all(trained == list(range(1, len(trained) + 1)) for _, trained in runs)


def test_a_run_cut_off_at_any_moment_of_a_training_decides_the_same_when_it_goes_on(tmp_path):
    journal, _, _ = go(tmp_path / "whole")
    whole = [event for _, _, event in journal.read()]
    choices = [e.choices for e in whole if isinstance(e, ev.ChoiceMade)]
    cuts = [i for i, e in enumerate(whole) if i > 4 and not isinstance(e, ev.Decision)]
    amid = [i for i in cuts if _training(whole[:i])]
    assert len(amid) > 5
    for cut in amid:
        part, _ = begin(tmp_path / f"cut{cut}", budget=8, more=TRAINER.format(every=1, lag=1))
        part.stage(whole[4:cut])
        part.commit()
        run(part, fold(part), FakeHands(), TrainingScience(cut))
        assert [e.choices for _, _, e in part.read() if isinstance(e, ev.ChoiceMade)] == choices


def _training(events: list[ev.Event]) -> bool:
    ordered = sum(isinstance(e, ev.TrainingOrdered) for e in events)
    return ordered > sum(isinstance(e, ev.ModelTrained) for e in events)


def test_a_replay_trains_again_and_sees_where_another_model_served(tmp_path):
    directory = RunDirectory(tmp_path)
    journal, science, state = go(directory.journal)
    journal.close()
    counted = replay(directory, science=TrainingScience(5))
    kinds = [e for _, _, e in Journal(directory.journal, readonly=True).read() if isinstance(e, ev.Decision)]
    assert counted == len(kinds) + len(science.orders) + len(state.trainings)
    with pytest.raises(ReplayMismatch, match="the model after 1 results is"):
        replay(directory, science=TrainingScience(5, salt="another"))


def test_the_last_decisions_wait_for_no_training_that_nobody_needs(tmp_path):
    _, science, state = go(tmp_path / "j", budget=8)
    assert max(science.trainings) < 8
    assert state.finished == "8 experiments done"


def test_a_trainer_without_a_model_to_train_is_a_mistake():
    text = CAMPAIGN.format(budget=3, batch=1, clock="simulated")
    with pytest.raises(CampaignError, match="nothing to train; add predictor"):
        parse_campaign(text + "trainer: {every: 2}\n", "c.yaml")
    with pytest.raises(CampaignError, match="greater than or equal to 1"):
        parse_campaign(text + "predictor: {name: property}\ntrainer: {every: 0}\n", "c.yaml")


def test_a_predictor_without_versions_is_told_before_anything_starts(tmp_path):
    from controller.science import check_science

    text = CAMPAIGN.format(budget=3, batch=1, clock="simulated") + "predictor: {name: ensemble}\ntrainer: {}\n"
    with pytest.raises(CampaignError, match="use name: property"):
        check_science(parse_campaign(text, "c.yaml"), tmp_path)


def test_the_rule_of_cold_and_bound():
    rule = Retraining(every=2, cold_every=3, lag=1)
    assert [n for n in range(2, 20, 2) if rule.is_cold(n)] == [2, 8, 14]
    assert [rule.bound_to(n) for n in range(7)] == [0, 0, 0, 2, 2, 4, 4]


def test_the_status_says_what_the_screen_let_through_and_which_model_serves(tmp_path):
    from actors.orders import StageReport
    from controller.summary import summarize
    from controller.view_summary import screen_lines

    _, _, state = go(tmp_path / "j")
    assert summarize(state, running=False)["screen"] is None
    stage = StageReport(stage="ensemble", taken=900, passed=45, detail={"false_negative_rate": 0.125}, model="abc")
    state.stages = (stage,)
    screen = summarize(state, running=False)["screen"]
    assert screen["serving"] == state.trainings[-1].serving
    told = screen_lines(screen)
    assert "screen: 45 of 900 passed, missing an estimated 12% of the good" in told
    n = state.trained_on
    assert f"model: {screen['serving']} serves, trained on {n} results ({n} published, 0 not)" in told
