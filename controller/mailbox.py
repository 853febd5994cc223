"""Where the loop's tasks leave what came of them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Letter = TypeVar("Letter")


class Mailbox(Generic[Letter]):
    """A queue with one reader, which may wait for a time; ``asyncio.wait_for`` on a queue costs a task each time."""

    def __init__(self) -> None:
        self._letters, self._waiting = deque[Letter](), None

    def put(self, letter: Letter) -> None:
        """Leave something; on the loop's own thread."""
        self._letters.append(letter)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def take(self) -> Letter:
        """Return the oldest letter. Raises IndexError where there is none."""
        return self._letters.popleft()

    def __bool__(self) -> bool:
        return bool(self._letters)

    async def arrival(self, timeout_s: float | None = None) -> bool:
        """Wait until something is there; False where nothing came in time."""
        if self._letters:
            return True
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        bell = loop.call_later(timeout_s, _ring, waiting) if timeout_s is not None else None
        try:
            await waiting
        finally:
            self._waiting = None
            if bell is not None:
                bell.cancel()
        return bool(self._letters)


def _ring(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
