"""People at the stop socket: an operator may stop the lab and look at it, an observer may look, no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from instruments import messages
from instruments.transport import Peer

MAX_PICTURE_BYTES = 900_000
"""A picture that would be longer leaves the drivers' facts out."""

Answer = Callable[[Peer, Any], Awaitable[None]]


class Callers:
    """Hears what people ask for, by the role of their key.

    Args:
        stop: ``stop(reason, by)`` stops every instrument and returns who has acknowledged after how many milliseconds.
        picture: what the lab looks like now, as JSON-like data with ``instruments``.
        answer: sends a body to a peer on the stop channel; it may be lost.
        tell: called with (kind, detail) for the log.
    """

    def __init__(
        self,
        *,
        stop: Callable[[str, str], Awaitable[dict[str, float | None]]],
        picture: Callable[[], dict[str, Any]],
        answer: Answer,
        tell: Callable[[str, str, str], None],
    ):
        self._stop, self._picture, self._answer, self._tell = stop, picture, answer, tell
        self._stops: dict[str, asyncio.Task[None]] = {}

    async def hear(self, peer: Peer, body: Any) -> None:
        """Do what a person asks for, or refuse it."""
        if isinstance(body, messages.Look) and peer.role in ("operator", "observer"):
            lab = _bounded(self._picture())
            await self._answer(peer, messages.Picture(look_id=body.look_id, lab=lab))
        elif isinstance(body, messages.Stop) and peer.role == "operator":
            if body.stop_id not in self._stops:  # sent again, it is the same stop
                self._tell("stop", "", f"asked for by {peer.name}: {body.reason}")
                self._stops[body.stop_id] = asyncio.create_task(self._stop_for(peer, body))
        else:
            self._tell("refused", peer.name, f"{peer.role} {peer.name} may not ask for {body.verb!r}")
            reason = f"the key of {peer.name} is an {peer.role}'s: it may not ask for {body.verb!r}"
            await self._answer(peer, messages.Refused(reason=reason))

    async def close(self) -> None:
        """Wait until every stop that was asked for has been answered."""
        await asyncio.gather(*self._stops.values(), return_exceptions=True)

    async def _stop_for(self, peer: Peer, stop: messages.Stop) -> None:
        table: Any = await self._stop(stop.reason, peer.name)
        body = messages.Health(stopped=True, facts={"stop_id": stop.stop_id, "acknowledged_ms": table})
        for _ in range(3):  # it may be lost; whoever asked takes the first
            await self._answer(peer, body)
            await asyncio.sleep(0.05)


def _bounded(picture: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(picture)) <= MAX_PICTURE_BYTES:
        return picture
    names = {name: {**facts, "facts": "left out: too long"} for name, facts in picture["instruments"].items()}
    return {**picture, "instruments": names}
