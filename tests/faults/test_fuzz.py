"""Hostile bytes at every door: nobody crashes, nobody grows, and an honest peer is answered afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from typing import Any
from urllib.parse import urlparse

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instruments import messages
from instruments.errors import ProtocolError
from instruments.messages import Outbox, Report, decode, encode
from instruments.transport import read_endpoints
from tests.controller.test_dispatcher import with_fake
from tests.controller.toy_lab import lab

GROWTH_BYTES = 48 << 20
"""What a process may grow by after its warm-up; a leak of every message would be far more."""

BODIES: list[Any] = [
    messages.Announce(instrument="toy"),
    messages.Accepted(command_id="run/e/0/0"),
    messages.Refused(reason="no"),
    messages.Progress(command_id="run/e/0/0", fraction=0.5),
    Report(command_id="run/e/0/0", status="ok", readings={"reading": 1.0}),
    messages.Known(command_id="run/e/0/0", state="started"),
    messages.Health(busy="run/e/0/0", facts={"a": [1, {"b": None}]}),
    messages.Stopped(stop_id="s"),
    messages.Heartbeat(lease_s=1.0),
    messages.Query(command_id="run/e/0/0"),
    messages.Acknowledge(command_id="run/e/0/0"),
    messages.Stop(stop_id="s"),
    messages.Reset(who="x", reason="y"),
]
ODD_VALUES: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1e308,
    "",
    "x" * 5000,
    "\x00",
    "\ud800",
    [],
    {},
    [[]],
    {"verb": "command"},
]


def mutated(dice: random.Random, outbox: Outbox) -> list[bytes]:
    """A message of the protocol with something wrong in it; sometimes with nothing wrong in it."""
    frames = outbox.wrap(dice.choice(BODIES))
    how = dice.randrange(7)
    if how == 0:
        return [dice.randbytes(dice.randrange(2000)) for _ in range(dice.randrange(1, 5))]
    if how == 1:
        head = bytearray(frames[0])
        for _ in range(dice.randrange(1, 8)):
            head[dice.randrange(len(head))] = dice.randrange(256)
        return [bytes(head), *frames[1:]]
    if how == 2:
        return [frames[0][: dice.randrange(len(frames[0]))]]
    if how == 3:
        return [*frames, *[dice.randbytes(64)] * dice.randrange(1, 30)]
    if how == 4:
        return [b"[" * dice.randrange(1, 100_000)]
    message = json.loads(frames[0])
    target = message if how == 5 else message["body"]
    key = dice.choice(list(target))
    if dice.random() < 0.3:
        del target[key]
    else:
        target[dice.choice([key, "odd"])] = dice.choice(ODD_VALUES)
    return [json.dumps(message).encode("utf-8", "surrogatepass")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    max_leaves=8,
)


HOSTILE = st.one_of(
    st.lists(st.binary(max_size=300), max_size=4),
    JSON.map(lambda value: [json.dumps(value).encode()]),
    st.integers().map(lambda seed: mutated(random.Random(seed), Outbox("fuzz"))),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTILE)
def test_whatever_is_decoded_is_a_message_that_encodes_to_itself_or_a_protocol_error(frames):
    try:
        message = decode(frames)
    except ProtocolError:
        return
    again = decode(encode(message))
    assert again.model_dump_json() == message.model_dump_json()


def resident(pid: int) -> int:
    return psutil.Process(pid).memory_info().rss


async def hostile_host(one, fake, dice, number):
    for n in range(number):
        fake.client.send(mutated(dice, fake.outbox))
        if n % 20 == 0:
            await asyncio.sleep(0.005)  # the queue is short


def fuzz_dispatcher(folder, number):
    async def scene(one, fake):
        dice = random.Random(number)
        await hostile_host(one, fake, dice, number // 4)
        before = resident(os.getpid())
        await hostile_host(one, fake, dice, number)
        assert resident(os.getpid()) - before < GROWTH_BYTES
        assert not any(task.done() for task in one.dispatcher._tasks), "a task of the dispatcher has died"
        while "toy" not in one.dispatcher.instruments:
            one.hosts.start()  # the first one was released, and may still be ending
            await asyncio.sleep(0.2)
        command = one.command("honest")
        assert (await one.dispatcher.execute("toy", command)).status == "ok"
        assert one.acts() == [command.command_id]
        assert "garbage" in one.kinds()
        assert "error" not in one.kinds(), [e for e in one.events if e[0] == "error"][:3]

    with_fake(folder, scene)


def test_a_hostile_host_with_a_key_neither_crashes_nor_swells_the_controller(tmp_path):
    fuzz_dispatcher(tmp_path, 400)


@pytest.mark.slow
def test_a_hostile_host_with_a_key_for_long(tmp_path):
    fuzz_dispatcher(tmp_path, 20_000)


def fuzz_host(folder, number):
    async def scene(one):
        pid, dice, outbox = one.hosts.pids()["toy"], random.Random(number), Outbox("fuzz", 1)
        server = one.dispatcher._server

        async def hostile(count):
            for n in range(count):
                line, frames = one.dispatcher._lines["toy"], mutated(dice, outbox)
                for channel, route in (("work", line.route), ("stop", line.stop_route)):
                    if b'"stop"' not in frames[0] and b'"reset"' not in frames[0]:
                        await server.send(channel, route, frames)
                if n % 20 == 0:
                    await asyncio.sleep(0.01)

        await hostile(number // 4)
        before = resident(pid)
        await hostile(number)
        command = one.command("honest")
        assert (await one.dispatcher.execute("toy", command)).status == "ok"
        assert resident(pid) - before < GROWTH_BYTES
        assert one.hosts.pids()["toy"] == pid, "the host lives"
        assert one.acts() == [command.command_id]
        assert set(await one.dispatcher.stop_all()) == {"toy"}, "and still hears a stop"

    async def run():
        async with lab(folder) as one, asyncio.timeout(280):
            await scene(one)

    asyncio.run(run())


def test_a_hostile_controller_with_the_right_key_neither_crashes_nor_swells_a_host(tmp_path):
    fuzz_host(tmp_path, 400)


@pytest.mark.slow
def test_a_hostile_controller_with_the_right_key_for_long(tmp_path):
    fuzz_host(tmp_path, 20_000)


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)


def broken_zmtp(dice: random.Random) -> bytes:
    """What a stranger's ZeroMQ might say: whole, cut and mutated greetings, then frames that lie about their length."""
    greeting = bytearray(GREETING)
    if dice.random() < 0.5:
        greeting[dice.randrange(len(greeting))] = dice.randrange(256)
    hello = b"\x05HELLO\x01\x00" + dice.randbytes(192)
    flags = dice.choice([0, 1, 2, 4, 6, 255])
    length = dice.choice([0, 1, len(hello), 255, 2**31, 2**63 - 1])
    frame = bytes([flags]) + (length.to_bytes(8, "big") if flags & 2 else bytes([length & 255])) + hello
    said = dice.choice(
        [bytes(greeting) + frame, bytes(greeting)[: dice.randrange(64)], dice.randbytes(500), b"GET / HTTP/1.1\r\n\r\n"]
    )
    return said


