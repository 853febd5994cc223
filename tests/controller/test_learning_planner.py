"""What a planner that learns is told: the same whenever it is asked, and after whatever interruption."""

from __future__ import annotations

import pytest

from actors.orders import ChoiceAnswer
from controller import events as ev
from controller.journal import Journal
from controller.state import State, decide, evolve, trials_before
from tests.controller.fakes import FakeHands, FakeScience, begin, fold, run


class Learner(FakeScience):
    """Writes down what it is told; without ``q`` choices while others are under way, where ``shy``."""

    learns = True

    def __init__(self, shy: bool = False) -> None:
        super().__init__()
        self.told: dict[str, tuple] = {}
        self.shy = shy

    async def plan(self, candidate, offers, trials=()):
        self.told[candidate.id] = trials
        return await super().plan(candidate, offers)

    async def choose(self, order):
        if self.shy and (order.pending or len(order.observations) >= 3):
            return ChoiceAnswer(choices=(), waits=True)
        return await super().choose(order)


def impure(command):
    return {"readings": {"purity": 0.2, "extra": 1.5}} if command.seed % 2 and command.capability == "heat" else {}


@pytest.mark.parametrize("clock", ["simulated", "wall"])
def test_a_plan_knows_what_was_known_at_the_choice_and_no_more(tmp_path, clock):
    journal, state = begin(tmp_path / "journal.sqlite", budget=8, batch=2, clock=clock)
    science = Learner()
    end = run(journal, state, FakeHands(impure, jitter=3), science).state
    assert len(science.told) == 8
    for experiment in end.experiments.values():
        assert science.told[experiment.candidate.id] == trials_before(end, experiment)
    last = max(science.told.values(), key=len)
    assert {trial.outcome for trial in last} == {"measured", "failed_synthesis"}
    assert any(trial.readings.get("extra") == 1.5 for trial in last)
    assert all(trial.operations[0].capability == "heat" for trial in last)


def test_a_controller_that_takes_over_tells_its_planner_the_same(tmp_path):
    journal, state = begin(tmp_path / "whole.sqlite", budget=6, batch=2)
    whole = Learner()
    run(journal, state, FakeHands(impure), whole)
    events = [event for _, _, event in journal.read()]
    cuts = [place for place, event in enumerate(events) if isinstance(event, ev.RecipePlanned)]
    for number, cut in enumerate(cuts):
        again = Journal(tmp_path / f"cut{number}.sqlite", create=True)
        again.stage(events[:cut])
        again.commit()
        taken_over = Learner()
        end = run(again, fold(again), FakeHands(impure), taken_over).state
        assert end.finished
        assert taken_over.told == {name: whole.told[name] for name in taken_over.told}


def test_who_has_nothing_to_choose_for_now_is_asked_again_when_something_has_ended(tmp_path):
    journal, state = begin(tmp_path / "journal.sqlite", budget=9, batch=2)
    end = run(journal, state, FakeHands(), Learner(shy=True)).state
    assert len(end.experiments) >= 3
    assert end.rule == "exhausted" and end.finished == "nothing is left to be tried"
    replayed = State()
    for _, _, event in journal.read():
        if ev.is_decision(event):
            assert event in decide(replayed).events
        replayed = evolve(replayed, event)
