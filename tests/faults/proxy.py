"""Bad weather between the instrument hosts and their controller: a seeded TCP proxy for both channels.

The hosts find the proxy's addresses in an endpoint file of its own. A connection with CURVE does not survive a byte
that is missing, doubled, displaced or flipped: it breaks, and whoever was cut off connects anew and sends again by id.
A whole message that is lost between two others leaves the connection as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from instruments.transport import CHANNELS, Channel, read_endpoints, write_endpoints

CHUNK_BYTES = 4096


@dataclass(frozen=True)
class Weather:
    """Chances per chunk of bytes, and the longest delay of one."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    flip: float = 0.0
    cut: float = 0.0
    delay_s: float = 0.0


CALM = Weather()


class Proxy:
    """One channel. ``weather`` may be changed at any time; ``stall`` holds all bytes back, in silence."""

    def __init__(self, real: Path, channel: Channel, weather: Weather, seed: int) -> None:
        self.weather, self.suffered = weather, Counter[str]()
        self._real, self._channel, self._seed = real, channel, seed
        self._connections, self._flowing = 0, asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._flowing.set()

    async def start(self) -> str:
        """Listen; returns the endpoint for the hosts."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stall(self) -> None:
        """From now on nothing passes, in either direction; connections stay."""
        self._flowing.clear()

    def flow(self) -> None:
        """What was held back goes on."""
        self._flowing.set()

    async def close(self) -> None:
        """Cut everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connected(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = read_endpoints(self._real)  # a restarted controller listens elsewhere
        target = urlparse(found[self._channel]) if found else None
        if target is None:
            return
        self._connections += 1
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        dice = [random.Random(f"{self._seed} {self._channel} {self._connections} {way}") for way in ("up", "down")]
        ways = [
            asyncio.create_task(self._pump(reader, far_writer, dice[0])),
            asyncio.create_task(self._pump(far_reader, writer, dice[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dice: random.Random) -> None:
        held = b""
        while chunk := await reader.read(CHUNK_BYTES):
            await self._flowing.wait()
            weather = self.weather
            if self._happens("cut", weather.cut, dice):
                return
            if self._happens("drop", weather.drop, dice):
                continue
            if self._happens("flip", weather.flip, dice):
                bit = dice.randrange(8 * len(chunk))
                chunk = (int.from_bytes(chunk, "little") ^ (1 << bit)).to_bytes(len(chunk), "little")
            if self._happens("duplicate", weather.duplicate, dice):
                chunk += chunk
            if not held and self._happens("reorder", weather.reorder, dice):
                held = chunk
                continue
            await asyncio.sleep(dice.uniform(0, weather.delay_s))
            writer.write(chunk + held)
            held = b""
            await writer.drain()

    def _happens(self, what: str, chance: float, dice: random.Random) -> bool:
        happens = dice.random() < chance
        self.suffered[what] += happens
        return happens


class Network:
    """Both channels between the controller whose endpoint file is ``real`` and the hosts that read ``shown``."""

    def __init__(self, real: Path, shown: Path, weather: Weather = CALM, seed: int = 0) -> None:
        self.channels = {channel: Proxy(real, channel, weather, seed) for channel in CHANNELS}
        self._shown = shown

    @property
    def suffered(self) -> Counter[str]:
        """What happened to chunks so far."""
        return sum((proxy.suffered for proxy in self.channels.values()), Counter[str]())

    def change(self, weather: Weather) -> None:
        """Other weather on both channels."""
        for proxy in self.channels.values():
            proxy.weather = weather

    def part(self) -> None:
        """A partition: nothing passes, nobody is told."""
        for proxy in self.channels.values():
            proxy.stall()

    def heal(self) -> None:
        """The end of the partition."""
        for proxy in self.channels.values():
            proxy.flow()

    async def start(self) -> None:
        """Listen, and write the hosts' endpoint file."""
        write_endpoints(self._shown, {channel: await proxy.start() for channel, proxy in self.channels.items()})

    async def close(self) -> None:
        """Cut everything."""
        for proxy in self.channels.values():
            await proxy.close()


@asynccontextmanager
async def network(real: Path, shown: Path, weather: Weather = CALM, seed: int = 0) -> AsyncIterator[Network]:
    """A network that is there."""
    one = Network(real, shown, weather, seed)
    await one.start()
    try:
        yield one
    finally:
        with contextlib.suppress(OSError):
            await one.close()
