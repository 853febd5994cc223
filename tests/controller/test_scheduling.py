"""Samples, batches, holding times, lost instruments: one promise a test, on the real ``decide`` and ``evolve``."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from controller import events as ev
from controller.errors import LabNeedsPerson
from controller.loop import Loop
from controller.state import decide, evolve
from controller.summary import summarize
from instruments.errors import CANNOT_RECORD, InstrumentLost, Refused
from tests.controller.fakes import FakeHands, FakeScience, begin, fold, run
from tests.controller.pure_lab import PureLab, offer, step

FURNACE = {"furnace": [offer("fire", 3, ["temperature_C"])]}


def members(lab: PureLab) -> list[tuple[str, ...]]:
    """Who goes together, in the order of the acts."""
    acts = {o.batch or (o.command_id,): o for o in lab.orders()}
    return [tuple(name.split("/")[1] for name in act) for act in acts]


# Places


def test_a_sample_stays_where_it_was_until_its_slot_is_needed_and_then_goes_home():
    two = [step("fire", temperature_C=900), step("look")]
    lab = PureLab([two, two], {"furnace": [offer("fire")], "camera": [offer("look")]})
    lab.settle()
    lab.report(*lab.running("E0001"))
    lab.settle()
    first, second = lab.state.experiments["E0001"], lab.state.experiments["E0002"]
    assert (first.position, second.position) == ("camera/1", "furnace/1")
    lab.report(*lab.running("E0002"))
    lab.settle()
    assert second.position == "furnace/1", "nobody needs the furnace"
    lab.report(*lab.running("E0001"))
    lab.settle()
    assert first.position == ""
    assert [p.position for p in first.history] == ["furnace/1", "camera/1", ""]
    assert [p.why for p in first.history] == ["step 1: fire", "step 2: look", first.outcome]


def test_a_sample_that_is_in_the_way_is_put_into_its_own_place_in_the_storage():
    lab = PureLab([[step("fire"), step("look")]] * 2, {"furnace": [offer("fire")], "camera": [offer("look")]})
    lab.tell(ev.OutOfService(instrument="camera", reason="silent"))
    lab.settle()
    lab.report(*lab.running("E0001"))
    lab.settle()
    first = lab.state.experiments["E0001"]
    assert (first.position, first.history[-1].why) == ("storage/1", "furnace/1 was needed")


def test_no_more_samples_are_begun_than_the_storage_has_room_for():
    lab = PureLab([[step("fire")]] * 5, {f"f{k}": [offer("fire")] for k in range(5)}, storage=2)
    lab.settle()
    assert len(lab.running()) == 2
    lab.report(lab.running()[0])
    lab.settle()
    assert len(lab.running()) == 2
    assert summarize(lab.state, running=True)["samples"].keys() == {"E0002", "E0003"}


# Batches


def test_a_furnace_takes_the_waiting_samples_whose_programmes_agree():
    recipes = [[step("fire", temperature_C=t)] for t in (900, 1100, 900, 900, 1100, 900)]
    lab = PureLab(recipes, FURNACE)
    lab.settle()
    assert members(lab) == [("E0001", "E0003", "E0004")]
    assert len({o.position for o in lab.orders()}) == 3
    for name in lab.running():
        lab.report(name)
        lab.settle()
    assert members(lab)[1:] == [("E0002", "E0005")], "not before the last of the first batch has ended"


def test_a_batch_is_no_larger_than_the_slots():
    lab = PureLab([[step("fire", temperature_C=900)]] * 3, FURNACE, slots={"furnace": 2})
    lab.settle()
    assert members(lab) == [("E0001", "E0002")]


def test_members_of_a_refused_batch_go_alone_so_that_one_takes_nobody_down():
    lab = PureLab([[step("fire", temperature_C=900)]] * 2, FURNACE)
    lab.settle()
    for name in lab.running():
        lab.report(name, "refused", message="E0002 is too heavy")
    lab.settle()
    assert members(lab)[1:] == [("E0001",)]
    lab.report(*lab.running())
    lab.settle()
    lab.report(*lab.running(), "refused", message="too heavy")
    lab.settle()
    assert {name: one.reason for name, one in lab.state.experiments.items()}["E0002"] == "refused: too heavy"
    assert [r.verdict for r in lab.state.experiments["E0001"].records] == ["accepted"]


def test_a_fault_of_a_whole_batch_is_one_fault():
    lab = PureLab([[step("fire", temperature_C=900)]] * 6, FURNACE, max_faults=2)
    lab.settle()
    for name in lab.running():
        lab.report(name, "fault")
    lab.settle()
    furnace = lab.state.instruments["furnace"]
    assert (furnace.faults, furnace.retired) == (1, "")
    for name in lab.running():
        lab.report(name, "fault")
    lab.settle()
    assert lab.state.instruments["furnace"].retired == "2 faults in a row"


def test_the_unknown_outcome_of_one_member_leaves_the_others_alone():
    lab = PureLab([[step("fire", temperature_C=900)]] * 2, FURNACE)
    lab.settle()
    first, second = lab.running()
    lab.tell(ev.OutcomeUnknown(command_id=first, evidence="?"))
    lab.report(second)
    lab.settle()
    assert [c.order.command_id for c in lab.state.unknown()] == [first]
    assert len(lab.state.experiments["E0002"].records) == 1


# Holding times


def two_stage(hold_h: float | None) -> list:
    return [step("mix", hold_h, hours=1), step("fire", hours=10)]


LINE = {"mixer": [offer("mix")], "furnace": [offer("fire")]}


def test_a_step_with_a_holding_time_waits_until_the_next_instrument_can_be_expected_to_be_free():
    lab = PureLab([two_stage(None), two_stage(2)], LINE)
    lab.settle()
    lab.pass_time(1)
    lab.report(*lab.running("E0001"))
    lab.settle()
    assert lab.running(instrument="furnace")
    assert not lab.running("E0002"), "ten hours of the furnace are longer than the one of the mixer and two of waiting"
    lab.pass_time(7)
    lab.settle()
    assert lab.running("E0002")


def test_whose_time_runs_out_first_goes_first():
    recipes = [[step("fire", hours=1)], two_stage(30), two_stage(2)]
    lab = PureLab(recipes, {"m1": [offer("mix")], "m2": [offer("mix")], "furnace": [offer("fire")]})
    lab.settle()
    lab.pass_time(1)
    for name in lab.running("E0002") + lab.running("E0003"):
        lab.report(name)
    lab.settle()
    lab.report(*lab.running("E0001"))
    lab.settle()
    assert lab.running(instrument="furnace") == lab.running("E0003")


def test_a_sample_that_has_waited_too_long_is_not_processed_further():
    lab = PureLab([two_stage(2)], LINE)
    lab.settle()
    lab.tell(ev.OutOfService(instrument="furnace", reason="silent"))
    lab.report(*lab.running())
    lab.settle()
    lab.pass_time(2)
    lab.settle()
    assert lab.state.active, "it may begin at the very end of its time"
    lab.pass_time(0.5)
    lab.tell(ev.BackInService(instrument="furnace"))
    lab.settle()
    one = lab.state.experiments["E0001"]
    assert (one.outcome, one.reason) == ("failed_measurement", "expired: waited 2.5 h, at most 2 h")
    assert len(lab.orders()) == 1


def test_in_simulated_time_the_deadline_comes_by_itself():
    lab = PureLab([two_stage(2)], LINE, clock="simulated")
    lab.settle()
    lab.tell(ev.OutOfService(instrument="furnace", reason="silent"))
    lab.report(*lab.running(), duration_s=3600)
    lab.settle()
    assert lab.state.experiments["E0001"].reason == "expired: waited 2 h, at most 2 h"
    assert lab.state.now_s == 3 * 3600


def test_a_holding_time_runs_on_while_no_controller_is_there():
    lab = PureLab([two_stage(2)], LINE)
    lab.settle()
    lab.tell(ev.StopRequested(by="SIGTERM"))
    lab.report(*lab.running())
    lab.settle()
    lab.tell(ev.ControllerStarted(epoch=2, pid=2, host="here", away_s=3600))
    lab.settle()
    assert lab.running(instrument="furnace"), "half-made, it goes on at its next step"

    late = PureLab([two_stage(2)], LINE)
    late.settle()
    late.tell(ev.ControllerStarted(epoch=2, pid=2, host="here", away_s=5 * 3600))
    late.pass_time(0.01)
    late.report(*late.running(), duration_s=3600)
    late.settle()
    assert late.state.experiments["E0001"].reason.startswith("expired: waited 4.01 h"), "it had ended after one hour"


def test_on_the_wall_clock_the_loop_wakes_at_the_deadline(tmp_path):
    class Holding(FakeScience):
        async def plan(self, candidate, offers):
            first, self.planned = not self.planned, True
            for _ in range(2000 if not first else 0):  # the campaign has something to do until the sample has expired
                if loop.state.experiments["E0001"].outcome:
                    break
                await asyncio.sleep(0.01)
            recipe = await super().plan(candidate, offers)
            first = recipe.steps[0].model_copy(update={"max_wait_h": 0.1 / 3600})
            return recipe.model_copy(update={"steps": (first, *recipe.steps[1:])})

        planned = False

    class MeterGoes(FakeHands):
        async def execute(self, instrument, command):
            loop.post(ev.OutOfService(instrument="meter", reason="silent"))
            return await super().execute(instrument, command)

        async def returned(self, instrument):
            await asyncio.sleep(60)

    journal, state = begin(tmp_path / "j", budget=2, batch=2, clock="wall")
    loop = Loop(state, journal, Holding(), MeterGoes())
    with pytest.raises(LabNeedsPerson, match="out of service: meter: silent"):
        asyncio.run(loop.run())
    kinds = [e.kind for _, _, e in journal.read()]
    assert kinds.index("sample_expired") < len(kinds) - 1 - kinds[::-1].index("recipe_planned")
    assert loop.state.experiments["E0001"].reason.startswith("expired: waited")


# What is lost takes nothing else down


def losing(name: str, error: Exception, experiment: str, away_s: float = 0.0):
    """Hands that raise once, for one experiment on one instrument; the others take their time."""
    raised: list[str] = []

    class Losing(FakeHands):
        async def execute(self, instrument, command):
            if (instrument, command.experiment) == (name, experiment) and not raised:
                raised.append(command.command_id)
                raise error
            await asyncio.sleep(0.05)
            return await super().execute(instrument, command)

        async def returned(self, instrument):
            await asyncio.sleep(away_s)

    hands = Losing()
    hands.raised = raised  # type: ignore[attr-defined]
    return hands


def test_a_lost_instrument_comes_back_and_its_command_is_seen_through_under_the_same_id(tmp_path):
    journal, state = begin(tmp_path / "j", budget=3)
    hands = losing("oven", InstrumentLost("oven has been silent"), "E0002")
    loop = run(journal, state, hands)
    assert [o.outcome for o in loop.state.observations] == ["measured"] * 3
    assert hands.executed.count(hands.raised[0]) == 1
    kinds = [e.kind for _, _, e in journal.read()]
    assert kinds.count("out_of_service") == kinds.count("back_in_service") == 1


def test_a_flapping_instrument_stays_out_until_a_person_resumes_and_nothing_is_lost():
    lab = PureLab([[step("fire")]] * 3, {"f1": [offer("fire")]}, max_faults=3)
    lab.settle()
    for _ in range(3):
        lab.tell(ev.OutOfService(instrument="f1", reason="silent"), ev.BackInService(instrument="f1"))
        lab.settle()
    assert lab.state.instruments["f1"].retired == "lost 3 times, last: it has come back"
    lab.report(*lab.running())
    lab.settle()
    assert not lab.running(), "its own command was seen through, and nothing more is ordered"
    lab.tell(ev.ControllerStarted(epoch=2, pid=2, host="here"))
    lab.settle()
    assert lab.running()
    assert len(lab.state.active) == 2


def test_a_lost_instrument_ends_the_loop_only_where_nothing_else_can_go_on(tmp_path):
    journal, state = begin(tmp_path / "j", budget=3, batch=1)
    hands = losing("oven", InstrumentLost("oven has been silent"), "E0001", away_s=60)
    with pytest.raises(LabNeedsPerson, match=r"out of service: oven: oven has been silent.*no sample is lost"):
        run(journal, state, hands)
    resumed = evolve(fold(journal), ev.ControllerStarted(epoch=2, pid=2, host="here"))
    assert len(run(journal, resumed, hands).state.observations) == 3
    assert hands.executed.count(hands.raised[0]) == 1


def test_the_queue_of_a_lost_instrument_goes_elsewhere_and_its_own_sample_waits(tmp_path):
    lab = PureLab([[step("fire")]] * 4, {"f1": [offer("fire")], "f2": [offer("fire")]})
    lab.settle()
    (stuck,) = lab.running(instrument="f1")
    lab.tell(ev.OutOfService(instrument="f1", reason="silent"))
    while lab.running():
        lab.report(*lab.running())
        lab.settle()
    assert [name for name, outcome in lab.outcomes().items() if not outcome] == ["E0001"]
    lab.tell(ev.BackInService(instrument="f1"))
    lab.settle()
    assert lab.running() == [stuck], "the same command, never another one for the same sample"
    lab.report(stuck)
    lab.settle()
    assert lab.state.finished


def test_a_full_disk_at_one_host_stops_only_that_instrument(tmp_path):
    journal, state = begin(tmp_path / "j", budget=3)
    hands = losing("oven", Refused(f"oven refused: {CANNOT_RECORD}: disk full"), "E0002")
    with pytest.raises(LabNeedsPerson, match=r"out of service: oven: .*disk full.*no sample is lost"):
        run(journal, state, hands)
    resumed = evolve(fold(journal), ev.ControllerStarted(epoch=2, pid=2, host="here"))
    loop = run(journal, resumed, FakeHands())
    assert [o.outcome for o in loop.state.observations] == ["measured"] * 3


def test_an_instrument_that_has_worked_steadily_is_forgiven_its_earlier_losses():
    lab = PureLab([[step("fire")]] * 12, {"f1": [offer("fire")]}, max_faults=2)
    lab.settle()
    lab.tell(ev.OutOfService(instrument="f1", reason="silent"), ev.BackInService(instrument="f1"))
    for _ in range(10):
        lab.report(*lab.running())
        lab.settle()
    lab.tell(ev.OutOfService(instrument="f1", reason="silent"), ev.BackInService(instrument="f1"))
    lab.settle()
    assert not lab.state.instruments["f1"].retired
    lab.tell(ev.OutOfService(instrument="f1", reason="silent"))
    lab.settle()
    assert lab.state.instruments["f1"].retired.startswith("lost 2 times")


# Schedules


def test_a_schedule_is_asked_for_only_where_a_batch_makes_it_pay():
    alone = PureLab([[step("fire", temperature_C=900)]], FURNACE, scheduler="auto")
    alone.settle()
    assert alone.state.scheduling is None
    assert alone.running()
    two = PureLab([[step("fire", temperature_C=900)]] * 2, FURNACE, scheduler="auto", clock="simulated")
    two.settle()
    assert two.state.scheduling is not None
    assert not two.running(), "in simulated time it is waited for"
    walled = PureLab([[step("fire", temperature_C=900)]] * 2, FURNACE, scheduler="auto")
    walled.settle()
    assert len(walled.running()) == 2, "on the wall clock the plain rule serves meanwhile"


def test_a_furnace_waits_for_a_sample_that_its_schedule_puts_into_the_same_act():
    recipes = [
        [step("fire", temperature_C=900, hours=10)],
        [step("mix", hours=1), step("fire", temperature_C=900, hours=10)],
    ]
    lab = PureLab(recipes, FURNACE | {"mixer": [offer("mix")]}, scheduler="optimal", clock="simulated")
    lab.settle()
    assert lab.state.scheduling is not None
    acts = (
        ev.Act(instrument="mixer", works=(("E0002", 0),), start_s=0),
        ev.Act(instrument="furnace", works=(("E0001", 0), ("E0002", 1)), start_s=3600),
    )
    lab.tell(ev.ScheduleMade(schedule=lab.state.scheduling.number, acts=acts, solver="test"))
    lab.settle()
    assert members(lab) == [("E0002",)]
    lab.report(*lab.running(), duration_s=3600)
    lab.settle()
    assert members(lab)[1:] == [("E0001", "E0002")]


def test_a_schedule_that_no_longer_fits_is_dropped_and_another_one_asked_for():
    recipes = [[step("fire", temperature_C=900)], [step("mix"), step("fire", temperature_C=900)]]
    lab = PureLab(recipes, FURNACE | {"mixer": [offer("mix")]}, scheduler="optimal", clock="simulated")
    lab.settle()
    assert lab.state.scheduling is not None
    acts = (
        ev.Act(instrument="mixer", works=(("E0002", 0),), start_s=0),
        ev.Act(instrument="furnace", works=(("E0001", 0), ("E0002", 1)), start_s=3600),
    )
    lab.tell(ev.ScheduleMade(schedule=1, acts=acts, solver="test"))
    lab.settle()
    lab.report(*lab.running(), "failed")
    lab.settle()
    assert lab.state.schedule is None
    assert lab.state.scheduling is not None and lab.state.scheduling.number == 2
    assert [job.experiment for job in lab.state.scheduling.jobs] == ["E0001"]


def test_without_a_solver_the_plain_rule_serves():
    lab = PureLab([[step("fire", temperature_C=900)]] * 2, FURNACE, scheduler="auto", clock="simulated")
    lab.settle()
    lab.tell(ev.ScheduleMade(schedule=1, acts=(), reason="not installed"))
    lab.settle()
    assert members(lab) == [("E0001", "E0002")]
    assert decide(lab.state).events == ()


def test_the_solver_is_imported_only_where_it_is_asked():
    code = "import sys, controller.optimal; sys.exit('ortools' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
