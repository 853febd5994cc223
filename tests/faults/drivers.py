"""Instruments for fault tests: physical enough that doing something twice shows."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress


class Kiln:
    """Fires a sample. Not idempotent: every firing is a line in the bench's book. A sensor tells what was fired."""

    def __init__(self, *, workdir: Path, bench: str, seconds: float = 0.0, **_: Any) -> None:
        self.book = Path(bench) / "fired.jsonl"
        self.seconds = seconds

    def capabilities(self) -> list[Capability]:
        return [Capability("fire", limits={"x": Limit(0, 1)}, quantities={"shrinkage_pct": Limit(0, 100)})]

    def run(self, job: Job, progress: Progress) -> Outcome:
        time.sleep(self.seconds)
        with self.book.open("a") as file:
            file.write(
                json.dumps({"command_id": job.command_id, "sample": job.sample, "x": job.parameters["x"]}) + "\n"
            )
            file.flush()
            os.fsync(file.fileno())
        time.sleep(self.seconds)
        return self._outcome(job)

    def _outcome(self, job: Job) -> Outcome:
        return Outcome("ok", {"shrinkage_pct": 10 + job.parameters["x"]}, duration_s=3600.0)

    def stop(self) -> None:
        pass

    def health(self) -> dict[str, Any]:
        return {}

    def inspect(self, job: Job) -> Outcome | None:
        lines = self.book.read_text().splitlines() if self.book.exists() else []
        fired = any(json.loads(line)["command_id"] == job.command_id for line in lines)
        return self._outcome(job) if fired else Outcome("untouched")


class Gauge:
    """Measures a fired sample with noise from the job's seed. Idempotent."""

    def __init__(self, *, workdir: Path, seconds: float = 0.0, **_: Any) -> None:
        self.seconds = seconds

    def capabilities(self) -> list[Capability]:
        return [Capability("gauge", quantities={"strength_MPa": Limit(0, 1000)}, idempotent=True)]

    def run(self, job: Job, progress: Progress) -> Outcome:
        time.sleep(self.seconds)
        x = job.parameters["x"]
        noise = (job.seed % 1000) / 1000
        return Outcome("ok", {"strength_MPa": 100 - 80 * (x - 0.3) ** 2 + noise}, duration_s=1200 + 600 * x)

    def stop(self) -> None:
        pass

    def health(self) -> dict[str, Any]:
        return {}

    def inspect(self, job: Job) -> Outcome | None:
        return Outcome("untouched")


class BlindKiln(Kiln):
    """A kiln without a sensor: after a crash nobody can tell."""

    def inspect(self, job: Job) -> Outcome | None:
        return None


class MortalKiln(BlindKiln):
    """Its host dies right after the first firing of all, before anybody is told; without a sensor."""

    def run(self, job: Job, progress: Progress) -> Outcome:
        first = not self.book.exists()
        outcome = super().run(job, progress)
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome


class LyingGauge(Gauge):
    """Reads what cannot be: NaN, infinities, a strength beyond physics, nothing; from the sixth sample on, well."""

    def run(self, job: Job, progress: Progress) -> Outcome:
        outcome = super().run(job, progress)
        lies = [{"strength_MPa": x} for x in (math.nan, math.inf, -math.inf, 1e9)] + [{}]
        number = int(job.sample.removeprefix("E"))
        return replace(outcome, readings=lies[number - 1]) if number <= len(lies) else outcome


class MumblingGauge(Gauge):
    """Answers, at times, what no report can say: words for numbers, ragged arrays, another type, far too much."""

    calls = 0

    def run(self, job: Job, progress: Progress) -> Outcome:
        outcome = super().run(job, progress)
        nonsense: dict[int, Any] = {
            1: replace(outcome, readings={"strength_MPa": "strong"}),
            2: replace(outcome, arrays={"curve": [[1.0], [1.0, 2.0]]}),
            4: {"strength_MPa": 5.0},
            5: replace(outcome, arrays={f"curve {n}": [0.0] * (4 << 20) for n in range(3)}),
        }
        self.calls += 1
        return nonsense.get(self.calls - 1, outcome)


class GatedKiln(Kiln):
    """A kiln that goes on firing while the bench has a file ``closed``: a test need not hurry. Heeds its stop."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._stopped = threading.Event()

    def run(self, job: Job, progress: Progress) -> Outcome:
        self._stopped.clear()
        outcome = super().run(job, progress)
        while (self.book.parent / "closed").exists():
            if self._stopped.wait(0.02):
                return Outcome("failed", message="cooled down")
        return outcome

    def stop(self) -> None:
        self._stopped.set()


class TalkativeKiln(GatedKiln):
    """A kiln without a sensor that says how far it is and what it last saw."""

    def run(self, job: Job, progress: Progress) -> Outcome:
        progress(0.5, "hot")
        return super().run(job, progress)

    def health(self) -> dict[str, Any]:
        return {"temperature_C": 900, "files": ["/photos/kiln.jpg"]}

    def inspect(self, job: Job) -> Outcome | None:
        return None
