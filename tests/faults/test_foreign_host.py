"""A host written from docs/protocol.md alone keeps every promise of the protocol."""

from __future__ import annotations

import ast
import asyncio
import json
import sys

import pytest

from instruments.errors import OutcomeUnknown, Refused
from tests.faults.foreign import EXAMPLE, foreign_lab


def with_foreign_host(folder, scene):
    async def run():
        async with foreign_lab(folder) as lab:
            await asyncio.wait_for(scene(lab), 200)

    asyncio.run(run())


def test_it_is_a_hundred_lines_of_the_standard_library_and_pyzmq():
    text = EXAMPLE.read_text()
    tree = ast.parse(text)
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    roots = {x for n in nodes for x in ([n.module] if isinstance(n, ast.ImportFrom) else [a.name for a in n.names])}
    assert roots - set(sys.stdlib_module_names) == {"zmq"}
    docstring = tree.body[0].end_lineno or 0
    code = [line for line in text.splitlines()[docstring:] if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 100


def test_a_command_comes_back_with_readings_and_a_curve_and_is_acted_on_once_however_often_it_comes(tmp_path):
    async def scene(lab):
        command = lab.command("e1", seconds=0.3)
        waiting = asyncio.create_task(lab.dispatcher.execute("toy", command))
        await lab.acted()
        for _ in range(5):
            await lab.dispatcher._send("toy", command)
        report = await waiting
        assert report.readings == {"peak": 1.0}
        assert report.array("curve").max() == pytest.approx(1.0)
        await lab.dispatcher._send("toy", command)
        await lab.dispatcher.acknowledge("toy", command.command_id)
        assert await lab.dispatcher.execute("toy", command) == report
        await lab.dispatcher.acknowledge("toy", command.command_id)
        while not any("another content" in detail for _, _, detail in lab.events):
            await lab.dispatcher._send("toy", lab.command("e1", seconds=0.4))
            await asyncio.sleep(0.05)
        assert lab.acts() == [command.command_id]
        assert "garbage" not in {kind for kind, _, _ in lab.events}

    with_foreign_host(tmp_path, scene)


def test_what_it_cannot_do_is_refused(tmp_path):
    async def scene(lab):
        for parameters in ({"seconds": 61}, {"seconds": -1}, {"seconds": "long"}, {"capability": "fly"}):
            with pytest.raises(Refused):
                await lab.dispatcher.execute("toy", lab.command("e1", **parameters))
        assert lab.acts() == []

    with_foreign_host(tmp_path, scene)


def test_killed_amid_an_act_it_says_that_the_outcome_is_unknown_and_never_acts_again(tmp_path):
    async def scene(lab):
        done, cut_off = lab.command("e1"), lab.command("e2", seconds=30)
        report = await lab.dispatcher.execute("toy", done)  # not acknowledged
        waiting = asyncio.create_task(lab.dispatcher.execute("toy", cut_off))
        await lab.acted(2)
        lab.kill_host()
        with (tmp_path / "ledger.jsonl").open("a") as file:
            file.write('\n["half a li')
        lab.start_host()
        with pytest.raises(OutcomeUnknown):
            await waiting
        with pytest.raises(OutcomeUnknown):
            await lab.dispatcher.execute("toy", cut_off)
        assert await lab.dispatcher.execute("toy", done) == report
        assert (await lab.dispatcher.execute("toy", lab.command("e2", attempt=1))).status == "ok"
        assert lab.acts() == [done.command_id, cut_off.command_id, "run/e2/0/1"]

    with_foreign_host(tmp_path, scene)


def test_it_stops_amid_an_act_stays_stopped_over_a_restart_and_works_again_after_a_reset(tmp_path):
    async def scene(lab):
        working = asyncio.create_task(lab.dispatcher.execute("toy", lab.command("e1", seconds=30)))
        await lab.acted()
        assert set(await lab.dispatcher.stop_all("smoke")) == {"toy"}
        report = await working
        assert (report.status, report.stopped) == ("failed", True)
        lab.kill_host()
        lab.start_host()
        await lab.take_over(2)
        assert lab.dispatcher.instruments["toy"].stopped
        with pytest.raises(Refused, match="stopped"):
            await lab.dispatcher.execute("toy", lab.command("e2"))
        await lab.dispatcher.reset("toy", who="Ada", reason="it was steam")
        assert (await lab.dispatcher.execute("toy", lab.command("e2"))).status == "ok"
        assert lab.acts() == ["run/e1/0/0", "run/e2/0/0"]

    with_foreign_host(tmp_path, scene)


def test_it_obeys_the_higher_epoch_and_refuses_the_lower_one(tmp_path):
    async def scene(lab):
        assert (await lab.dispatcher.execute("toy", lab.command("e1"))).status == "ok"
        await lab.take_over(5)
        assert (await lab.dispatcher.execute("toy", lab.command("e2"))).status == "ok"
        await lab.take_over(4)
        with pytest.raises(Refused, match="epoch 4 is over"):
            await lab.dispatcher.execute("toy", lab.command("e3"))
        assert lab.acts() == ["run/e1/0/0", "run/e2/0/0"]

    with_foreign_host(tmp_path, scene)


def test_released_it_ends_and_its_ledger_says_all(tmp_path):
    hosts = []

    async def scene(lab):
        report = await lab.dispatcher.execute("toy", lab.command("e1"))
        await lab.dispatcher.acknowledge("toy", report.command_id)
        hosts.append(lab.host)
        await lab.dispatcher.close(release=True)
        await asyncio.to_thread(lab.host.wait, 60)

    with_foreign_host(tmp_path, scene)
    assert hosts[0].returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines() if line]
    states = [entry["state"] for which, entry in lines if which and "state" in entry]
    assert states == ["started", "done"]
    assert ["run/e1/0/0", {"kept": 1}] in lines
