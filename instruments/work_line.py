"""A host's connection to the controller, which may be restarted and then listens elsewhere."""

from __future__ import annotations

import logging
import time
from selectors import EVENT_READ, BaseSelector
from typing import Any

import zmq

from instruments.host_config import HostConfig
from instruments.transport import DEAD_S, Client

log = logging.getLogger("athanor.host")


class WorkLine(Client):
    """The work channel of one host, watched by the process's selector.

    Args:
        context: of the process.
        config: of the instrument.
        selector: is told of every new connection, with ``owner`` as its data.
        owner: who reads from it.
    """

    def __init__(self, context: zmq.Context, config: HostConfig, selector: BaseSelector, owner: Any):
        super().__init__(context, keys=config.keys, name=config.name)
        self._selector, self._owner = selector, owner
        self._watched: int | None = None
        self._since, self._patience_s = time.monotonic(), max(DEAD_S, 3 * config.heartbeat_s)

    def follow(self, endpoint: str, heard: float) -> bool:
        """Connect to where the controller listens if that is new, or if nothing was ``heard`` from it for long.

        Returns whether it connected.
        """
        now = time.monotonic()
        # A damaged length field makes a connection swallow what follows: after a long silence, try another one.
        if endpoint == self.endpoint and now - max(heard, self._since) <= self._patience_s:
            return False
        log.info("connecting to %s", endpoint)
        self.connect(endpoint)
        self._since = now
        return True

    def connect(self, endpoint: str) -> None:
        """(Re)connect, and have it watched."""
        super().connect(endpoint)
        self._watched = self.descriptor
        assert self._watched is not None
        self._selector.register(self._watched, EVENT_READ, self._owner)

    def close(self) -> None:
        """Drop the connection."""
        if self._watched is not None:
            self._selector.unregister(self._watched)
            self._watched = None
        super().close()