def fuzz_doors(folder, number):
    async def scene(one):
        dice, me = random.Random(number), psutil.Process()
        open_before = me.num_fds()
        ports = [urlparse(endpoint).port for endpoint in (read_endpoints(one.endpoint_file) or {}).values()]

        def knock(count):
            for n in range(count):
                with socket.create_connection(("127.0.0.1", ports[n % 2]), timeout=60) as raw:
                    raw.sendall(broken_zmtp(dice))

        await asyncio.to_thread(knock, number // 4)
        before = resident(os.getpid())
        await asyncio.to_thread(knock, number)
        assert resident(os.getpid()) - before < GROWTH_BYTES
        assert (await one.dispatcher.execute("toy", one.command("honest"))).status == "ok"
        assert set(await one.dispatcher.stop_all()) == {"toy"}
        assert any(kind == "refused" and "before its handshake" in detail for kind, _, detail in one.events)
        async with asyncio.timeout(120):
            while me.num_fds() > open_before + 20:  # no connection of a stranger outlives its handshake time-out
                await asyncio.sleep(0.1)

    async def run():
        async with lab(folder) as one, asyncio.timeout(280):
            await scene(one)

    asyncio.run(run())


def test_strangers_with_broken_zmtp_are_shut_out_and_the_lab_goes_on(tmp_path):
    fuzz_doors(tmp_path, 200)


@pytest.mark.slow
def test_strangers_with_broken_zmtp_for_long(tmp_path):
    fuzz_doors(tmp_path, 10_000)
