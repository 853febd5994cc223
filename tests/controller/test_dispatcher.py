"""Commands out, reports in, each executed at most once: with real host processes on real sockets."""

from __future__ import annotations

import asyncio
import math
import os
import time
import uuid

import pytest
import zmq

from instruments import messages
from instruments.arrays import from_array
from instruments.errors import Fenced, InstrumentLost, LabError, OutcomeUnknown, Refused
from instruments.keys import create_lab_keys
from instruments.messages import Announce, Heartbeat, Outbox, Report, decode
from instruments.transport import Client, read_endpoints
from tests.controller.toy_lab import lab
from tests.faults.evidence import ledger


def in_lab(tmp_path, scene, **settings):
    async def run():
        async with lab(tmp_path, **settings) as one:
            await asyncio.wait_for(scene(one), 120)

    asyncio.run(run())


def test_a_command_comes_back_with_its_readings_arrays_and_progress(tmp_path):
    seen = []

    async def scene(one):
        info = one.dispatcher.instruments["toy"]
        assert info.capabilities["act"].limits["temperature_C"].high == 1500
        report = await one.dispatcher.execute("toy", one.command(points=4000), lambda *x: seen.append(x))
        assert (report.status, report.readings) == ("ok", {"reading": 1.0})
        assert report.array("pattern").tolist() == [float(i) for i in range(4000)]
        await one.dispatcher.acknowledge("toy", report.command_id)
        assert seen == [(0.5, "half way")]

    in_lab(tmp_path, scene)


def test_nan_arrives_as_nan_for_the_gate_to_see(tmp_path):
    async def scene(one):
        report = await one.dispatcher.execute("toy", one.command(nan=True))
        assert math.isnan(report.readings["reading"])

    in_lab(tmp_path, scene)


def test_a_driver_that_raises_is_a_fault_and_the_next_command_runs(tmp_path):
    async def scene(one):
        report = await one.dispatcher.execute("toy", one.command("e1", **{"raise": "the pump is dry"}))
        assert report.status == "fault"
        assert "the pump is dry" in report.message
        assert (await one.dispatcher.execute("toy", one.command("e2"))).status == "ok"

    in_lab(tmp_path, scene)


def test_a_command_sent_many_times_is_executed_once(tmp_path):
    async def scene(one):
        command = one.command(sleep_s=0.5)
        together = [one.dispatcher.execute("toy", command) for _ in range(3)]
        resends = [one.dispatcher._send("toy", command) for _ in range(5)]
        reports = await asyncio.gather(*together)
        await asyncio.gather(*resends)
        assert len({report.message for report in reports}) == 1
        await one.dispatcher.acknowledge("toy", command.command_id)
        again = await one.dispatcher.execute("toy", command)
        assert again == reports[0]
        assert one.acts() == [command.command_id]
        assert one.starts() == {command.command_id: 1}

    in_lab(tmp_path, scene)


def test_one_call_may_be_cancelled_while_another_waits_for_the_same_command(tmp_path):
    async def scene(one):
        command = one.command(sleep_s=0.5)
        first = asyncio.create_task(one.dispatcher.execute("toy", command))
        second = asyncio.create_task(one.dispatcher.execute("toy", command))
        await asyncio.sleep(0.1)
        first.cancel()
        assert (await second).status == "ok"
        assert len(one.acts()) == 1

    in_lab(tmp_path, scene)


def test_the_same_id_with_another_content_is_refused(tmp_path):
    async def scene(one):
        report = await one.dispatcher.execute("toy", one.command(temperature_C=100))
        await one.dispatcher.acknowledge("toy", report.command_id)
        with pytest.raises(Refused, match="another content"):
            await one.dispatcher.execute("toy", one.command(temperature_C=200))
        assert len(one.acts()) == 1

    in_lab(tmp_path, scene)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"temperature_C": 1501}, "outside the limits"),
        ({"temperature_C": "hot"}, "must be a number"),
        ({"capability": "fly"}, "cannot fly; this instrument can: act, fire, look"),
    ],
)
def test_what_the_instrument_must_not_do_is_refused_by_the_host_itself(tmp_path, changes, reason):
    async def scene(one):
        with pytest.raises(Refused, match=reason):
            await one.dispatcher.execute("toy", one.command(**changes))
        assert one.acts() == []
        assert one.starts() == {}

    in_lab(tmp_path, scene)


