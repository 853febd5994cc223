"""The doors: shut to everyone whose key is not in the registry, and shut when nobody guards them."""

from __future__ import annotations

import asyncio
import socket
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlparse

import pytest
import zmq
import zmq.asyncio

from instruments.errors import LabError
from instruments.keys import create_lab_keys, load_registry, load_secret
from instruments.transport import Client, Server, read_endpoints, write_endpoints

PATIENCE_S = 1.0
"""How long a stranger keeps knocking."""
GENEROUS_S = 60.0
"""How long a test waits for what must come."""


@asynccontextmanager
async def server(keys, **settings) -> AsyncIterator[tuple[Server, dict, list[str]]]:
    refused: list[str] = []
    one = Server(keys=keys, on_refused=refused.append, **settings)
    endpoints = one.open()
    watchers = [asyncio.create_task(one.refusals(channel)) for channel in endpoints]
    try:
        yield one, endpoints, refused
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        one.close()


@pytest.fixture
def keys(tmp_path):
    create_lab_keys(tmp_path / "keys", ["furnace", "balance"], operators=["ada"])
    return tmp_path / "keys"


@pytest.fixture
def context():
    one = zmq.Context()
    yield one
    while strangers:
        strangers.pop().close(0)
    one.destroy(0)


async def knock(server: Server, client: Client, channel="work", patience_s=GENEROUS_S):
    """Send until the server has it; None where it never does."""
    waiting = asyncio.create_task(server.receive(channel))
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        client.send([b"let me in"])
        done, _ = await asyncio.wait([waiting], timeout=0.02)
        if done:
            return waiting.result()
    waiting.cancel()
    return None


async def is_refused(server: Server, client: Client, refused: list[str], words: str):
    """The stranger keeps knocking, is never let in, and it is noted with these words."""
    assert await knock(server, client, patience_s=PATIENCE_S) is None
    async with asyncio.timeout(GENEROUS_S):
        while not any(words in sentence for sentence in refused):
            assert await knock(server, client, patience_s=0.1) is None


def test_a_registered_host_is_let_in_and_known_by_its_key(keys, context):
    async def scene():
        async with server(keys) as (door, endpoints, refused):
            client = Client(context, keys=keys, name="furnace")
            client.connect(endpoints["work"])
            received = await knock(door, client)
            assert received is not None
            peer, frames = received
            assert (peer.name, peer.role, frames) == ("furnace", "host", [b"let me in"])
            assert await door.send("work", peer.route, [b"welcome"])
            assert client.socket is not None
            assert await asyncio.to_thread(client.socket.poll, 1000 * GENEROUS_S)
            assert client.receive() == [b"welcome"]
            assert refused == []
            client.close()

    asyncio.run(scene())


def test_a_host_cannot_take_anothers_name_by_its_frame(keys, context):
    async def scene():
        async with server(keys) as (door, endpoints, _):
            secret = load_secret(keys, "balance")
            liar = context.socket(zmq.DEALER)
            liar.curve_publickey, liar.curve_secretkey = secret.public_key.encode(), secret.secret_key.encode()
            liar.curve_serverkey = load_registry(keys).named("controller").public_key.encode()
            liar.routing_id = b"furnace"
            liar.connect(endpoints["work"])
            liar.send(b"I am the furnace")
            received = await asyncio.wait_for(door.receive("work"), GENEROUS_S)
            assert received is not None
            assert received[0].name == "balance"
            liar.close(0)

    asyncio.run(scene())


strangers: list[zmq.Socket] = []


def stranger(context, endpoints, server_key: str | None, pair: tuple[bytes, bytes] | None) -> Client:
    client = Client.__new__(Client)
    sock = context.socket(zmq.DEALER)
    sock.linger = 0
    if server_key is not None:
        assert pair is not None
        sock.curve_serverkey = server_key.encode()
        sock.curve_publickey, sock.curve_secretkey = pair
    sock.connect(endpoints["work"])
    client.socket = sock
    strangers.append(sock)
    return client


def test_a_key_that_is_not_registered_is_refused(keys, context):
    async def scene():
        async with server(keys) as (door, endpoints, refused):
            controller = load_registry(keys).named("controller").public_key
            client = stranger(context, endpoints, controller, zmq.curve_keypair())
            await is_refused(door, client, refused, "unknown key")

    asyncio.run(scene())


def test_a_client_without_keys_is_refused(keys, context):
    async def scene():
        async with server(keys) as (door, endpoints, refused):
            client = stranger(context, endpoints, None, None)
            await is_refused(door, client, refused, "handshake")

    asyncio.run(scene())


