"""The example host of docs/examples as a process, and the real dispatcher before it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controller.dispatcher import Dispatcher
from instruments.keys import create_lab_keys
from instruments.messages import Command, command_id

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "foreign_host.py"


class ForeignLab:
    """Keys, a dispatcher, and one instrument called ``toy`` whose host knows nothing of this repository."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys, self.endpoints = folder, folder / "keys", folder / "endpoints.json"
        create_lab_keys(self.keys, ["toy"])
        self.events: list[tuple[str, str, str]] = []
        self.host: subprocess.Popen[bytes] | None = None
        self.dispatcher = self.new_dispatcher(1)

    def new_dispatcher(self, epoch: int, **settings: Any) -> Dispatcher:
        given = {"heartbeat_s": 0.1, "resend_s": 0.3, "loss_timeout_s": 60.0, **settings}
        return Dispatcher(
            keys=self.keys,
            epoch=epoch,
            endpoint_file=self.endpoints,
            on_event=lambda *event: self.events.append(event),
            **given,
        )

    async def take_over(self, epoch: int) -> None:
        """The dispatcher is gone; another one, with this epoch, has the lab."""
        await self.dispatcher.close(release=False)
        self.dispatcher = self.new_dispatcher(epoch)
        await self.dispatcher.start()
        await self.dispatcher.wait_for(["toy"], 60)

    def start_host(self) -> None:
        arguments = ["toy", str(self.keys), str(self.endpoints), str(self.folder / "ledger.jsonl"), "0.1"]
        # -I: neither this repository nor anything beside the script is on its path.
        self.host = subprocess.Popen([sys.executable, "-I", str(EXAMPLE), *arguments], cwd=self.folder)

    def kill_host(self) -> None:
        assert self.host is not None
        self.host.kill()
        self.host.wait()

    def command(self, experiment: str, attempt: int = 0, capability: str = "measure", **parameters: Any) -> Command:
        return Command(
            command_id=command_id("run", experiment, 0, attempt),
            experiment=experiment,
            step=0,
            attempt=attempt,
            capability=capability,
            sample=f"sample-{experiment}",
            parameters=parameters,
        )

    def acts(self) -> list[str]:
        """The instrument's own book."""
        book = self.folder / "ledger.jsonl.book"
        return book.read_text().split() if book.exists() else []

    async def acted(self, number: int = 1) -> None:
        while len(self.acts()) < number:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def foreign_lab(folder: Path) -> AsyncIterator[ForeignLab]:
    """A running lab; no process is left behind."""
    lab = ForeignLab(folder)
    await lab.dispatcher.start()
    lab.start_host()
    try:
        await lab.dispatcher.wait_for(["toy"], 60)
        yield lab
    finally:
        await lab.dispatcher.close(release=True)
        if lab.host is not None:
            lab.host.kill()
            lab.host.wait()
