"""Sockets: ``Server`` (the controller's two ROUTERs) and ``Client`` (a host's DEALER), shut by default.

CURVE on both, no identity that a peer can choose: who is speaking is the User-Id that the authenticator attached to
the connection's key. ZeroMQ is never trusted to deliver: whoever sends, sends again by id.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import zmq
import zmq.asyncio
from zmq.auth.base import Authenticator
from zmq.utils.monitor import recv_monitor_message

from instruments.arrays import MAX_FRAME_BYTES
from instruments.errors import LabError
from instruments.files import write_whole
from instruments.keys import CONTROLLER, PublicKey, Registry, Role, load_registry, load_secret

log = logging.getLogger("athanor.transport")

Channel = Literal["work", "stop"]
CHANNELS: tuple[Channel, ...] = ("work", "stop")
ADMITTED: dict[Channel, tuple[Role, ...]] = {"work": ("host",), "stop": ("host", "operator", "observer")}
"""Which roles may knock at which socket."""

HIGH_WATER = 64
HANDSHAKE_MS = 5_000
DEAD_S = 4
"""A connection whose other end does not answer the kernel for so long is dropped."""
_POLLIN, _MORE = int(zmq.POLLIN), int(zmq.SNDMORE | zmq.NOBLOCK)  # arithmetic with enumerations is slow
_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
"""Never EVENT_HANDSHAKE_FAILED_PROTOCOL: libzmq 4.3.5 sends it for a damaged message too and, in sending it, forgets
the error that it was about to act upon; the connection then stays, deaf."""


@dataclass(frozen=True)
class Peer:
    """Who sent a message (from the key) and how to answer on this connection (``route``)."""

    name: str
    role: Role
    route: bytes


class _Guard:
    """Answers the authenticator: may this z85 key open this domain's socket?"""

    def __init__(self, registry: Registry, channel: Channel, on_refused: Callable[[str], None]):
        self._registry, self._on_refused = registry, on_refused
        self._channel, self._roles = channel, ADMITTED[channel]

    def callback(self, domain: str, key: bytes) -> bool:
        entry = self._registry.find(key.decode("ascii", "replace"))
        if entry is not None and entry.role in self._roles:
            return True
        who = f"the {entry.role} {entry.name!r}" if entry else f"the unknown key {key.decode('ascii', 'replace')}"
        self._on_refused(f"{who} knocked at the {self._channel} socket")
        return False


class _Authenticator(Authenticator):
    """ZAP on the event loop.

    pyzmq's own ``AsyncioAuthenticator`` unregisters its file descriptor only after having closed it: a socket that gets
    the same number in between goes deaf. This one closes in the right order.
    """

    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer."""
        self.zap_socket: Any = self.context.socket(zmq.REP)
        self.zap_socket.linger = 1
        self.zap_socket.bind("inproc://zeromq.zap.01")
        self._task = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        while True:
            request = await self.zap_socket.recv_multipart()
            try:
                await self.handle_zap_message(request)
            except Exception:  # unanswered, this one stays outside; the others must still get in
                log.exception("the authenticator failed on a request")

    def stop(self) -> None:
        """Answer no more: every door is shut from now on."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self.zap_socket.close()