def test_commands_queue_and_none_is_lost_when_more_come_than_the_host_takes(tmp_path):
    async def scene(one):
        commands = [one.command(f"e{i}", sleep_s=0.1) for i in range(6)]
        reports = await asyncio.gather(*(one.dispatcher.execute("toy", command) for command in commands))
        assert {report.status for report in reports} == {"ok"}
        assert sorted(one.acts()) == sorted(command.command_id for command in commands)

    in_lab(tmp_path, scene)


def test_a_controller_with_a_lower_epoch_is_refused(tmp_path):
    async def scene(one):
        await one.dispatcher.execute("toy", one.command("e1"))
        await one.dispatcher.close(release=False)
        one.dispatcher = one.new_dispatcher(epoch=5)
        await one.dispatcher.start()
        await one.dispatcher.wait_for(["toy"], 60)
        await one.dispatcher.execute("toy", one.command("e2"))
        await one.dispatcher.close(release=False)
        old = one.dispatcher = one.new_dispatcher(epoch=4)
        await old.start()
        await old.wait_for(["toy"], 60)
        with pytest.raises(Refused, match="epoch 4 is over"):
            await old.execute("toy", one.command("e3"))
        assert "fenced" in one.kinds()
        assert len(one.acts()) == 2
        await old.close(release=False)
        one.dispatcher = one.new_dispatcher(epoch=5)
        await one.dispatcher.start()
        await one.dispatcher.wait_for(["toy"], 60)

    in_lab(tmp_path, scene)


def test_a_restarted_controller_gets_the_report_that_its_predecessor_missed(tmp_path):
    async def scene(one):
        command = one.command(sleep_s=0.4)
        waiting = asyncio.create_task(one.dispatcher.execute("toy", command))
        while not one.acts():
            await asyncio.sleep(0.02)
        await one.dispatcher.close(release=False)
        await asyncio.gather(waiting, return_exceptions=True)
        one.dispatcher = one.new_dispatcher(epoch=2)
        await one.dispatcher.start()
        report = await one.dispatcher.execute("toy", command)
        assert report.status == "ok"
        assert one.starts() == {command.command_id: 1}
        assert one.acts() == [command.command_id]

    in_lab(tmp_path, scene)


def test_a_report_for_an_unknown_command_is_told_and_kept_and_breaks_nothing(tmp_path):
    async def scene(one):
        command = one.command("e1")
        await one.dispatcher.execute("toy", command)
        await one.dispatcher.close(release=False)
        one.dispatcher = one.new_dispatcher(epoch=2)
        await one.dispatcher.start()
        while "unexpected" not in one.kinds():
            await asyncio.sleep(0.02)
        assert (await one.dispatcher.execute("toy", one.command("e2"))).status == "ok"
        assert (await one.dispatcher.execute("toy", command)).status == "ok"
        assert len(one.acts()) == 2

    in_lab(tmp_path, scene)


def test_an_unacknowledged_report_comes_again_and_an_acknowledged_one_does_not(tmp_path):
    async def scene(one):
        got = []
        reported = one.dispatcher._reported

        async def spy(info, report):
            got.append(report.command_id)
            await reported(info, report)

        one.dispatcher._reported = spy
        kept, acknowledged = one.command("e1"), one.command("e2")
        await one.dispatcher.execute("toy", kept)
        await one.dispatcher.execute("toy", acknowledged)
        await one.dispatcher.acknowledge("toy", acknowledged.command_id)
        while not ledger(one.hosts.ledgers()["toy"])[acknowledged.command_id]["acknowledged"]:
            await asyncio.sleep(0.05)
        before = got.count(acknowledged.command_id)
        while got.count(kept.command_id) < 3:
            await asyncio.sleep(0.05)
        assert got.count(acknowledged.command_id) == before

    in_lab(tmp_path, scene)


def test_stop_reaches_the_driver_while_it_works_and_stays_until_a_person_resets_it(tmp_path):
    async def scene(one):
        working = asyncio.create_task(one.dispatcher.execute("toy", one.command("e1", sleep_s=30)))
        waiting = asyncio.create_task(one.dispatcher.execute("toy", one.command("e2")))
        while not one.acts():
            await asyncio.sleep(0.02)
        acknowledged = await one.dispatcher.stop_all("smoke")
        assert set(acknowledged) == {"toy"}
        report = await working
        assert (report.status, report.stopped) == ("failed", True)
        with pytest.raises(Refused, match="stop"):
            await waiting
        with pytest.raises(Refused, match="reset it first"):
            await one.dispatcher.execute("toy", one.command("e3"))
        one.kill()
        await one.restart()
        assert one.dispatcher.instruments["toy"].stopped
        with pytest.raises(Refused, match="reset it first"):
            await one.dispatcher.execute("toy", one.command("e3"))
        await one.dispatcher.reset("toy", who="Ada", reason="it was steam")
        assert (await one.dispatcher.execute("toy", one.command("e3"))).status == "ok"
        assert len(one.acts()) == 2

    in_lab(tmp_path, scene)


