from __future__ import annotations

import asyncio
import math
from itertools import pairwise

import pytest

from controller import events as ev
from controller.errors import Interrupted, LabNeedsPerson
from controller.state import decide, evolve
from instruments.errors import OutcomeUnknown, Refused
from tests.controller.fakes import FakeHands, FakeScience, begin, fold, run


def test_a_campaign_ends_with_every_experiment_measured_and_every_report_acknowledged(tmp_path):
    journal, state = begin(tmp_path / "j")
    hands = FakeHands()
    loop = run(journal, state, hands)
    assert loop.state.finished == "5 experiments done"
    assert [o.outcome for o in loop.state.observations] == ["measured"] * 5
    assert sorted(hands.executed) == sorted(hands.acknowledged)
    assert len(set(hands.executed)) == 10


def test_in_simulated_time_the_order_in_which_reports_arrive_decides_nothing(tmp_path):
    journals = []
    for jitter in (None, 1, 2, 3):
        journal, state = begin(tmp_path / f"j{jitter}", budget=8)
        run(journal, state, FakeHands(jitter=jitter))
        journals.append([e.model_dump_json() for _, _, e in journal.read() if isinstance(e, ev.Decision)])
    assert journals[0] == journals[1] == journals[2] == journals[3]


def test_instruments_work_side_by_side_and_never_wait_for_a_batch(tmp_path):
    journal, state = begin(tmp_path / "j", budget=6)
    loop = run(journal, state, FakeHands())
    oven = [r for e in loop.state.experiments.values() for r in e.records if r.instrument == "oven"]
    assert all(later.start_s == earlier.finish_s for earlier, later in pairwise(oven))
    meter = [r for e in loop.state.experiments.values() for r in e.records if r.instrument == "meter"]
    assert any(m.start_s < o.finish_s and o.start_s < m.finish_s for m in meter for o in oven)


def test_choices_are_told_of_pending_experiments(tmp_path):
    journal, state = begin(tmp_path / "j", budget=6)
    science = FakeScience()
    run(journal, state, FakeHands(), science)
    assert any(order.pending for order in science.orders)
    assert science.orders[-1].observations


def test_a_run_cut_off_after_any_event_decides_the_same_when_it_goes_on(tmp_path):
    journal, state = begin(tmp_path / "whole")
    run(journal, state, FakeHands())
    whole = [event for _, _, event in journal.read()]
    choices = [e.choices for e in whole if isinstance(e, ev.ChoiceMade)]
    boundaries = [i for i, e in enumerate(whole) if i > 4 and not isinstance(e, ev.Decision)]
    assert len(boundaries) > 15
    for cut in boundaries:
        part, _ = begin(tmp_path / f"cut{cut}")
        part.stage(whole[4:cut])
        part.commit()
        run(part, fold(part), FakeHands())
        again = [e.choices for _, _, e in part.read() if isinstance(e, ev.ChoiceMade)]
        assert again == choices, f"cut before event {cut}: {whole[cut].kind}"


def test_a_nan_is_measured_again_and_never_reaches_an_observation(tmp_path):
    def answer(command):
        bad = command.capability == "measure" and command.attempt == 0
        return {"readings": {"y": math.nan}} if bad else {}

    journal, state = begin(tmp_path / "j", budget=2)
    loop = run(journal, state, FakeHands(answer))
    assert [o.outcome for o in loop.state.observations] == ["measured", "measured"]
    assert all(math.isfinite(v) for o in loop.state.observations for v in o.values.values())
    verdicts = [r.verdict for e in loop.state.experiments.values() for r in e.records]
    assert verdicts.count("measure_again") == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e9])
def test_a_reading_that_stays_impossible_is_a_failed_measurement(tmp_path, value):
    journal, state = begin(tmp_path / "j", budget=1)
    loop = run(journal, state, FakeHands(lambda c: {"readings": {"y": value}} if c.capability == "measure" else {}))
    (observation,) = loop.state.observations
    assert observation.outcome == "failed_measurement"
    assert "y" not in observation.values
    assert "y" in loop.state.experiments["E0001"].reason


def test_a_failed_synthesis_is_a_fact_and_skips_the_measurement(tmp_path):
    journal, state = begin(tmp_path / "j", budget=1)
    loop = run(journal, state, FakeHands(lambda c: {"readings": {"purity": 0.1}} if c.capability == "heat" else {}))
    (observation,) = loop.state.observations
    assert (observation.outcome, observation.values["purity"]) == ("failed_synthesis", 0.1)
    assert len(loop.state.experiments["E0001"].records) == 1


def test_a_reading_that_is_missing_is_a_failed_measurement(tmp_path):
    journal, state = begin(tmp_path / "j", budget=1)
    loop = run(journal, state, FakeHands(lambda c: {"readings": {}} if c.capability == "measure" else {}))
    assert loop.state.observations[0].outcome == "failed_measurement"
    assert "not reported" in loop.state.experiments["E0001"].reason


