"""Instruments that keep a book of every physical act, in processes that die where they are told to."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from tests.faults.fuse import wrap_host


class _Mortal:
    """The act is one line in the book, on disk at once. ``blind``: no sensor tells afterwards what was done;
    ``prompt``: as in ``Driver``."""

    name: str
    capability: Capability

    def __init__(self, *, workdir: Path, folder: str, seconds: float, blind: bool, prompt: bool = False) -> None:
        self.prompt = prompt
        self._book = Path(folder) / f"{self.name}.jsonl"
        self._seconds, self._blind = seconds, blind
        self._fuses = wrap_host(Path(folder), self.name)

    def capabilities(self) -> list[Capability]:
        return [self.capability]

    def readings(self, job: Job) -> dict[str, float]:
        raise NotImplementedError

    def run(self, job: Job, progress: Progress) -> Outcome:
        return self.run_batch([job], progress)[0]

    def run_batch(self, jobs: list[Job], progress: Progress) -> list[Outcome]:
        time.sleep(self._seconds)
        self._fuses.at("act", "before")
        acts = [{"command": job.command_id, "sample": job.sample, "readings": self.readings(job)} for job in jobs]
        with self._book.open("a") as file:
            file.write("".join(json.dumps(act) + "\n" for act in acts))
            file.flush()
            os.fsync(file.fileno())
        self._fuses.at("act", "after")
        time.sleep(self._seconds)
        return [self._outcome(job) for job in jobs]

    def _outcome(self, job: Job) -> Outcome:
        return Outcome("ok", self.readings(job), duration_s=1200 + 600 * job.parameters["x"])

    def stop(self) -> None:
        pass

    def health(self) -> dict[str, Any]:
        return {}

    def inspect(self, job: Job) -> Outcome | None:
        if self._blind:
            return None
        lines = self._book.read_text().splitlines() if self._book.exists() else []
        done = any(json.loads(line)["command"] == job.command_id for line in lines)
        return self._outcome(job) if done else Outcome("untouched")


class Kiln(_Mortal):
    """Fires ``together`` samples in one act, whatever their programme."""

    name = "kiln"

    def __init__(self, *, together: int = 1, **settings: Any) -> None:
        super().__init__(**settings)
        self.capability = Capability(
            "fire", limits={"x": Limit(0, 1)}, quantities={"shrinkage_pct": Limit(0, 100)}, batch=together
        )

    def readings(self, job: Job) -> dict[str, float]:
        return {"shrinkage_pct": 10 + job.parameters["x"]}


class Gauge(_Mortal):
    name = "gauge"
    capability = Capability("gauge", quantities={"strength_MPa": Limit(0, 1000)}, idempotent=True)

    def readings(self, job: Job) -> dict[str, float]:
        return {"strength_MPa": 100 - 80 * (job.parameters["x"] - 0.3) ** 2 + (job.seed % 1000) / 1000}