def test_stop_is_acknowledged_by_all_who_live_and_the_dead_are_missing(tmp_path):
    async def scene(one):
        one.kill("b")
        acknowledged = await one.dispatcher.stop_all(timeout_s=2.0)
        assert set(acknowledged) == {"a", "c"}
        for name in ("a", "c"):
            await one.dispatcher.reset(name, who="Ada", reason="test")

    in_lab(tmp_path, scene, names=("a", "b", "c"))


def test_a_host_whose_controller_falls_silent_finishes_its_step_and_starts_nothing_that_waits(tmp_path):
    async def scene(one):
        first, second = one.command("e1", until=str(tmp_path / "done")), one.command("e2")
        tasks = [asyncio.create_task(one.dispatcher.execute("toy", command)) for command in (first, second)]
        while not one.acts() or second.command_id not in one.starts():
            await asyncio.sleep(0.02)
        await one.dispatcher.close(release=False)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.8)  # longer than the lease
        (tmp_path / "done").touch()
        log = tmp_path / "hosts" / "toy.log"
        while "going to the safe state" not in log.read_text():
            await asyncio.sleep(0.05)
        assert one.acts() == [first.command_id]
        one.dispatcher = one.new_dispatcher(epoch=2)
        await one.dispatcher.start()
        report = await one.dispatcher.execute("toy", first)
        assert (report.status, report.stopped) == ("ok", False)
        assert (await one.dispatcher.execute("toy", second)).status == "ok"
        assert one.starts() == {first.command_id: 1, second.command_id: 1}

    in_lab(tmp_path, scene, lease_s=0.5)


def test_missing_instruments_are_named(tmp_path):
    async def scene(one):
        with pytest.raises(LabError, match="no word from balance, oven"):
            await one.dispatcher.wait_for(["toy", "oven", "balance"], 0.3)

    in_lab(tmp_path, scene)


def test_an_instrument_that_never_comes_is_lost_not_waited_for_forever(tmp_path):
    create_lab_keys(tmp_path / "keys", [])

    async def scene(one):
        await one.dispatcher.close(release=True)
        one.dispatcher = one.new_dispatcher(loss_timeout_s=0.5)
        await one.dispatcher.start()
        with pytest.raises(InstrumentLost, match="oven has been silent"):
            await one.dispatcher.execute("oven", one.command())

    in_lab(tmp_path, scene)


class FakeHost:
    """An authentic host that says what the test wants."""

    def __init__(self, one, name="fake"):
        create_lab_keys(one.keys, [name])
        self.context, self.outbox, self.name = zmq.Context(), Outbox(uuid.uuid4().hex), name
        self.client = Client(self.context, keys=one.keys, name=name)

    async def attach(self, one):
        one.dispatcher._server._registry.__init__(**create_lab_keys(one.keys, [self.name]).model_dump())
        endpoints = read_endpoints(one.endpoint_file)
        assert endpoints is not None
        self.client.connect(endpoints["work"])
        while self.name not in one.dispatcher.instruments:
            self.say(Announce(instrument=self.name))
            await asyncio.sleep(0.02)

    def say(self, body):
        self.client.send(self.outbox.wrap(body))

    async def hear(self, kind):
        while True:
            frames = self.client.receive()
            if frames is None:
                await asyncio.sleep(0.01)
            elif isinstance(body := decode(frames).body, kind):
                return body

    def close(self):
        self.client.close()
        self.context.term()


def with_fake(tmp_path, scene, **settings):
    async def wrapped(one):
        await one.dispatcher.close(release=True)
        fake = FakeHost(one)
        one.dispatcher = one.new_dispatcher(**settings)
        await one.dispatcher.start()
        try:
            await fake.attach(one)
            await scene(one, fake)
        finally:
            fake.close()

    in_lab(tmp_path, wrapped)


def test_a_host_cannot_speak_for_another_instrument(tmp_path):
    async def scene(one, fake):
        fake.say(Announce(instrument="toy"))
        while not any("says it is 'toy'" in detail for _, _, detail in one.events):
            await asyncio.sleep(0.02)
        assert "toy" not in one.dispatcher.instruments

    with_fake(tmp_path, scene)


