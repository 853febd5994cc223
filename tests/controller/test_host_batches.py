"""Several samples in one act, on real host processes: all or nothing, each with its own answer, nothing twice."""

from __future__ import annotations

import asyncio

import pytest

from instruments.errors import OutcomeUnknown, Refused
from tests.controller.test_host_faults import in_lab, until_dead


def send(one, commands):
    return [asyncio.create_task(one.dispatcher.execute("toy", command)) for command in commands]


def ids(commands):
    return [command.command_id for command in commands]


async def gathered(tasks):
    return await asyncio.gather(*tasks, return_exceptions=True)


async def until(happened):
    while not happened():
        await asyncio.sleep(0.02)


def test_a_batch_is_one_act_and_every_sample_has_its_report(tmp_path):
    async def scene(one):
        batch = one.batch("a", "b", "c")
        reports = await gathered(send(one, reversed(batch)))
        assert [(r.command_id, r.status) for r in reports] == [(x, "ok") for x in reversed(ids(batch))]
        assert one.acts() == ids(batch)
        assert one.starts() == dict.fromkeys(ids(batch), 1)
        again = await gathered(send(one, batch))
        assert [r.command_id for r in again] == ids(batch)
        assert one.acts() == ids(batch)
        assert one.dispatcher.instruments["toy"].capabilities["fire"].batch == 3

    in_lab(tmp_path, scene)


def test_a_batch_waits_for_its_missing_member_and_lets_other_work_pass(tmp_path):
    async def scene(one):
        batch = one.batch("a", "b", "c")
        tasks = send(one, batch[:2])
        await until(lambda: len(one.dispatcher._flights) == 2)
        assert (await one.dispatcher.execute("toy", one.command("other"))).status == "ok"
        assert one.acts() == ["run/other/0/0"]
        assert not any(task.done() for task in tasks)
        reports = await gathered([*tasks, *send(one, batch[2:])])
        assert [r.status for r in reports] == ["ok"] * 3
        assert one.acts() == ["run/other/0/0", *ids(batch)]

    in_lab(tmp_path, scene)


def test_a_member_that_never_comes_ends_the_waiting_and_nothing_was_done(tmp_path):
    async def scene(one):
        batch = one.batch("a", "b")
        with pytest.raises(Refused, match="the rest of its batch did not come"):
            await one.dispatcher.execute("toy", batch[0])
        with pytest.raises(Refused, match="the rest of its batch did not come"):
            await one.dispatcher.execute("toy", batch[1])
        assert one.acts() == []
        assert one.starts() == {}

    in_lab(tmp_path, scene, lease_s=1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parameters": {"temperature_C": 1600}}, "outside the limits"),
        ({"parameters": {"temperature_C": 800}}, "one temperature_C"),
        ({"capability": "melt"}, "cannot melt"),
        ({"sample": "sample-a"}, "twice"),
    ],
)
def test_one_member_that_must_be_refused_breaks_the_whole_batch(tmp_path, change, says):
    async def scene(one):
        batch = one.batch("a", "b", "c")
        batch[1] = batch[1].model_copy(update=change)
        answers = await gathered(send(one, batch))
        assert all(isinstance(answer, Refused) and says in str(answer) for answer in answers), answers
        assert one.acts() == []
        assert one.starts() == {}
        assert (await one.dispatcher.execute("toy", one.command("next"))).status == "ok"

    in_lab(tmp_path, scene)


def test_more_samples_than_the_instrument_takes_are_refused(tmp_path):
    async def scene(one):
        answers = await gathered(send(one, one.batch("a", "b", "c", "d")))
        assert all(isinstance(answer, Refused) and "takes 3 samples" in str(answer) for answer in answers)
        assert one.acts() == []

    in_lab(tmp_path, scene)


def test_a_batch_takes_one_place_in_the_queue(tmp_path):
    async def scene(one):
        first, second = one.batch("a", "b", "c", sleep_s=0.5), one.batch("d", "e", "f")
        reports = await gathered(send(one, [*first, *second, one.command("g")]))
        assert [r.status for r in reports] == ["ok"] * 7
        acts = one.acts()
        assert len(acts) == 7
        assert [acts.index(x) - acts.index(first[0].command_id) for x in ids(first)] == [0, 1, 2]
        assert [acts.index(x) - acts.index(second[0].command_id) for x in ids(second)] == [0, 1, 2]

    in_lab(tmp_path, scene)


