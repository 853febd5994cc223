from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from controller import events as ev
from controller.approval import Mailbox, decide_on, waiting_lines
from controller.cli import main
from controller.drive import hear_people
from controller.errors import CampaignError, LabNeedsPerson, RunStateError
from controller.loop import Loop
from controller.replay import replay
from controller.rundir import RunLock
from controller.state import evolve
from tests.controller.fakes import FakeHands, FakeScience, fold
from tests.controller.test_safety import Weighing, begun

TWO = "{approval: {above: {heat.x: -1}, people: 2}}"
"""Everything needs two people."""


def halted(tmp_path, section=TWO, budget=1, **settings):
    """A run that has ended because it waits for people."""
    directory, journal, state = begun(tmp_path / "r", section, budget=budget, **settings)
    with pytest.raises(LabNeedsPerson, match="athanor approve RUN EXPERIMENT"):
        asyncio.run(Loop(state, journal, Weighing(), FakeHands()).run())
    journal.close()
    return directory


def go_on(directory):
    from controller.journal import Journal

    journal, hands = Journal(directory.journal), FakeHands()
    loop = Loop(fold(journal), journal, FakeScience(), hands)
    try:
        asyncio.run(loop.run())
    finally:
        journal.close()
    return loop.state, hands


def test_nothing_is_sent_before_two_different_people_have_approved(tmp_path):
    directory = halted(tmp_path)
    assert not fold_of(directory).experiments["E0001"].ordered
    decide_on(directory, "E0001", approve=True, by="Ada")
    with pytest.raises(RunStateError, match="needs another person"):
        decide_on(directory, "E0001", approve=True, by=" ada ")
    with pytest.raises(LabNeedsPerson, match=r"waits for 1 approval\(s\).*approved by Ada"):
        go_on(directory)
    decide_on(directory, "E0001", approve=True, by="Bo")
    state, hands = go_on(directory)
    assert [o.outcome for o in state.observations] == ["measured"]
    assert len(hands.executed) == 2
    assert replay(directory, science=FakeScience()) >= 6


def test_the_same_person_twice_is_one_person_even_in_the_journal(tmp_path):
    state = fold_of(halted(tmp_path))
    for name in ("Ada", "ada", " ADA"):
        state = evolve(state, ev.Approved(experiment="E0001", by=name))
    assert state.experiments["E0001"].waits_for_people


def test_a_rejected_recipe_never_reaches_the_lab_and_gives_its_grams_back(tmp_path):
    directory = halted(tmp_path)
    assert fold_of(directory).planned.grams == 2
    assert "rejected: E0001" in decide_on(directory, "E0001", approve=False, by="Ada", reason="too hot")
    state, hands = go_on(directory)
    assert not hands.executed
    assert state.experiments["E0001"].reason == "rejected by Ada: too hot"
    assert state.planned.grams == 0
    late = evolve(state, ev.Approved(experiment="E0001", by="Bo"))
    assert not late.experiments["E0001"].waits_for_people


def test_people_must_say_who_they_are_and_about_what(tmp_path):
    directory = halted(tmp_path)
    with pytest.raises(CampaignError, match="--by NAME"):
        decide_on(directory, "E0001", approve=True, by=" ")
    with pytest.raises(RunStateError, match="Waiting in this run: E0001"):
        decide_on(directory, "E0009", approve=True, by="Ada")


def test_only_a_few_recipes_may_wait_before_nothing_more_is_chosen(tmp_path):
    directory = halted(tmp_path, budget=50)
    assert 4 <= len(waiting_lines(fold_of(directory))) <= 5


def test_experiments_below_the_threshold_go_on_while_others_wait(tmp_path):
    directory = halted(tmp_path, "{approval: {above: {heat.x: 0.5}}}", budget=10)
    state = fold_of(directory)
    assert state.observations
    assert all(float(o.candidate.parameters["x"]) <= 0.5 for o in state.observations)