def test_three_faults_in_a_row_take_an_instrument_out_of_service_and_lose_no_sample(tmp_path):
    journal, state = begin(tmp_path / "j", budget=9)
    hands = FakeHands(lambda c: {"status": "fault", "message": "coil open"} if c.capability == "heat" else {})
    with pytest.raises(LabNeedsPerson, match="oven: 3 faults in a row"):
        run(journal, state, hands)
    resumed = evolve(fold(journal), ev.ControllerStarted(epoch=2, pid=2, host="here"))
    repaired = FakeHands()
    loop = run(journal, resumed, repaired)
    assert loop.state.finished
    assert [o.outcome for o in loop.state.observations].count("measured") == 6


def test_an_unknown_outcome_is_quarantined_and_a_verdict_sets_it_going_again(tmp_path):
    journal, state = begin(tmp_path / "j", budget=3)
    first: list[str] = []

    def answer(command):
        if command.capability == "heat" and not first:
            first.append(command.command_id)
            return {"raise": OutcomeUnknown(command.command_id, "the log ends amid the act")}
        return {}

    with pytest.raises(LabNeedsPerson, match="outcome unknown: E0001 on oven"):
        run(journal, state, FakeHands(answer))
    halted = fold(journal)
    assert [o.experiment for o in halted.observations] == ["E0002", "E0003"]
    assert len(halted.unknown()) == 1
    verdict = ev.Reconciled(command_id=first[0], verdict="repeat", by="A. Chemist")
    journal.stage([verdict])
    journal.commit()
    hands = FakeHands()
    loop = run(journal, fold(journal), hands)
    assert loop.state.finished
    assert first[0] not in hands.executed, "an old command is never sent again after a verdict"
    assert len(loop.state.observations) == 3


@pytest.mark.parametrize(
    ("verdict", "readings", "outcome"),
    [("done", {"purity": 0.8}, "measured"), ("failed", {}, "failed_synthesis"), ("discard", {}, "failed_measurement")],
)
def test_every_verdict_ends_the_quarantine(tmp_path, verdict, readings, outcome):
    journal, state = begin(tmp_path / "j", budget=1)
    unknown = {"raise": OutcomeUnknown("run/E0001/0/0", "?")}
    with pytest.raises(LabNeedsPerson):
        run(journal, state, FakeHands(lambda c: unknown if c.capability == "heat" else {}))
    (command,) = fold(journal).unknown()
    journal.stage([ev.Reconciled(command_id=command.order.command_id, verdict=verdict, by="me", readings=readings)])
    journal.commit()
    loop = run(journal, fold(journal), FakeHands())
    assert [o.outcome for o in loop.state.observations] == [outcome]


def test_a_refused_command_fails_its_experiment_and_nothing_else(tmp_path):
    journal, state = begin(tmp_path / "j", budget=3)

    def answer(command):
        return {"raise": Refused("x above its limit")} if command.experiment == "E0002" else {}

    loop = run(journal, state, FakeHands(answer))
    assert [o.outcome for o in loop.state.observations].count("measured") == 2
    assert "refused: x above its limit" in loop.state.experiments["E0002"].reason


def test_an_exhausted_space_ends_the_campaign(tmp_path):
    journal, state = begin(tmp_path / "j", budget=50)
    science = FakeScience()
    science.space = 3
    loop = run(journal, state, FakeHands(), science)
    assert loop.state.finished == "every candidate of the space has been tried"
    assert len(loop.state.observations) == 3


def test_a_stop_finishes_what_is_under_way_and_begins_nothing(tmp_path):
    from controller.loop import Loop

    journal, state = begin(tmp_path / "j", budget=50)
    hands = FakeHands()
    loop = Loop(state, journal, FakeScience(), hands)

    def stop_at_ten(state):
        if len(hands.executed) >= 10 and not state.stopping:
            loop.post(ev.StopRequested(by="test"))

    loop.watch = stop_at_ten
    with pytest.raises(Interrupted):
        asyncio.run(loop.run())
    halted = fold(journal)
    assert not [c for c in halted.commands.values() if c.report is None], "everything sent was reported"
    assert len(hands.executed) <= 13
    resumed = evolve(halted, ev.ControllerStarted(epoch=2, pid=2, host="here"))
    assert len(run(journal, resumed, FakeHands()).state.observations) == 50


def test_a_report_for_an_unknown_command_changes_nothing(tmp_path):
    _, state = begin(tmp_path / "j")
    before = decide(state)
    after = evolve(state, ev.CommandReported(command_id="nobody/E9/0/0", status="ok", readings={"y": 1.0}))
    assert decide(after) == before
    assert not after.observations


def test_on_the_wall_clock_time_is_read_and_steps_end_when_they_are_reported(tmp_path):
    journal, state = begin(tmp_path / "j", budget=3, clock="wall")
    loop = run(journal, state, FakeHands())
    assert loop.state.finished
    assert 0 < loop.state.now_s < 60
