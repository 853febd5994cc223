"""What the dispatcher keeps of each instrument, each connection and each command under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from instruments.driver import Capability
from instruments.messages import Command, Inbox, Report

OnProgress = Callable[[float, str], None]


@dataclass
class InstrumentInfo:
    """What the dispatcher knows of one instrument, now.

    Attributes:
        name: the instrument's name, which is its CURVE key's.
        host: name of its machine.
        driver: what drives it.
        capabilities: by name.
        connected: True while its host has been heard of lately.
        busy: command that it is running, if any.
        stopped: True while an emergency stop is latched.
        health: the driver's last facts.
        last_seen: ``time.monotonic()`` of the last message.
    """

    name: str
    host: str = ""
    driver: str = ""
    capabilities: dict[str, Capability] = field(default_factory=dict)
    connected: bool = False
    busy: str | None = None
    stopped: bool = False
    health: dict[str, Any] = field(default_factory=dict)
    last_seen: float = 0.0

    def picture(self) -> dict[str, Any]:
        """What a person may see, as JSON-like data."""
        return {
            "connected": self.connected,
            "busy": self.busy,
            "stopped": self.stopped,
            "driver": self.driver,
            "host": self.host,
            "silent_s": round(time.monotonic() - self.last_seen, 3),
            "capabilities": sorted(self.capabilities),
            "facts": self.health,
        }


@dataclass
class Line:
    """A host's connection: its session, where to answer, and what of it was read."""

    session: str = ""
    route: bytes = b""
    stop_route: bytes = b""
    inbox: Inbox = field(default_factory=Inbox)
    garbage: int = 0
    acknowledges: list[str] = field(default_factory=list)


@dataclass
class Flight:
    """A command between ``execute`` and its report."""

    instrument: str
    command: Command
    on_progress: OnProgress | None
    waiters: int = 0
    outcome: Report | Exception | None = None
    begun: float = field(default_factory=time.monotonic)
    due: float = 0.0
    accepted: bool = False
    progress: str = ""
    progress_at: float = 0.0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    async def wait(self) -> Report:
        """Return the report or raise what there is instead of one; cancelling ends this waiting alone."""
        if self.outcome is None:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            try:
                await waiting
            finally:
                self._waiting.remove(waiting)
        if isinstance(self.outcome, Report):
            return self.outcome
        raise self.outcome or RuntimeError(f"nobody knows what became of {self.command.command_id}")

    def end(self, outcome: Report | Exception) -> None:
        """Tell all who wait; only the first outcome counts."""
        if self.outcome is None:
            self.outcome = outcome
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_result(None)

    def cancel(self) -> None:
        """Nobody will hear any more of it."""
        for waiting in self._waiting:
            waiting.cancel()
