"""Roles on the wire: who may stop, who may look, who may do neither; and what a host refuses by its own file."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import zmq

from controller import callers
from controller.callers import Callers
from controller.hosts import HostSpec, LocalHosts
from instruments import messages
from instruments.errors import Refused
from instruments.keys import create_lab_keys
from instruments.limits import Bounds, Envelope
from instruments.messages import Look, Outbox, Query, Stop, decode
from instruments.transport import Client, Peer, address_of, read_endpoints
from tests.controller.toy_lab import lab


def asked(one, name: str, request: Any, timeout_s: float = 60.0) -> Any:
    """Ask on the stop socket with somebody's key; the body of the first answer, or None."""
    endpoints = read_endpoints(one.endpoint_file)
    assert endpoints is not None
    context = zmq.Context()
    client = Client(context, keys=one.keys, name=name)
    client.connect(endpoints["stop"])
    outbox, deadline = Outbox("s"), time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            client.send(outbox.wrap(request))
            if client.socket is not None and client.socket.poll(300) and (frames := client.receive()):
                return decode(frames).body
        return None
    finally:
        client.close()
        context.term()


def test_an_observer_may_look_and_nothing_else_and_an_operator_both(tmp_path):
    async def scene():
        create_lab_keys(tmp_path / "keys", ["toy"], operators=["ada"], observers=["bob"])
        async with lab(tmp_path) as one:

            async def ask(name: str, request: Any, timeout_s: float = 60.0) -> Any:
                return await asyncio.to_thread(asked, one, name, request, timeout_s)

            for name in ("bob", "ada"):
                picture = await ask(name, Look(look_id="l1"))
                assert picture.look_id == "l1"
                assert picture.lab["controller"]["epoch"] == 1
                assert picture.lab["instruments"]["toy"]["connected"] is True
                assert picture.lab["instruments"]["toy"]["capabilities"] == ["act", "fire", "look"]
            for name, request in (("bob", Stop(stop_id="s1", reason="x")), ("ada", Query(command_id="c"))):
                refused = await ask(name, request)
                assert isinstance(refused, messages.Refused)
                assert f"may not ask for '{request.verb}'" in refused.reason
            logged = [detail for kind, who, detail in one.events if kind == "refused" and who == "bob"]
            assert "observer bob may not ask for 'stop'" in logged[0]
            assert not one.dispatcher.stopping
            assert (await one.dispatcher.execute("toy", one.command("e1"))).status == "ok"
            assert await ask("toy", Look(look_id="l2"), 1.0) is None, "a host's key shows nothing"
            assert (await ask("ada", Stop(stop_id="s2", reason="smoke"))).facts["stop_id"] == "s2"
            assert one.dispatcher.stopping

    asyncio.run(asyncio.wait_for(scene(), 300))


def test_a_key_that_is_in_no_registry_gets_no_answer_and_is_noted(tmp_path):
    async def scene():
        create_lab_keys(tmp_path / "stranger", ["eve"])
        async with lab(tmp_path) as one:
            (one.keys / "eve.key").write_bytes((tmp_path / "stranger" / "eve.key").read_bytes())
            (one.keys / "eve.key").chmod(0o600)
            assert await asyncio.to_thread(asked, one, "eve", Look(look_id="l"), 2.0) is None
            async with asyncio.timeout(60):
                while not any("knocked at the stop socket" in x for kind, _, x in one.events if kind == "refused"):
                    assert await asyncio.to_thread(asked, one, "eve", Look(look_id="l"), 0.5) is None

    asyncio.run(asyncio.wait_for(scene(), 300))


def test_a_picture_that_is_too_long_leaves_the_facts_out_and_is_sent():
    answers: list[Any] = []

    async def answer(peer: Peer, body: Any) -> None:
        answers.append(body)

    def picture() -> dict[str, Any]:
        facts = {"log": "x" * (callers.MAX_PICTURE_BYTES // 2)}
        return {"controller": {}, "instruments": {str(n): {"busy": None, "facts": facts} for n in range(4)}}

    async def never(reason: str, by: str) -> dict[str, float | None]:
        raise AssertionError("nobody asked for a stop")

    one = Callers(stop=never, picture=picture, answer=answer, tell=lambda *_: None)
    asyncio.run(one.hear(Peer("bob", "observer", b""), Look(look_id="l")))
    assert answers[0].lab["instruments"]["3"] == {"busy": None, "facts": "left out: too long"}


def test_a_host_refuses_what_breaks_the_envelope_in_its_own_file_whatever_the_controller_asks(tmp_path):
    async def scene():
        envelope = Envelope(limits={"act.temperature_C": Bounds(high=900)}, allowed={"act.gas": ("air", "N2")})
        async with lab(tmp_path, names=()) as one:
            create_lab_keys(one.keys, ["toy"])
            await one.dispatcher.close(release=False)
            one.dispatcher = one.new_dispatcher()
            await one.dispatcher.start()
            one.names = ("toy",)
            one.hosts = LocalHosts(
                tmp_path,
                [HostSpec("toy", "tests.controller.toy_lab:Toy", {}, envelope)],
                keys=one.keys,
                endpoint_file=one.endpoint_file,
                heartbeat_s=one.heartbeat_s,
            )
            one.hosts.start()
            await one.dispatcher.wait_for(["toy"], 60)
            safe = {"temperature_C": 800, "gas": "air"}
            for number, (change, words) in enumerate(
                [
                    ({"temperature_C": 1000}, "act.temperature_C = 1000 is outside  .. 900"),
                    ({"gas": "H2"}, "act.gas = 'H2' is not allowed"),
                    ({"gas": None}, "act.gas = None is not allowed"),
                ]
            ):
                with pytest.raises(Refused, match="outside the lab's envelope") as error:
                    await one.dispatcher.execute("toy", one.command(f"e{number}", **{**safe, **change}))
                assert words in str(error.value)
            assert not one.acts()
            assert (await one.dispatcher.execute("toy", one.command("e9", **safe))).status == "ok"

    asyncio.run(asyncio.wait_for(scene(), 300))


def test_the_stop_channel_has_the_port_after_the_work_channels():
    assert address_of("work", "tcp://h:5570") == "tcp://h:5570"
    assert address_of("stop", "tcp://h:5570") == "tcp://h:5571"
    assert address_of("stop", "tcp://127.0.0.1:*") == "tcp://127.0.0.1:*"