def test_a_damaged_array_is_dropped_and_the_whole_one_taken(tmp_path):
    async def scene(one, fake):
        command = one.command()
        waiting = asyncio.create_task(one.dispatcher.execute("fake", command))
        await fake.hear(messages.Command)
        header, frame = from_array("a", [1.0, 2.0])
        report = Report(command_id=command.command_id, status="ok", arrays=(header,)).with_frames([frame])
        head, good = fake.outbox.wrap(report)
        fake.client.send([head, b"\x00" * len(good)])
        while "garbage" not in one.kinds():
            await asyncio.sleep(0.02)
        assert not waiting.done()
        fake.say(report)
        assert (await waiting).array("a").tolist() == [1.0, 2.0]

    with_fake(tmp_path, scene)


def test_a_host_that_only_babbles_about_a_command_leaves_its_outcome_unknown(tmp_path):
    async def scene(one, fake):
        command = one.command()
        waiting = asyncio.create_task(one.dispatcher.execute("fake", command))
        await fake.hear(messages.Command)
        fake.say(messages.Accepted(command_id=command.command_id))
        for _ in range(10):
            fake.client.send([b'{"protocol": 1}'])
        with pytest.raises(OutcomeUnknown, match="unreadably"):
            await waiting

    with_fake(tmp_path, scene)


def test_a_replayed_message_is_dropped(tmp_path):
    async def scene(one, fake):
        command = one.command()
        seen = []
        waiting = asyncio.create_task(one.dispatcher.execute("fake", command, lambda *x: seen.append(x)))
        await fake.hear(messages.Command)
        frames = fake.outbox.wrap(messages.Progress(command_id=command.command_id, fraction=0.25))
        for _ in range(3):
            fake.client.send(frames)
        fake.say(Report(command_id=command.command_id, status="ok"))
        await waiting
        assert seen == [(0.25, "")]

    with_fake(tmp_path, scene)


def test_an_accepted_command_of_a_taken_over_lab_is_given_up_and_not_called_unknown(tmp_path):
    async def scene(one, fake):
        command = one.command()
        waiting = asyncio.create_task(one.dispatcher.execute("fake", command))
        await fake.hear(messages.Command)
        fake.say(messages.Accepted(command_id=command.command_id))
        fake.outbox.epoch = 9
        fake.say(messages.Refused(reason="epoch 1 is over"))
        with pytest.raises(Fenced, match="a controller with epoch 9 has the lab"):
            await waiting

    with_fake(tmp_path, scene)


def test_a_host_that_falls_silent_amid_a_command_is_lost_with_what_was_known(tmp_path):
    async def scene(one, fake):
        command = one.command()
        waiting = asyncio.create_task(one.dispatcher.execute("fake", command))
        await fake.hear(messages.Command)
        fake.say(messages.Progress(command_id=command.command_id, fraction=0.5, message="melting"))
        with pytest.raises(InstrumentLost, match="50% melting"):
            await waiting
        assert "lost" in one.kinds()

    with_fake(tmp_path, scene, loss_timeout_s=1.5)


def test_a_stranger_to_this_controller_is_asked_to_announce_itself(tmp_path):
    async def scene(one, fake):
        fake.outbox = Outbox("another-process")
        fake.say(messages.Health())
        while (await fake.hear(Heartbeat)).lease_s != 0:
            pass

    with_fake(tmp_path, scene)


def test_a_failing_callback_does_not_stop_the_dispatcher(tmp_path):
    async def scene(one):
        def broken(*_):
            raise RuntimeError("dashboard is gone")

        one.dispatcher._on_event = broken
        report = await one.dispatcher.execute("toy", one.command(), broken)
        assert report.status == "ok"

    in_lab(tmp_path, scene)


def test_the_host_survives_garbage_from_its_controller(tmp_path):
    async def scene(one):
        line = one.dispatcher._lines["toy"]
        for junk in ([b""], [b"{}"], [b"\xff" * 1000], [b"{}"] * 50):
            await one.dispatcher._server.send("work", line.route, junk)
            await one.dispatcher._server.send("stop", line.stop_route, junk)
        assert (await one.dispatcher.execute("toy", one.command())).status == "ok"
        assert "was dropped" in (tmp_path / "hosts" / "toy.log").read_text()
        assert set(await one.dispatcher.stop_all()) == {"toy"}

    in_lab(tmp_path, scene)


def test_no_process_and_no_listening_socket_is_left_after_a_release(tmp_path):
    pids = []

    async def scene(one):
        pids.extend(one.hosts.pids().values())
        await one.dispatcher.execute("toy", one.command())

    in_lab(tmp_path, scene)
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert pids
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
