"""A host process with one instrument and the smallest controller that speaks to it: for checks, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from instruments.driver import Job
from instruments.errors import InstrumentFault
from instruments.host_config import HostConfig
from instruments.keys import create_lab_keys
from instruments.ledger import starts
from instruments.messages import (
    Acknowledge,
    Announce,
    Command,
    Health,
    Heartbeat,
    Known,
    Message,
    Outbox,
    Query,
    Refused,
    Report,
    Reset,
    Stop,
    Stopped,
    decode,
)
from instruments.transport import Channel, Server, write_endpoints

NAME = "checked"
BEAT_S = 0.2
Found = TypeVar("Found")


class HostBench:
    """A real host, its ledger and keys in ``folder``. Use it as a context manager; no process is left behind.

    Args:
        folder: empty.
        driver, settings: of the host.
        patience_s: how long to wait for any answer.
    """

    def __init__(self, folder: Path, driver: str, settings: dict[str, Any], *, patience_s: float):
        self.folder, self.patience_s = folder, patience_s
        keys, endpoints = folder / "keys", folder / "endpoints.json"
        create_lab_keys(keys, [NAME])
        self.config = HostConfig(
            name=NAME, driver=driver, settings=settings, workdir=folder / "host", keys=keys,
            endpoint_file=endpoints, heartbeat_s=BEAT_S, linger_s=60.0,
        )  # fmt: skip
        (folder / "host.json").write_text(self.config.model_dump_json())
        self._runner = asyncio.Runner()
        self._routes: dict[Channel, bytes] = {}
        self._outboxes: dict[Channel, Outbox] = {"work": Outbox("bench", 1), "stop": Outbox("bench", 1)}
        self._inbox: asyncio.Queue[Message] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._runner.run(self._open(keys, endpoints))

    def __enter__(self) -> HostBench:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._runner.run(self._close())
        self._runner.close()

    def start(self) -> None:
        """Start the host and wait until its driver is loaded. Raises InstrumentFault with the end of its log."""
        self._routes = {}
        self._inbox = asyncio.Queue()
        with (self.folder / "host.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "instruments.host", "--config", str(self.folder / "host.json")],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self.ask(None, lambda body: body if isinstance(body, Announce) else None)
        self.ask(None, lambda body: body if isinstance(body, Health) and len(self._routes) == 2 else None)

    def kill(self) -> None:
        """SIGKILL the host and wait until it is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def await_death(self) -> None:
        """Wait until the host has died by itself. Raises InstrumentFault where it does not."""
        try:
            if self._process is not None:
                self._process.wait(self.patience_s)
        except subprocess.TimeoutExpired:
            raise InstrumentFault(f"the host did not end in {self.patience_s:g} s") from None

    def starts(self) -> dict[str, int]:
        """Command id -> how often it was started, from the ledger."""
        return starts(self.config.ledger)

    def tell(self, body: Any) -> None:
        """Send once, without waiting."""
        self._runner.run(self._send(body))

    def ask(self, body: Any, answer: Callable[[Any], Found | None]) -> Found:
        """Send ``body`` (again and again, None: nothing) until ``answer`` finds what it wants in something said.

        Raises:
            InstrumentFault: it never came; with the end of the host's log.
        """
        return self._runner.run(self._ask(body, answer))

    def report(self, *commands: Command) -> list[Report]:
        """Send commands until each has its report, and acknowledge them. Raises InstrumentFault for a refusal."""
        found: dict[str, Report] = {}
        wanted = {command.command_id for command in commands}

        def answer(body: Any) -> list[Report] | None:
            if getattr(body, "command_id", None) not in wanted:
                return None
            if isinstance(body, Refused) and not body.retry:
                raise InstrumentFault(f"the host refused: {body.reason}")
            if isinstance(body, Report):
                found[body.command_id] = body
            return [found[c.command_id] for c in commands] if len(found) == len(commands) else None

        reports = self.ask(list(commands), answer)
        for command in commands:
            self.tell(Acknowledge(command_id=command.command_id))
        return reports

    def known(self, command: Command) -> Known:
        """What the host knows of a command."""
        return self.ask(
            Query(command_id=command.command_id),
            lambda body: body if isinstance(body, Known) and body.command_id == command.command_id else None,
        )

    def stop(self) -> float:
        """Stop the instrument; returns the milliseconds until the host said that the driver had been told."""
        begun = time.monotonic()
        said = self.ask(Stop(stop_id=f"stop-{begun}"), lambda body: body if isinstance(body, Stopped) else None)
        if said.error:
            raise InstrumentFault(f"the driver's stop() failed: {said.error}")
        return (time.monotonic() - begun) * 1_000

    def reset(self) -> None:
        """End the stop."""
        self.ask(
            Reset(who="conformance", reason="the check is over"),
            lambda body: body if isinstance(body, Health) and not body.stopped else None,
        )

    async def _open(self, keys: Path, endpoints: Path) -> None:
        self._server = Server(keys=keys)
        write_endpoints(endpoints, self._server.open())
        self._inbox = asyncio.Queue()
        self._readers = [asyncio.create_task(self._read("work")), asyncio.create_task(self._read("stop"))]

    async def _close(self) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._server.close()

    async def _read(self, channel: Channel) -> None:
        while True:
            received = await self._server.receive(channel)
            if received is not None and self._inbox is not None:
                self._routes[channel] = received[0].route
                self._inbox.put_nowait(decode(received[1]))

    async def _send(self, body: Any) -> None:
        channel: Channel = "stop" if isinstance(body, Stop) else "work"
        if channel in self._routes:
            await self._server.send(channel, self._routes[channel], self._outboxes[channel].wrap(body))

    async def _ask(self, body: Any, answer: Callable[[Any], Found | None]) -> Found:
        inbox = self._inbox
        assert inbox is not None
        bodies: Sequence[Any] = body if isinstance(body, list) else [body] if body is not None else []
        end = time.monotonic() + self.patience_s
        while time.monotonic() < end:
            for each in [Heartbeat(lease_s=60.0), *bodies]:
                await self._send(each)
            beat = time.monotonic() + BEAT_S
            while (left := beat - time.monotonic()) > 0:
                try:
                    message = await asyncio.wait_for(inbox.get(), left)
                except TimeoutError:
                    break
                if (found := answer(message.body)) is not None:
                    return found
            if self._process is not None and self._process.poll() is not None:
                break
        raise InstrumentFault(f"no answer from the host; the end of its log: {self._log()}")

    def _log(self) -> str:
        return " | ".join((self.folder / "host.log").read_text(errors="replace").splitlines()[-3:])[-800:]


def command_of(job: Job, batch: Sequence[str] = ()) -> Command:
    """Return the command that a controller would send for a job."""
    return Command(
        command_id=job.command_id, experiment="check", step=0, capability=job.capability, sample=job.sample,
        parameters=job.parameters, seed=job.seed, batch=tuple(batch),
    )  # fmt: skip