def test_a_client_that_expects_another_server_is_refused(keys, context):
    async def scene():
        async with server(keys) as (door, endpoints, _):
            public, _ = zmq.curve_keypair()
            secret = load_secret(keys, "furnace")
            pair = (secret.public_key.encode(), secret.secret_key.encode())
            client = stranger(context, endpoints, public.decode(), pair)
            assert await knock(door, client, patience_s=PATIENCE_S) is None

    asyncio.run(scene())


def test_a_missing_authenticator_shuts_the_door_even_to_registered_hosts(keys, context):
    async def scene():
        async with server(keys) as (door, endpoints, _):
            assert door.authenticator is not None
            door.authenticator.stop()
            client = Client(context, keys=keys, name="furnace")
            client.connect(endpoints["work"])
            assert await knock(door, client, patience_s=PATIENCE_S) is None
            client.close()

    asyncio.run(scene())


def test_without_the_enforced_domain_a_missing_authenticator_would_open_it(keys, context):
    """The control of the test above: the same CURVE server without our two options lets any key in."""

    async def scene():
        secret, loop_context = load_secret(keys, "controller"), zmq.asyncio.Context()
        naive = loop_context.socket(zmq.ROUTER)
        naive.linger, naive.curve_server = 0, True
        naive.curve_publickey, naive.curve_secretkey = secret.public_key.encode(), secret.secret_key.encode()
        naive.bind("tcp://127.0.0.1:*")
        client = stranger(context, {"work": naive.last_endpoint.decode()}, secret.public_key, zmq.curve_keypair())
        assert client.socket is not None
        client.socket.send(b"let me in")
        received = await asyncio.wait_for(naive.recv_multipart(), GENEROUS_S)
        assert received[-1] == b"let me in"
        naive.close(0)
        loop_context.destroy(0)

    asyncio.run(scene())


def test_an_operator_is_admitted_to_the_stop_socket_only(keys, context):
    async def scene():
        async with server(keys) as (door, endpoints, refused):
            client = Client(context, keys=keys, name="ada")
            client.connect(endpoints["work"])
            await is_refused(door, client, refused, "operator 'ada'")
            client.connect(endpoints["stop"])
            received = await knock(door, client, "stop")
            assert received is not None
            assert received[0].role == "operator"
            client.close()

    asyncio.run(scene())


def test_junk_on_the_socket_is_refused_and_the_rest_goes_on(keys, context):
    async def scene():
        async with server(keys) as (door, endpoints, _):
            port = urlparse(endpoints["work"]).port
            assert port is not None
            for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\x00" * 1000, b""):
                with socket.create_connection(("127.0.0.1", port)) as raw:
                    raw.sendall(junk)
            client = Client(context, keys=keys, name="furnace")
            client.connect(endpoints["work"])
            assert await knock(door, client) is not None
            client.close()

    asyncio.run(scene())


def test_an_oversized_frame_never_arrives(keys, context):
    async def scene():
        async with server(keys) as (door, endpoints, _):
            client = Client(context, keys=keys, name="furnace")
            client.connect(endpoints["work"])
            assert await knock(door, client) is not None
            assert client.socket is not None
            waiting = asyncio.create_task(door.receive("work"))
            client.socket.send(bytes((32 << 20) + 4096))
            done, _ = await asyncio.wait([waiting], timeout=PATIENCE_S)
            assert not done or waiting.result()[1] == [b"let me in"]
            waiting.cancel()
            client.close()

    asyncio.run(scene())


def test_sending_to_nobody_is_told_not_swallowed(keys, context):
    async def scene():
        async with server(keys) as (door, _, _):
            assert await door.send("work", b"nobody", [b"hello"]) is False
        client = Client(context, keys=keys, name="furnace")
        assert client.send([b"hello"]) is False
        client.connect("tcp://127.0.0.1:9")
        assert client.send([b"hello"]) is False
        assert client.receive() is None
        client.close()

    asyncio.run(scene())


def test_it_listens_on_loopback_only(keys):
    async def scene():
        async with server(keys) as (_, endpoints, _):
            assert {urlparse(endpoint).hostname for endpoint in endpoints.values()} == {"127.0.0.1"}

    asyncio.run(scene())


def test_an_address_that_cannot_be_bound_is_named(keys):
    async def scene():
        one = Server(keys=keys, address="tcp://203.0.113.1:9")
        with pytest.raises(LabError, match=r"203\.0\.113\.1"):
            one.open()
        one.close()

    asyncio.run(scene())


def test_endpoints_are_written_for_hosts_to_find(tmp_path):
    path = tmp_path / "deep" / "endpoints.json"
    assert read_endpoints(path) is None
    write_endpoints(path, {"work": "tcp://127.0.0.1:1", "stop": "tcp://127.0.0.1:2"})
    assert read_endpoints(path) == {"work": "tcp://127.0.0.1:1", "stop": "tcp://127.0.0.1:2"}
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
    path.write_text("{")
    assert read_endpoints(path) is None
