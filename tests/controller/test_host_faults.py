"""Kill a host at every point of a command's life: the answer is right each time, and nothing runs twice."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time

import pytest

from instruments.errors import OutcomeUnknown, Refused
from instruments.keys import create_lab_keys
from instruments.messages import Known
from tests.controller.toy_lab import lab

BOTH_HANDS = pytest.mark.parametrize("prompt", [False, True], ids=["own thread", "prompt"])


def in_lab(tmp_path, scene, **settings):
    async def run():
        async with lab(tmp_path, **settings) as one:
            await asyncio.wait_for(scene(one), 120)

    asyncio.run(run())


async def until_dead(one, name="toy"):
    while one.hosts.pids()[name] is not None:
        await asyncio.sleep(0.02)


@BOTH_HANDS
def test_killed_before_the_command_arrives_it_runs_once_after_the_restart(tmp_path, prompt):
    async def scene(one):
        command = one.command()
        one.kill()
        waiting = asyncio.create_task(one.dispatcher.execute("toy", command))
        await asyncio.sleep(0.2)
        await one.restart()
        assert (await waiting).status == "ok"
        assert one.acts() == [command.command_id]
        assert one.starts() == {command.command_id: 1}

    in_lab(tmp_path, scene, prompt=prompt)


def test_killed_between_received_and_started_it_runs_once_after_the_restart(tmp_path):
    async def scene(one):
        first, second = one.command("e1", sleep_s=20), one.command("e2")
        blocked = asyncio.create_task(one.dispatcher.execute("toy", first))
        while not one.acts():
            await asyncio.sleep(0.02)
        waiting = asyncio.create_task(one.dispatcher.execute("toy", second))
        while second.command_id not in one.starts():
            await asyncio.sleep(0.02)
        assert one.starts()[second.command_id] == 0
        one.kill()
        await one.restart()
        assert (await waiting).status == "ok"
        with pytest.raises(OutcomeUnknown):
            await blocked
        assert one.acts() == [first.command_id, second.command_id]
        assert one.starts() == {first.command_id: 1, second.command_id: 1}

    in_lab(tmp_path, scene)


@BOTH_HANDS
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_between_started_and_done_without_a_sensor_the_outcome_is_unknown(tmp_path, moment, prompt):
    async def scene(one):
        command = one.command(crash=moment)
        waiting = asyncio.create_task(one.dispatcher.execute("toy", command))
        await until_dead(one)
        await one.restart()
        with pytest.raises(OutcomeUnknown, match="the driver cannot tell") as caught:
            await waiting
        assert caught.value.command_id == command.command_id
        with pytest.raises(OutcomeUnknown):
            await one.dispatcher.execute("toy", command)
        one.kill()
        await one.restart()
        with pytest.raises(OutcomeUnknown):
            await one.dispatcher.execute("toy", command)
        assert one.acts() == ([] if moment == "before" else [command.command_id])
        assert one.starts() == {command.command_id: 1}
        assert (await one.dispatcher.execute("toy", one.command(attempt=1))).status == "ok"

    in_lab(tmp_path, scene, prompt=prompt)


@pytest.mark.parametrize(("moment", "status"), [("before", "untouched"), ("after", "ok")])
def test_killed_between_started_and_done_a_sensor_tells_what_happened(tmp_path, moment, status):
    async def scene(one):
        command = one.command(crash=moment)
        waiting = asyncio.create_task(one.dispatcher.execute("toy", command))
        await until_dead(one)
        await one.restart()
        report = await waiting
        assert (report.status, report.source) == (status, "inspection")
        assert one.starts() == {command.command_id: 1}
        assert len(one.acts()) == (moment == "after")

    in_lab(tmp_path, scene, inspect="sensor")


@BOTH_HANDS
def test_killed_after_done_before_the_acknowledgement_the_same_report_comes_again(tmp_path, prompt):
    async def scene(one):
        command = one.command(points=100)
        first = await one.dispatcher.execute("toy", command)
        one.kill()
        await one.dispatcher.close(release=False)
        one.dispatcher = one.new_dispatcher(epoch=2)
        await one.dispatcher.start()
        one.hosts.start()
        again = await one.dispatcher.execute("toy", command)
        assert again == first
        await one.dispatcher.acknowledge("toy", command.command_id)
        assert one.acts() == [command.command_id]
        assert one.starts() == {command.command_id: 1}

    in_lab(tmp_path, scene, prompt=prompt)


def test_killed_after_the_acknowledgement_the_report_is_still_there(tmp_path):
    async def scene(one):
        command = one.command(points=100)
        first = await one.dispatcher.execute("toy", command)
        await one.dispatcher.acknowledge("toy", command.command_id)
        await asyncio.sleep(0.3)
        one.kill()
        await one.restart()
        assert await one.dispatcher.execute("toy", command) == first
        assert one.starts() == {command.command_id: 1}

    in_lab(tmp_path, scene)


def test_a_host_that_hangs_is_lost_and_found_again_with_its_work(tmp_path):
    async def scene(one):
        command = one.command(sleep_s=0.5)
        waiting = asyncio.create_task(one.dispatcher.execute("toy", command))
        while not one.acts():
            await asyncio.sleep(0.02)
        pid = one.hosts.pids()["toy"]
        os.kill(pid, signal.SIGSTOP)
        try:
            while one.dispatcher.instruments["toy"].connected:
                await asyncio.sleep(0.02)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (await waiting).status == "ok"
        assert one.hosts.pids()["toy"] == pid
        assert one.acts() == [command.command_id]

    in_lab(tmp_path, scene)


def test_sigterm_stops_the_driver_and_keeps_what_came_of_the_command(tmp_path):
    async def scene(one):
        command = one.command(sleep_s=30)
        waiting = asyncio.create_task(one.dispatcher.execute("toy", command))
        while not one.acts():
            await asyncio.sleep(0.02)
        os.kill(one.hosts.pids()["toy"], signal.SIGTERM)
        await until_dead(one)
        one.hosts.start()
        report = await waiting
        assert (report.status, report.stopped) == ("failed", True)
        assert one.starts() == {command.command_id: 1}

    in_lab(tmp_path, scene)


def test_a_driver_that_cannot_be_loaded_ends_its_host_with_a_reason(tmp_path):
    from controller.hosts import HostSpec, LocalHosts

    create_lab_keys(tmp_path / "keys", ["x"])
    events = []
    hosts = LocalHosts(
        tmp_path,
        [HostSpec("x", "no_such_module:Nothing")],
        keys=tmp_path / "keys",
        endpoint_file=tmp_path / "endpoints.json",
        on_event=lambda *event: events.append(event),
    )
    hosts.start()
    deadline = time.monotonic() + 60
    while not any(kind == "host-ended" for kind, _, _ in events) and time.monotonic() < deadline:
        hosts.supervise()
        time.sleep(0.02)
    hosts.terminate()
    ended = [detail for kind, _, detail in events if kind == "host-ended"]
    assert ended
    assert "exit code 4" in ended[0]
    assert "no_such_module" in (tmp_path / "hosts" / "x.log").read_text()


@BOTH_HANDS
def test_a_ledger_that_cannot_be_written_refuses_the_command_and_nothing_happens(tmp_path, prompt):
    async def scene(one):
        await one.dispatcher.execute("toy", one.command("e0"))  # the epoch is on disk
        toy = one.hosts.pids()["toy"]
        unlimited = resource.prlimit(toy, resource.RLIMIT_FSIZE)
        resource.prlimit(toy, resource.RLIMIT_FSIZE, (0, unlimited[1]))  # as a full disk would: every write fails
        try:
            with pytest.raises(Refused, match="cannot record the start"):
                await one.dispatcher.execute("toy", one.command("e1"))
        finally:
            resource.prlimit(toy, resource.RLIMIT_FSIZE, unlimited)
        assert len(one.acts()) == 1
        assert (await one.dispatcher.execute("toy", one.command("e1"))).status == "ok"
        assert len(one.acts()) == 2

    in_lab(tmp_path, scene, prompt=prompt)


def test_a_query_starts_nothing(tmp_path):
    async def scene(one):
        answers = []
        known = one.dispatcher._known

        async def spy(info, answer):
            answers.append(answer)
            await known(info, answer)

        one.dispatcher._known = spy
        from instruments.messages import Query

        await one.dispatcher._send("toy", Query(command_id="run/never/0/0"))
        while not answers:
            await asyncio.sleep(0.02)
        assert answers == [Known(command_id="run/never/0/0", state="absent")]
        assert one.starts() == {}

    in_lab(tmp_path, scene)


@pytest.mark.slow
def test_sixty_random_kills_lose_nothing_and_repeat_nothing(tmp_path):
    import random

    async def scene(one):
        dice, unknown, done = random.Random(7), 0, 0

        async def killer():
            while True:
                await asyncio.sleep(dice.uniform(0.0, 0.25))
                pid = one.hosts.pids()["toy"]
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    kills.append(pid)
                await asyncio.to_thread(one.hosts.start)
                await asyncio.sleep(0.6)

        kills: list[int] = []
        killing = asyncio.create_task(killer())
        number, reports = 0, {}
        while len(kills) < 60:
            number += 1
            command = one.command(f"e{number}", sleep_s=dice.choice([0.0, 0.02, 0.1]))
            try:
                reports[command.command_id] = await one.dispatcher.execute("toy", command)
                done += 1
            except OutcomeUnknown:
                unknown += 1
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        one.hosts.start()
        starts, acts = one.starts(), one.acts()
        assert len(acts) == len(set(acts))
        assert max(starts.values()) == 1
        assert set(reports) <= set(acts)
        assert done + unknown == number
        print(f"{len(kills)} kills, {number} commands, {done} done, {unknown} unknown, 0 repeated")

    async def run():
        async with lab(tmp_path) as one:
            await asyncio.wait_for(scene(one), 300)

    asyncio.run(run())
