from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller import events as ev
from controller import loop as loop_module
from controller.errors import CampaignError, LabNeedsPerson
from controller.estop import reset
from controller.labdir import LabDirectory
from controller.loop import Loop
from controller.state import CommandTask, decide, evolve
from instruments.errors import Refused
from instruments.keys import create_lab_keys
from instruments.messages import Outbox, Stop, decode
from instruments.transport import Client, read_endpoints
from tests.controller.fakes import FakeHands, FakeScience, begin, fold
from tests.controller.toy_lab import lab


def stopped_run(path, hands, after, **settings):
    """Run, and stop while command number ``after`` is under way; the journal and its state."""
    journal, state = begin(path, budget=20, **settings)
    loop = Loop(state, journal, FakeScience(), hands)
    answer = hands.answer

    def stop_then_answer(command):
        if len(hands.executed) == after:
            loop.post(ev.StopLatched(by="operator", reason="smoke"))
            loop.post(ev.StopAcknowledged(acknowledged_ms={"oven": 1.0, "meter": None}))
        return answer(command)

    hands.answer = stop_then_answer
    with pytest.raises(LabNeedsPerson, match="NOT ACKNOWLEDGED by meter"):
        asyncio.run(loop.run())
    return journal, fold(journal)


def test_after_a_stop_nothing_is_ordered_chosen_or_ended(tmp_path):
    hands = FakeHands()
    _, state = stopped_run(tmp_path / "j", hands, 6)
    assert state.latched is not None
    assert not [e for e in decide(state).events if isinstance(e, ev.CommandOrdered | ev.ChoiceOrdered)]
    assert not state.finished
    assert len(hands.executed) <= 9


def test_the_journal_holds_the_stop_before_the_loop_ends(tmp_path):
    journal, state = begin(tmp_path / "j")
    loop = Loop(state, journal, FakeScience(), FakeHands())
    loop.post(ev.StopLatched(by="operator"))
    loop.post(ev.StopAcknowledged(acknowledged_ms={}))
    with pytest.raises(LabNeedsPerson, match="emergency stop"):
        asyncio.run(loop.run())
    kinds = [event.kind for _, _, event in journal.read()]
    assert "stop_latched" in kinds
    assert "command_ordered" not in kinds


def test_the_loop_does_not_wait_for_ever_for_the_table_of_a_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module, "STOP_ANSWERS_S", 0.05)
    journal, state = begin(tmp_path / "j")
    loop = Loop(state, journal, FakeScience(), FakeHands())
    loop.post(ev.StopLatched(by="operator"))
    with pytest.raises(LabNeedsPerson, match="emergency stop"):
        asyncio.run(asyncio.wait_for(loop.run(), 20))


@pytest.mark.parametrize("status", ["ok", "failed", "fault"])
@pytest.mark.parametrize("clock", ["simulated", "wall"])
def test_a_report_that_was_cut_off_by_a_stop_is_unknown_and_never_a_failed_synthesis(tmp_path, status, clock):
    hands = FakeHands(lambda c: {"status": status, "stopped": True} if len(hands.executed) == 4 else {})
    _, state = stopped_run(tmp_path / "j", hands, 4, clock=clock)
    (command,) = state.unknown()
    assert command.order.command_id == hands.executed[3]
    assert f"the driver reported {status}" in command.unknown
    assert command.order.command_id in hands.acknowledged, "the report itself is in the journal"
    assert "failed_synthesis" not in {o.outcome for o in state.observations}
    assert state.instruments[command.order.instrument].faults == 0


def test_what_a_stopped_instrument_refused_is_ordered_again_after_the_reset_and_no_sample_is_lost(tmp_path):
    hands = FakeHands(lambda c: {"raise": Refused("stopped")} if len(hands.executed) >= 4 else {})
    journal, state = stopped_run(tmp_path / "j", hands, 4)
    assert not state.unknown()
    journal.stage([ev.StopReset(by="Ada", reason="steam"), ev.InstrumentsReset(instruments=("oven",))])
    journal.commit()
    again = FakeHands()
    loop = Loop(fold(journal), journal, FakeScience(), again)
    asyncio.run(loop.run())
    assert [o.outcome for o in loop.state.observations] == ["measured"] * 20
    accepted = set(hands.executed[:3])
    assert not accepted & set(again.executed), "what was done before the stop is not done again"