def test_in_simulated_time_an_approval_that_times_out_rejects_when_nothing_else_runs(tmp_path):
    section = "{approval: {above: {heat.x: 0.5}, timeout_h: 100, on_timeout: reject}}"
    directory, journal, state = begun(tmp_path / "r", section, budget=10)
    hands = FakeHands()
    loop = Loop(state, journal, FakeScience(), hands)
    asyncio.run(loop.run())
    expired = [e for e in loop.state.experiments.values() if "nobody approved it in time" in e.reason]
    assert expired
    assert all(not e.ordered for e in expired)
    assert loop.state.now_s >= 100 * 3600
    assert replay(directory, science=FakeScience()) > 10


def test_on_the_wall_clock_an_overdue_approval_is_rejected_without_anything_else_happening(tmp_path):
    section = "{approval: {above: {heat.x: -1}, timeout_h: 0.00005, on_timeout: reject}}"
    directory, journal, state = begun(tmp_path / "r", section, budget=1, clock="wall")
    state = patiently(directory, journal, state)
    assert "nobody approved it in time" in state.experiments["E0001"].reason
    assert replay(directory, science=FakeScience()) >= 3


def test_a_running_controller_takes_approvals_that_people_leave_for_it(tmp_path):
    directory, journal, state = begun(tmp_path / "r", TWO, budget=1, clock="wall")
    said: list[str] = []

    def people():
        while not any(experiment.waits_for_people for experiment in fold_of(directory).active.values()):
            time.sleep(0.02)
        said.extend(decide_on(directory, "E0001", approve=True, by=name) for name in ("Ada", "Bo"))

    with RunLock(directory):
        thread = threading.Thread(target=people)
        thread.start()
        state = patiently(directory, journal, state)
        thread.join()
    assert said == ["approved: E0001 by Ada", "approved: E0001 by Bo"]
    assert [o.outcome for o in state.observations] == ["measured"]
    assert not list((directory.path / "decisions").glob("*"))
    assert replay(directory, science=FakeScience()) >= 5


def test_a_decision_left_behind_is_taken_by_the_next_controller_and_rubbish_is_named(tmp_path):
    directory = halted(tmp_path)
    Mailbox(directory).leave(ev.Rejected(experiment="E0001", by="Ada"))
    (directory.path / "decisions" / "junk.json").write_text("{")
    refused: list[str] = []
    box, state = Mailbox(directory), fold_of(directory)
    (event,) = box.read(state, refused.append)
    assert event == ev.Rejected(experiment="E0001", by="Ada")
    assert "junk.json" in refused[0]
    assert box.read(state) == [], "once is enough"
    assert Mailbox(directory).read(evolve(state, event)) == []
    assert [p.name for p in (directory.path / "decisions").iterdir()] == ["junk.json"]


def patiently(directory, journal, state):
    async def scene():
        loop = Loop(state, journal, FakeScience(), FakeHands(), patient=True)
        people = asyncio.create_task(hear_people(loop, Mailbox(directory)))
        try:
            await asyncio.wait_for(loop.run(), 180)
        finally:
            people.cancel()
        return loop.state

    return asyncio.run(scene())


def fold_of(directory):
    return directory.load()


def test_the_command_line_lists_approves_and_tells_in_the_status(tmp_path, capsys):
    directory = halted(tmp_path)
    run = str(directory.path)
    assert main(["approve", run]) == 0
    assert "E0001" in capsys.readouterr().out
    assert main(["approve", run, "E0001"]) == 2
    assert main(["approve", run, "E0001", "--by", "Ada"]) == 0
    assert "approved: E0001 by Ada" in capsys.readouterr().out
    assert main(["status", run, "--json"]) == 0
    assert "approved by Ada" in json.loads(capsys.readouterr().out)["approvals"][0]
    assert main(["reject", run, "E0001", "--by", "Bo"]) == 0
    capsys.readouterr()
    assert main(["reject", run]) == 0
    assert capsys.readouterr().out == "nothing waits for approval\n"
