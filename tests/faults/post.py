"""A post that loses, doubles and disorders whole messages, seeded, above the sockets: there nothing would break.

Every copy travels in an envelope of its own, with the sequence number of its delivery: to its receiver it is a fresh
message. So it is not the check against replays that catches it, but what the protocol says about ids.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

from controller.dispatcher import Dispatcher
from instruments.messages import Message
from instruments.transport import Peer


class Post:
    """Stands between a started dispatcher and its sockets."""

    def __init__(
        self, dispatcher: Dispatcher, *, seed: int, lose: float = 0.15, double: float = 0.4, late_s: float = 0.3
    ) -> None:
        self.handled = Counter[str]()
        self._dice, self._lose, self._double, self._late_s = random.Random(seed), lose, double, late_s
        self._send, self._receive = dispatcher._send, dispatcher._work_message
        self._sequences, self._tasks = Counter[str](), set[asyncio.Task[Any]]()
        dispatcher._send = self.send  # type: ignore[method-assign]
        dispatcher._work_message = self.receive  # type: ignore[method-assign]

    async def send(self, name: str, body: Any, channel: Any = "work") -> bool:
        """For ``Dispatcher._send``; a stop goes at once."""
        if channel == "stop":
            return await self._send(name, body, channel)
        self._deliver(lambda: self._send(name, body, channel))
        return True

    async def receive(self, peer: Peer, message: Message) -> None:
        """For ``Dispatcher._work_message``."""

        async def arrive() -> None:
            self._sequences[message.session] += 1
            await self._receive(peer, message.model_copy(update={"sequence": self._sequences[message.session]}))

        self._deliver(arrive)

    def _deliver(self, arrive: Any) -> None:
        copies = 0 if self._dice.random() < self._lose else 1 + (self._dice.random() < self._double)
        self.handled[("lost", "passed", "doubled")[copies]] += 1
        for _ in range(copies):
            task = asyncio.create_task(self._after(self._dice.uniform(0, self._late_s), arrive))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _after(seconds: float, arrive: Any) -> None:
        await asyncio.sleep(seconds)
        await arrive()

    async def close(self) -> None:
        """Nothing more arrives."""
        for task in list(self._tasks):
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
