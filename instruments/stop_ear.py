"""The emergency stop's own thread in a host: its own socket, its own way to the driver, ahead of every queue."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zmq

from instruments.errors import ProtocolError
from instruments.host_config import HostConfig
from instruments.messages import Heartbeat, Outbox, Stop, Stopped, decode
from instruments.transport import DEAD_S, Client
from instruments.worker import Worker

log = logging.getLogger("athanor.host")


LISTEN_S = 0.5
"""How long it may take to notice that the controller listens elsewhere, or that the host ends."""

GIVE_WAY_S = 0.001
"""Before the word goes back: instruments that share the process are to be told first."""


@dataclass(frozen=True)
class Stopping:
    """A stop has been carried out; ``error`` is what the driver's own ``stop`` raised, if it did."""

    reason: str
    driver_ms: float = 0.0
    error: str = ""


class StopEar(threading.Thread):
    """Listens on the stop channel and calls the driver's stop itself, before anything else happens."""

    def __init__(
        self, config: HostConfig, context: zmq.Context, session: str, hand: Worker, post: Callable[[Any], None]
    ):
        super().__init__(name="stop", daemon=True)
        self._client = Client(context, keys=config.keys, name=config.name)
        self._outbox, self._hand, self._post = Outbox(session), hand, post
        self._period_s, self._endpoint, self._closing = config.heartbeat_s, "", threading.Event()
        self._heard = 0.0

    def follow(self, endpoint: str) -> None:
        """Listen to the controller at ``endpoint``."""
        self._endpoint = endpoint

    def close(self) -> bool:
        """End the thread; False where the driver's stop still holds it."""
        self._closing.set()
        self.join(2.0)
        return not self.is_alive()

    def run(self) -> None:
        """Listen until closed."""
        next_beat = 0.0
        while not self._closing.is_set():
            now = time.monotonic()
            silent = now - self._heard > max(DEAD_S, 3 * self._period_s)  # each heartbeat is answered
            if self._endpoint and (self._client.endpoint != self._endpoint or silent):
                self._client.connect(self._endpoint)
                self._heard, next_beat = now, 0.0
            if now >= next_beat:
                sent = self._client.send(self._outbox.wrap(Heartbeat()))
                next_beat = now + (self._period_s if sent else min(0.1, self._period_s))
            if self._client.socket is None:
                time.sleep(0.05)
                continue
            if self._client.socket.poll(max(1, int(min(next_beat - now, LISTEN_S) * 1_000))):
                self._listen()
        self._client.close()

    def _listen(self) -> None:
        while (frames := self._client.receive()) is not None:
            try:
                body = decode(frames).body
            except ProtocolError as error:
                log.warning("a message on the stop channel was dropped: %s", error)
                continue
            self._heard = time.monotonic()
            if isinstance(body, Stop):
                begun = time.monotonic()
                error = self._hand.stop()
                elapsed = (time.monotonic() - begun) * 1_000
                time.sleep(GIVE_WAY_S)
                self._client.send(self._outbox.wrap(Stopped(stop_id=body.stop_id, driver_ms=elapsed, error=error)))
                self._post(Stopping(body.reason, elapsed, error))