class Server:
    """The controller's sockets: ``work``, and ``stop`` which never queues behind work.

    Args:
        keys: folder made by ``create_lab_keys``.
        address: where to bind; a port ``*`` is chosen by the system, of a given port ``stop`` takes the next one.
            Loopback unless told otherwise.
        on_refused: called with a sentence for every door that stayed shut.
    """

    def __init__(
        self, *, keys: Path, address: str = "tcp://127.0.0.1:*", on_refused: Callable[[str], None] = lambda _: None
    ):
        self._registry: Registry = load_registry(keys)
        self._secret = load_secret(keys, CONTROLLER)
        self._address, self._on_refused = address, on_refused
        self._sockets: dict[Channel, zmq.Socket] = {}
        self._arrived: dict[Channel, asyncio.Event] = {}
        self._monitors: dict[Channel, Any] = {}
        self.authenticator: Authenticator | None = None
        self._context = zmq.Context()
        self._slow = zmq.asyncio.Context.shadow(self._context)  # for what is rare: doors and their refusals

    def open(self) -> dict[Channel, str]:
        """Start the authenticator, bind both sockets, and return their endpoints. Raises LabError."""
        self.authenticator = _Authenticator(self._slow)
        self.authenticator.start()
        loop = asyncio.get_running_loop()
        for channel in CHANNELS:
            domain = f"athanor.{channel}"
            guard = _Guard(self._registry, channel, self._on_refused)
            self.authenticator.configure_curve_callback(domain, guard)
            socket = self._context.socket(zmq.ROUTER)
            _harden(socket)
            socket.curve_server = True
            socket.curve_secretkey = self._secret.secret_key.encode()
            socket.curve_publickey = self._secret.public_key.encode()
            # Without these two, a CURVE server whose authenticator is missing lets any key in.
            socket.zap_domain = domain.encode()
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            socket.router_mandatory = True
            self._monitors[channel] = self._slow.socket(zmq.PAIR)
            socket.monitor(f"inproc://athanor.{channel}.{id(self)}", _WATCHED)
            self._monitors[channel].connect(f"inproc://athanor.{channel}.{id(self)}")
            self._sockets[channel] = socket
            self._arrived[channel] = asyncio.Event()
            # ZeroMQ's own asyncio sockets cost as much again as everything else that is done for a message.
            loop.add_reader(_descriptor(socket), self._arrived[channel].set)
            try:
                socket.bind(address_of(channel, self._address))
            except zmq.ZMQError as error:
                self.close()
                raise LabError(f"cannot listen on {self._address} ({error}); choose another address") from None
        return {channel: _reachable(_bound(socket)) for channel, socket in self._sockets.items()}

    async def receive(self, channel: Channel) -> tuple[Peer, list[bytes]] | None:
        """Wait for the next message: who, and its frames. None where the sender's key has left the registry."""
        socket, arrived = self._sockets[channel], self._arrived[channel]
        while not _readable(socket):
            arrived.clear()
            # The descriptor speaks once: what came between the question and the clearing must not be slept over.
            if not _readable(socket):
                await arrived.wait()
        route = socket.recv(zmq.NOBLOCK, copy=False)  # only such a frame knows its sender
        frames = socket.recv_multipart(zmq.NOBLOCK)
        entry = self._user(route)
        return (Peer(entry.name, entry.role, route.bytes), frames) if entry else None

    def _user(self, frame: zmq.Frame) -> PublicKey | None:
        try:
            return self._registry.find(str(frame.get("User-Id")))
        except zmq.ZMQError:
            return None

    async def refusals(self, channel: Channel) -> None:
        """Report connections that ended before their handshake (no CURVE, wrong server key, junk), for ever.

        libzmq does not say whose handshake succeeded: where another's did meanwhile, nothing is said.
        """
        accepted: dict[int, int] = {}  # file descriptor -> handshakes that had succeeded before
        succeeded = 0
        while True:
            event = await recv_monitor_message(self._monitors[channel])
            if event["event"] == zmq.EVENT_ACCEPTED:
                accepted[event["value"]] = succeeded
            elif event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                succeeded += 1
            elif accepted.pop(event["value"], -1) == succeeded:
                self._on_refused(f"a connection to the {channel} socket ended before its handshake")

    async def send(self, channel: Channel, route: bytes, frames: list[bytes]) -> bool:
        """Send without waiting. False where the peer is gone or its queue is full: send again later, by id."""
        socket = self._sockets.get(channel)
        if socket is None:
            return False
        try:
            _send(socket, [route, *frames])
        except zmq.ZMQError:
            return False
        finally:
            if _readable(socket):  # sending may swallow the descriptor's word that something has come
                self._arrived[channel].set()
        return True

    def close(self) -> None:
        """Close everything; what was not sent is dropped."""
        for channel, socket in self._sockets.items():
            with contextlib.suppress(RuntimeError):  # the loop may have ended before us
                asyncio.get_running_loop().remove_reader(_descriptor(socket))
            socket.monitor(None, 0)  # type: ignore[arg-type]
            self._monitors[channel].close(0)
            socket.close(0)
        self._sockets.clear()
        self._arrived.clear()
        self._monitors.clear()
        if self.authenticator is not None:
            self.authenticator.stop()
            self.authenticator = None
        self._context.destroy(0)


