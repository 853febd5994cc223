"""The dispatcher's emergency stop: told to every instrument at once, latched, and counted who has heard it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from controller.lines import InstrumentInfo, Line
from instruments import messages
from instruments.errors import LabError

log = logging.getLogger("athanor.dispatcher")

StopTable = dict[str, float | None]
"""Instrument -> milliseconds from the request to the host's word that its driver was told; None: not acknowledged."""
OnStop = Callable[[str, str, StopTable | None], None]


class Stopper:
    """Stops and resets instruments, and remembers that the lab is stopped.

    Args:
        instruments, lines: the dispatcher's own.
        changed: set where one of them has changed.
        send: sends a body to an instrument (by name, body, channel); it may be lost.
        spread: sends a body to many (by routes, body, channel).
        tell: called with (kind, instrument, detail).
        on_stop: see ``Dispatcher``.
    """

    def __init__(
        self,
        instruments: dict[str, InstrumentInfo],
        lines: dict[str, Line],
        changed: asyncio.Event,
        send: Callable[..., Coroutine[Any, Any, bool]],
        spread: Callable[..., Coroutine[Any, Any, None]],
        tell: Callable[[str, str, str], None],
        on_stop: OnStop | None,
    ) -> None:
        self._instruments, self._lines, self._changed = instruments, lines, changed
        self._send, self._spread, self._tell, self._on_stop = send, spread, tell, on_stop
        self._stops: dict[str, dict[str, float]] = {}
        self._stop: messages.Stop | None = None  # holds until a reset: nothing leaves, whoever connects is stopped

    @property
    def stopping(self) -> bool:
        """True from an emergency stop until a reset."""
        return self._stop is not None

    async def stop_all(
        self, reason: str = "emergency stop", timeout_s: float = 5.0, *, by: str = "controller"
    ) -> dict[str, float]:
        """Stop every instrument now, ahead of all queues; each stays stopped until ``reset``.

        No command leaves from here on: what was not known to have arrived is refused. A host that connects later is
        stopped too.

        Returns:
            instrument -> milliseconds from this call to the host's word that its driver has been told. An instrument
            of ``instruments`` that is missing here has NOT acknowledged. This never replaces a hardware stop.
        """
        stop = self._stop = messages.Stop(stop_id=uuid.uuid4().hex, reason=reason[:10_000])
        begun, answered = time.monotonic(), self._stops.setdefault(stop.stop_id, {})
        told = False
        while True:
            silent = [line for name, line in self._lines.items() if name not in answered]
            await self._spread([line.stop_route for line in silent if line.stop_route], stop, "stop")
            if not told:
                told = True
                self._tell_stop(by, reason, None)
            until = min(time.monotonic() + 0.2, begun + timeout_s)
            while set(self._instruments) - set(answered) and (left := until - time.monotonic()) > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), left)
            if not set(self._instruments) - set(answered) or time.monotonic() >= begun + timeout_s:
                del self._stops[stop.stop_id]
                found = {name: (at - begun) * 1_000 for name, at in answered.items()}
                table: StopTable = {name: found.get(name) for name in sorted({*self._instruments, *found})}
                self._tell_stop(by, reason, table)
                return found

    async def reset(self, instrument: str, *, who: str, reason: str, timeout_s: float = 5.0) -> None:
        """Let a stopped instrument work again, in the name of a person. Raises LabError where it does not answer."""
        deadline = time.monotonic() + timeout_s
        body = messages.Reset(who=who, reason=reason)
        self._stop = None
        if instrument in self._instruments:
            self._instruments[instrument].stopped = True  # until its host says otherwise
        while instrument not in self._instruments or self._instruments[instrument].stopped:
            if time.monotonic() >= deadline:
                raise LabError(f"{instrument} has not confirmed its reset in {timeout_s:g} s; is its host alive?")
            await self._send(instrument, body)
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 0.2)
        self._tell("reset", instrument, f"by {who}: {reason}")

    async def heard(self, name: str, body: Any) -> None:
        """Take what a host has said on the stop channel."""
        if isinstance(body, messages.Stopped):
            answered = self._stops.get(body.stop_id)
            if answered is not None and name not in answered:
                answered[name] = time.monotonic()
                failed = f"; it FAILED: {body.error}" if body.error else ""
                self._tell("stopped", name, f"the driver took {body.driver_ms:.1f} ms{failed}")
                self._changed.set()
            if name in self._instruments:
                self._instruments[name].stopped = True
        elif self._stop is not None and not (name in self._instruments and self._instruments[name].stopped):
            await self._send(name, self._stop, "stop")  # it came after the stop, or has lost it

    async def stop_for(self, reason: str, by: str) -> StopTable:
        """Stop every instrument for a person; returns the whole table."""
        answered = await self.stop_all(reason, by=by)
        return {name: answered.get(name) for name in sorted({*self._instruments, *answered})}

    def _tell_stop(self, by: str, reason: str, table: StopTable | None) -> None:
        if self._on_stop is not None:
            try:
                self._on_stop(by, reason, table)
            except Exception:  # the instruments come first
                log.exception("the emergency stop was not written down")
