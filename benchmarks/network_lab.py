"""What the network's benchmark measures with: instruments that take no time, their lab, the disk's own speed."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from controller.dispatcher import Dispatcher
from controller.hosts import HostSpec, LocalHosts
from instruments.keys import create_lab_keys
from instruments.messages import Command, command_id


class Bench:
    """An instrument that takes no time and notes in its book when each act begins and ends, and when it is stopped."""

    def __init__(self, *, workdir: Path, hold_s: float = 0.0, prompt: bool = False) -> None:
        self.prompt = prompt
        self._book = (workdir / "book.txt").open("a", buffering=1)
        self._hold_s, self._stopped = hold_s, threading.Event()

    def capabilities(self) -> list[Any]:
        from instruments.driver import Capability, Limit

        return [Capability("act", limits={"x": Limit(0, 1)}, quantities={"y": Limit(0, 1)})]

    def run(self, job: Any, progress: Any) -> Any:
        from instruments.driver import Outcome

        begin = time.monotonic()
        self._stopped.clear()
        if self._hold_s and self._stopped.wait(self._hold_s):
            return Outcome("failed", message="stopped")
        self._book.write(f"act {begin:.6f} {time.monotonic():.6f}\n")
        return Outcome("ok", {"y": job.parameters["x"]})

    def stop(self) -> None:
        self._book.write(f"stop {time.monotonic():.6f} 0\n")
        self._stopped.set()

    def health(self) -> dict[str, Any]:
        return {}

    def inspect(self, job: Any) -> None:
        return None


class Lab:
    """Keys, hosts and a dispatcher in one folder; ``processes`` of hosts, or with 0 one an instrument."""

    def __init__(self, folder: Path, count: int, hold_s: float = 0.0, processes: int = 0, prompt: bool = False) -> None:
        self.names = [f"bench-{k:03d}" for k in range(count)]
        keys, endpoint_file = folder / "keys", folder / "endpoint.json"
        create_lab_keys(keys, self.names)
        each = max(1, count // processes) if processes else 1
        settings = {"hold_s": hold_s, "prompt": prompt}
        specs = [
            HostSpec(name, "benchmarks.network_lab:Bench", settings, process=f"pc-{k // each}" if each > 1 else "")
            for k, name in enumerate(self.names)
        ]
        self.hosts = LocalHosts(folder, specs, keys=keys, endpoint_file=endpoint_file)
        self.dispatcher = Dispatcher(keys=keys, epoch=1, endpoint_file=endpoint_file)

    async def __aenter__(self) -> Lab:
        await self.dispatcher.start()
        self.hosts.start()
        await self.dispatcher.wait_for(self.names, 300.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispatcher.close(release=True)
        await asyncio.to_thread(self.hosts.terminate)

    def books(self) -> dict[str, list[tuple[str, float, float]]]:
        """Instrument -> (``act`` or ``stop``, begin, end) in its own order."""
        found = {}
        for name, ledger in self.hosts.ledgers().items():
            lines = (ledger.parent / "book.txt").read_text().splitlines()
            found[name] = [(kind, float(a), float(b)) for kind, a, b in (line.split() for line in lines)]
        return found


def percentiles(seconds: Any) -> str:
    """Milliseconds: median, 99 % and largest."""
    values = np.asarray(seconds) * 1e3
    return f"p50 {np.percentile(values, 50):.2f} ms, p99 {np.percentile(values, 99):.2f} ms, max {values.max():.2f} ms"


class Floor:
    """The disk's own append of 400 bytes + fsync, sampled amid the work: its speed changes from second to second."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "floor").open("ab", buffering=0)
        self.spent: list[float] = []

    def sample(self) -> None:
        begin = time.perf_counter()
        self._file.write(b"x" * 400)
        os.fsync(self._file.fileno())
        self.spent.append(time.perf_counter() - begin)

    async def keep_sampling(self) -> None:
        while True:
            await asyncio.to_thread(self.sample)
            await asyncio.sleep(0.1)

    @property
    def median_s(self) -> float:
        return float(np.median(self.spent))


def order(number: int) -> Command:
    """A command of the usual size."""
    parameters = {"x": 0.5, "temperature_C": 900, "hours": 12.0, "precursors_g": {"BaCO3": 1.2, "TiO2": 0.8}}
    return Command(
        command_id=command_id("bench", f"E{number:06d}", 0),
        experiment=f"E{number:06d}",
        step=0,
        capability="act",
        sample=f"E{number:06d}",
        parameters=parameters,
    )