class Client:
    """A host's connection to one of the controller's sockets. To be used by one thread.

    Args:
        context: of the process.
        keys: folder with ``NAME.key`` and ``registry.json``.
        name: whose key to show.
    """

    def __init__(self, context: zmq.Context, *, keys: Path, name: str):
        self._context, self._secret = context, load_secret(keys, name)
        self._server_key = load_registry(keys).named(CONTROLLER).public_key
        self.socket: zmq.Socket | None = None
        self.endpoint = ""

    def connect(self, endpoint: str) -> None:
        """(Re)connect to ``endpoint``; what was queued for the old one is dropped."""
        self.close()
        socket = self._context.socket(zmq.DEALER)
        _harden(socket)
        socket.curve_publickey = self._secret.public_key.encode()
        socket.curve_secretkey = self._secret.secret_key.encode()
        socket.curve_serverkey = self._server_key.encode()
        socket.immediate = True  # nothing is queued for a controller that is not there
        socket.reconnect_ivl, socket.reconnect_ivl_max = 50, 2_000
        socket.connect(endpoint)
        self.socket, self.endpoint = socket, endpoint

    def send(self, frames: list[bytes]) -> bool:
        """Send without waiting. False where there is no connection or its queue is full."""
        if self.socket is None:
            return False
        try:
            _send(self.socket, frames)
        except zmq.ZMQError:
            return False
        return True

    @property
    def descriptor(self) -> int | None:
        """What to select on: it speaks once, after which ``readable`` must be asked until it is False."""
        return _descriptor(self.socket) if self.socket is not None else None

    @property
    def readable(self) -> bool:
        """True where a message waits."""
        return self.socket is not None and _readable(self.socket)

    def receive(self) -> list[bytes] | None:
        """Return the next message's frames, or None where none waits."""
        if self.socket is None or not _readable(self.socket):
            return None
        return self.socket.recv_multipart(flags=zmq.NOBLOCK)

    def close(self) -> None:
        """Drop the connection."""
        if self.socket is not None:
            self.socket.close(0)
        self.socket, self.endpoint = None, ""


def address_of(channel: Channel, address: str) -> str:
    """Where a channel is, given where ``work`` is: ``stop`` has the next port. Raises LabError."""
    head, _, port = address.rpartition(":")
    if channel == "work" or port == "*":
        return address
    if not port.isdigit() or not head.startswith("tcp://"):
        raise LabError(f"{address!r} is no address; write it as tcp://HOST:PORT, e.g. tcp://0.0.0.0:5570")
    return f"{head}:{int(port) + 1}"


def _reachable(endpoint: str) -> str:
    """An endpoint that listens on every interface, as this machine's own hosts can connect to it."""
    return endpoint.replace("tcp://0.0.0.0:", "tcp://127.0.0.1:")


def write_endpoints(path: Path, endpoints: dict[Channel, str]) -> None:
    """Tell local hosts where the controller listens: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(endpoints), durable=False)


def read_endpoints(path: Path) -> dict[Channel, str] | None:
    """Return what ``write_endpoints`` wrote, or None while there is nothing usable."""
    try:
        found = json.loads(path.read_text())
        return {"work": str(found["work"]), "stop": str(found["stop"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _descriptor(socket: Any) -> int:
    return socket.fd


def _bound(socket: Any) -> str:
    return socket.last_endpoint.decode()


def _readable(socket: zmq.Socket) -> bool:
    return socket.get(zmq.EVENTS) & _POLLIN != 0  # type: ignore[operator]


def _send(socket: zmq.Socket, frames: list[bytes]) -> None:
    for frame in frames[:-1]:  # what send_multipart does, at half its cost
        socket.send(frame, _MORE)
    socket.send(frames[-1], zmq.NOBLOCK)


def _harden(socket: Any) -> None:
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = HIGH_WATER
    socket.maxmsgsize = MAX_FRAME_BYTES
    socket.handshake_ivl = HANDSHAKE_MS
    # No heartbeats of ZMTP: libzmq 4.3.5 aborts the whole process where one falls due on a connection that was reset
    # while its messages waited to be read. Ours are messages; the kernel finds the dead connections.
    socket.heartbeat_ivl = 0
    socket.tcp_keepalive, socket.tcp_keepalive_idle = 1, DEAD_S // 2
    socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = 1, DEAD_S // 2
    socket.tcp_maxrt = DEAD_S * 1_000