def test_a_reset_is_remembered_until_the_instruments_have_confirmed_it_and_a_new_stop_ends_it(tmp_path):
    _, state = begin(tmp_path / "j")
    state = evolve(state, ev.StopLatched(by="operator"))
    state = evolve(state, ev.StopReset(by="Ada", reason="steam"))
    assert (state.latched, state.resetting) == (None, ev.StopReset(by="Ada", reason="steam"))
    assert evolve(state, ev.ControllerStarted(epoch=2, pid=1, host="h")).resetting is not None
    state = evolve(state, ev.StopLatched(by="SIGINT"))
    assert state.resetting is None


def test_a_reset_needs_a_name_and_a_reason(tmp_path):
    with pytest.raises(CampaignError, match="--by NAME and --reason TEXT"):
        reset(LabDirectory(tmp_path), [], by=" ", reason="x")


def test_commands_that_were_under_way_are_still_waited_for(tmp_path):
    _, state = begin(tmp_path / "j")
    for event in decide(state).events:
        state = evolve(state, event)
    assert state.choosing is not None
    answer = asyncio.run(FakeScience().choose(loop_module.choice_order(state, state.choosing)))
    state = evolve(state, ev.ChoiceMade(decision=1, choices=answer.choices))
    recipe = asyncio.run(FakeScience().plan(answer.choices[0].candidate, state.offers()))
    for experiment in list(state.experiments):
        state = evolve(state, ev.RecipePlanned(experiment=experiment, recipe=recipe))
    while events := decide(state).events:
        for event in events:
            state = evolve(state, event)
    state = evolve(state, ev.StopLatched(by="operator"))
    assert any(isinstance(task, CommandTask) for task in decide(state).tasks)


# On the wire


def test_an_operator_key_stops_every_host_and_gets_the_table(tmp_path):
    async def scene():
        told = []
        create_lab_keys(tmp_path / "keys", ["a", "b"], operators=["ada"])
        async with lab(tmp_path, names=("a", "b")) as one:
            one.dispatcher._stopper._on_stop = lambda by, reason, table: told.append((by, reason, table))
            working = asyncio.create_task(one.dispatcher.execute("a", one.command("e1", sleep_s=30)))
            while not one.acts("a"):
                await asyncio.sleep(0.02)
            answer = await asyncio.to_thread(ask_as, "ada", one)
            assert answer is not None
            assert sorted(answer["acknowledged_ms"]) == ["a", "b"]
            assert (await working).stopped
            assert [(by, reason, table is None) for by, reason, table in told] == [
                ("ada", "smoke", True),
                ("ada", "smoke", False),
            ]
            with pytest.raises(Refused):
                await one.dispatcher.execute("b", one.command("e2"))
            assert not one.acts("b")

    asyncio.run(asyncio.wait_for(scene(), 120))


def test_a_host_that_comes_back_unlatched_after_a_stop_is_stopped_before_it_can_act(tmp_path):
    async def scene():
        async with lab(tmp_path) as one:
            one.kill()
            await one.dispatcher.stop_all("smoke", timeout_s=0.3)
            one.hosts.start()
            with pytest.raises(Refused, match="emergency stop"):
                await one.dispatcher.execute("toy", one.command("e1"))
            while not one.dispatcher.instruments["toy"].stopped:
                await asyncio.sleep(0.02)
            assert not one.acts()

    asyncio.run(asyncio.wait_for(scene(), 120))


def test_a_host_key_cannot_stop_the_lab(tmp_path):
    async def scene():
        async with lab(tmp_path, names=("a", "b")) as one:
            assert await asyncio.to_thread(ask_as, "a", one, 1.0) is None
            assert not one.dispatcher.stopping
            assert (await one.dispatcher.execute("b", one.command("e1"))).status == "ok"

    asyncio.run(asyncio.wait_for(scene(), 120))


def ask_as(name: str, one, timeout_s: float = 60.0) -> dict[str, Any] | None:
    """Ask for a stop with a key of the lab, as `athanor stop` does."""
    import time

    import zmq

    endpoints = read_endpoints(one.endpoint_file)
    assert endpoints is not None
    context = zmq.Context()
    client = Client(context, keys=one.keys, name=name)
    client.connect(endpoints["stop"])
    outbox, deadline = Outbox("s"), time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            client.send(outbox.wrap(Stop(stop_id="s1", reason="smoke")))
            if client.socket is not None and client.socket.poll(300) and (frames := client.receive()):
                body = decode(frames).body
                if body.verb == "health":
                    return body.facts
        return None
    finally:
        client.close()
        context.term()