def test_a_stop_amid_a_batch_reaches_every_sample_and_refuses_the_batch_that_waits(tmp_path):
    async def scene(one):
        running, waiting = one.batch("a", "b", "c", sleep_s=30), one.batch("d", "e")
        tasks = send(one, running)
        await until(one.acts)
        queued = send(one, waiting)
        await until(lambda: len(one.starts()) == 5)
        assert "toy" in await one.dispatcher.stop_all("smoke")
        reports = await gathered(tasks)
        assert [r.stopped for r in reports] == [True] * 3
        assert reports[0].status == "failed"
        assert all(isinstance(x, Refused) for x in await gathered(queued))
        assert one.starts() == dict.fromkeys(ids(running), 1) | dict.fromkeys(ids(waiting), 0)
        assert not set(ids(waiting)) & set(one.acts())

    in_lab(tmp_path, scene)


def test_a_stop_while_a_batch_waits_for_a_member_refuses_all_of_it_for_ever(tmp_path):
    async def scene(one):
        batch = one.batch("a", "b")
        task = send(one, batch[:1])
        await asyncio.sleep(0.3)
        await one.dispatcher.stop_all("smoke")
        (answer,) = await gathered(task)
        assert isinstance(answer, Refused)
        await one.dispatcher.reset("toy", who="Ada", reason="no fire")
        with pytest.raises(Refused):
            await one.dispatcher.execute("toy", batch[1])
        again = await gathered(send(one, one.batch("a", "b", attempt=1)))
        assert [r.status for r in again] == ["ok", "ok"]
        assert one.acts() == ["run/a/0/1", "run/b/0/1"]

    in_lab(tmp_path, scene)


@pytest.mark.parametrize(
    ("moment", "sensor", "said"),
    [
        ("amid", "sensor", ["ok", "untouched", "untouched"]),
        pytest.param("before", "sensor", ["untouched"] * 3, marks=pytest.mark.slow),
        pytest.param("amid", "unknown", ["unknown"] * 3, marks=pytest.mark.slow),
    ],
)
def test_killed_amid_a_batch_each_sample_is_looked_back_at_on_its_own(tmp_path, moment, sensor, said):
    async def scene(one):
        batch = one.batch("a", "b", "c", crash=moment)
        tasks = send(one, batch)
        await until_dead(one)
        await one.restart()
        answers = await gathered(tasks)
        assert ["unknown" if isinstance(x, OutcomeUnknown) else x.status for x in answers] == said
        assert one.starts() == dict.fromkeys(ids(batch), 1)
        assert one.acts() == ids(batch)[: said.count("ok") or (moment == "amid")]
        again = await gathered(send(one, one.batch("b", "c", attempt=1)))
        assert [r.status for r in again] == ["ok", "ok"]

    in_lab(tmp_path, scene, inspect=sensor)


def test_killed_while_members_wait_the_batch_runs_once_after_the_restart(tmp_path):
    async def scene(one):
        batch = one.batch("a", "b")
        tasks = send(one, batch[:1])
        await asyncio.sleep(0.2)
        one.kill()
        await one.restart()
        reports = await gathered([*tasks, *send(one, batch[1:])])
        assert [r.status for r in reports] == ["ok", "ok"]
        assert one.acts() == ids(batch)
        assert one.starts() == dict.fromkeys(ids(batch), 1)

    in_lab(tmp_path, scene)


def test_a_driver_that_answers_for_too_few_samples_is_a_fault_of_every_sample(tmp_path):
    async def scene(one):
        reports = await gathered(send(one, one.batch("a", "b", only=1)))
        assert [r.status for r in reports] == ["fault", "fault"]
        assert "must return a list of 2 outcomes" in reports[1].message

    in_lab(tmp_path, scene)


def test_a_new_controller_sends_the_batch_again_and_it_runs_once(tmp_path):
    async def scene(one):
        batch = one.batch("a", "b")
        old = send(one, batch[:1])
        await asyncio.sleep(0.2)
        await one.dispatcher.close(release=False)
        await gathered(old)
        one.dispatcher = one.new_dispatcher(epoch=2)
        await one.dispatcher.start()
        reports = await gathered(send(one, batch))
        assert [r.status for r in reports] == ["ok", "ok"]
        assert one.starts() == dict.fromkeys(ids(batch), 1)

    in_lab(tmp_path, scene)
