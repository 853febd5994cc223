"""A small lab for tests: a driver that misbehaves on request, and a dispatcher with real host processes around it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controller.dispatcher import Dispatcher
from controller.hosts import HostSpec, LocalHosts
from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.keys import create_lab_keys
from instruments.ledger import starts
from instruments.messages import Command, command_id


class Toy:
    """Writes each act to ``acts.log``, so that a test can count what really happened.

    A command may ask for ``sleep_s``; ``until`` (a path: it acts until that exists); ``crash``, ``raise``, ``nan``...
    """

    def __init__(self, *, workdir: Path, inspect: str = "unknown", slow_stop_s: float = 0.0, prompt: bool = False):
        self.prompt = prompt
        self.acts, self.answer, self.slow_stop_s = workdir / "acts.log", inspect, slow_stop_s
        self.stopped = threading.Event()

    def capabilities(self) -> list[Capability]:
        return [
            Capability("act", {"temperature_C": Limit(0, 1500)}, {"reading": Limit(0, 10)}),
            Capability("look", idempotent=True),
            Capability("fire", {"temperature_C": Limit(0, 1500)}, batch=3, programme=("temperature_C",)),
        ]

    def run(self, job: Job, progress: Progress) -> Outcome:
        self.stopped.clear()
        asked = job.parameters
        if asked.get("crash") == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        with self.acts.open("a") as file:
            file.write(job.command_id + "\n")
        progress(0.5, "half way")
        if asked.get("crash") == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        if "raise" in asked:
            raise RuntimeError(asked["raise"])
        while not Path(asked.get("until", ".")).exists() and not self.stopped.wait(0.02):
            pass
        if self.stopped.wait(asked.get("sleep_s", 0.0)):
            return Outcome("failed", message="stopped")
        readings = {"reading": float("nan") if asked.get("nan") else 1.0}
        arrays = {"pattern": array("d", range(asked["points"])).tolist()} if "points" in asked else {}
        return Outcome(asked.get("status", "ok"), readings, arrays, 0.1, "done")

    def run_batch(self, jobs: list[Job], progress: Progress) -> list[Outcome]:
        """One line in ``acts.log`` a sample; ``crash: amid`` dies when the first has been made."""
        outcomes = []
        for job in jobs:
            outcomes.append(self.run(job, progress))
            if job.parameters.get("crash") == "amid":
                os.kill(os.getpid(), signal.SIGKILL)
        return outcomes[: jobs[0].parameters.get("only")]

    def stop(self) -> None:
        time.sleep(self.slow_stop_s)
        self.stopped.set()

    def health(self) -> dict[str, Any]:
        return {"temperature_C": float("nan"), "acts": self.acts.name}

    def inspect(self, job: Job) -> Outcome | None:
        acted = self.acts.exists() and job.command_id in self.acts.read_text().split()
        if self.answer == "sensor":
            return Outcome("ok", {"reading": 2.0}, message="the door sensor saw it") if acted else Outcome("untouched")
        return None


class Lab:
    """Keys, hosts and a dispatcher in one folder; ``dispatcher`` may be replaced by a restarted one."""

    heartbeat_s = 0.1

    def __init__(self, folder: Path, names: tuple[str, ...] = ("toy",), lease_s: float = 30.0, **settings: Any):
        self.folder, self.names = folder, names
        self.keys, self.endpoint_file = folder / "keys", folder / "endpoints.json"
        create_lab_keys(self.keys, names)
        self.events: list[tuple[str, str, str]] = []
        self.hosts = LocalHosts(
            folder,
            [HostSpec(name, f"{__name__}:Toy", settings) for name in names],
            keys=self.keys,
            endpoint_file=self.endpoint_file,
            heartbeat_s=self.heartbeat_s,
            lease_s=lease_s,
            linger_s=60.0,
            on_event=lambda *event: self.events.append(event),
        )
        self.dispatcher = self.new_dispatcher()

    def new_dispatcher(self, epoch: int = 1, **settings: Any) -> Dispatcher:
        given = {"heartbeat_s": self.heartbeat_s, "resend_s": 0.3, "loss_timeout_s": 60.0, **settings}
        return Dispatcher(
            keys=self.keys,
            epoch=epoch,
            endpoint_file=self.endpoint_file,
            on_event=lambda *event: self.events.append(event),
            **given,
        )

    def command(self, experiment: str = "e1", step: int = 0, attempt: int = 0, capability: str = "act", **asked: Any):
        return Command(
            command_id=command_id("run", experiment, step, attempt),
            experiment=experiment,
            step=step,
            attempt=attempt,
            capability=capability,
            sample=f"sample-{experiment}",
            parameters=asked,
        )

    def kill(self, name: str = "toy") -> None:
        """SIGKILL a host and wait until it is gone."""
        pid = self.hosts.pids()[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while self.hosts.pids()[name] == pid:
            time.sleep(0.01)

    def batch(self, *experiments: str, step: int = 0, attempt: int = 0, **asked: Any) -> list[Command]:
        """Commands that fire several samples at once; what is asked is asked of the first alone."""
        alone = [
            self.command(x, step, attempt, "fire", temperature_C=900, **(asked if x == experiments[0] else {}))
            for x in experiments
        ]
        return [x.model_copy(update={"batch": tuple(y.command_id for y in alone)}) for x in alone]

    async def restart(self) -> None:
        """Start dead hosts again and wait until the dispatcher has them."""
        self.hosts.start()
        for name in self.names:
            self.dispatcher.instruments[name].connected = False
        await self.dispatcher.wait_for(self.names, 60)

    def acts(self, name: str = "toy") -> list[str]:
        """Ids of the commands that the driver acted on, in order."""
        path = self.folder / "hosts" / name / "acts.log"
        return path.read_text().split() if path.exists() else []

    def starts(self, name: str = "toy") -> dict[str, int]:
        """Command id -> starts, from the host's ledger."""
        return starts(self.hosts.ledgers()[name])

    def kinds(self) -> list[str]:
        """Kinds of the events so far."""
        return [kind for kind, _, _ in self.events]


@asynccontextmanager
async def lab(folder: Path, **settings: Any) -> AsyncIterator[Lab]:
    """A running lab; no process is left behind."""
    one = Lab(folder, **settings)
    try:
        await one.dispatcher.start()
        one.hosts.start()
        await one.dispatcher.wait_for(one.names, 60)
        yield one
    finally:
        await one.dispatcher.close(release=True)
        await asyncio.to_thread(one.hosts.terminate, grace_s=1.0, timeout_s=3.0)
