"""What the simulated instruments share: settings, seeded noise, injected faults, waiting, stopping."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from instruments.driver import Job, Outcome, Progress
from instruments.errors import LabError, Refused
from instruments.simulated.world import World

FAULTS = ("nan", "fault", "fail", "slow", "drop", "crash_before", "crash_after")
STOPPED = "stopped before anything was done to the sample"


class Stopped(Exception):
    """``stop`` was called while a job ran."""


class SimulatedInstrument:
    """Base of the simulated drivers. A subclass gives ``name``, ``capabilities``, ``inspect`` and ``act``.

    Settings:
        world: folder of the simulated matter, shared by the instruments of one laboratory.
        noise: scales every random error; 0 is a perfect instrument.
        faults: probability a job of ``nan`` (one reading is NaN), ``fault`` (the instrument breaks before acting),
            ``fail`` (the job fails before acting), ``slow`` (it takes ``slow_s`` longer), ``drop`` (it is done and not
            answered before a stop), ``crash_before`` and ``crash_after`` (its process is killed before, after acting),
            for tests of what comes after. Not *drift* and *stuck*, which the other simulators have: those remember.
        wall_s: real seconds that a job takes at least; 0: simulated time passes at once.
        slow_s: see ``faults``.

    Everything random is drawn from ``job.seed`` alone: the same job gives the same outcome, whoever runs it. Whether it
    is slow, dropped or crashes is drawn anew for each attempt, or nobody could ever get past it.
    """

    name = "instrument"

    def __init__(
        self,
        *,
        workdir: Path,
        world: str | Path,
        noise: float = 1.0,
        faults: Mapping[str, float] | None = None,
        wall_s: float = 0.0,
        slow_s: float = 2.0,
    ) -> None:
        self.workdir = Path(workdir)
        self.world = World(Path(world))
        self.noise = float(noise)
        self.faults = {kind: float(p) for kind, p in (faults or {}).items()}
        self.wall_s, self.slow_s = float(wall_s), float(slow_s)
        if self.noise < 0 or set(self.faults) - set(FAULTS) or any(not 0 <= p <= 1 for p in self.faults.values()):
            raise LabError(
                f"{self.name}: noise must be >= 0 and faults probabilities of {FAULTS}; got {noise}, {faults}"
            )
        self._stop = threading.Event()
        self._state = "idle"
        self._last_error = ""

    def act(self, job: Job, rng: random.Random, progress: Progress) -> Outcome:
        """Do the job; call ``self.wait`` before what a stop must prevent. Raises Refused where it cannot be begun."""
        raise NotImplementedError

    def run(self, job: Job, progress: Progress) -> Outcome:
        """Act on the sample; ``failed`` with the reason where the job cannot be begun."""
        with self.working(f"{job.capability} {job.sample}"):
            outcome = self.outcome(job, lambda: self.act(job, self.rng(job, "noise"), progress))
            self.acted(job, outcome)
            return outcome

    @contextlib.contextmanager
    def working(self, state: str) -> Iterator[None]:
        """While the body runs, ``health`` says ``state`` and ``stop`` ends ``wait``."""
        self._stop.clear()
        self._state = state
        try:
            yield
        except Exception as error:
            self._last_error = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._state = "idle"

    def outcome(self, job: Job, act: Callable[[], Outcome]) -> Outcome:
        """What came of ``act``, or of the fault injected in its place."""
        try:
            outcome = self._injected(job) or act()
        except Stopped:
            outcome = Outcome("failed", message=STOPPED)
        except (Refused, LabError) as error:
            # The job is wrong, the instrument is well: an exception would take it out of service.
            outcome = Outcome("failed", message=f"refused, nothing was done: {error}")
        if outcome.status != "ok":
            self._last_error = outcome.message
        elif self._drawn(job, "nan"):
            reading = self.rng(job, "which").choice(sorted(outcome.readings))
            outcome = replace(outcome, readings=outcome.readings | {reading: math.nan})
        return outcome

    def acted(self, job: Job, outcome: Outcome) -> None:
        """Call it when the act is done: here a process dies, or never answers."""
        if outcome.status != "ok":
            return
        if self._fated(job, "crash_after"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fated(job, "drop"):
            self._stop.wait()

    def stop(self) -> None:
        """Ask a running job to end before its act; an act that is done stays done and is reported."""
        self._stop.set()

    def health(self) -> dict[str, Any]:
        """State and last error."""
        return {"state": self._state, "last_error": self._last_error}

    def rng(self, job: Job, purpose: str) -> random.Random:
        """A stream of random numbers that depends on the seed, the instrument and the purpose alone."""
        return random.Random(f"{self.name}/{purpose}/{job.seed}")

    def wait(self) -> None:
        """Let ``wall_s`` pass. Raises Stopped as soon as ``stop`` is called."""
        self._pass(self.wall_s)

    def _pass(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stop.wait(max(0.0, min(0.05, end - time.monotonic()))):
            if time.monotonic() >= end:
                return
        raise Stopped

    def _injected(self, job: Job) -> Outcome | None:
        if self._fated(job, "crash_before"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fated(job, "slow"):
            self._pass(self.slow_s)
        if self._drawn(job, "fault"):
            return Outcome("fault", message=f"{self.name}: injected fault: interlock open, nothing was done")
        if self._drawn(job, "fail"):
            return Outcome("failed", message=f"{self.name}: injected failure before the act, nothing was done")
        return None

    def _drawn(self, job: Job, kind: str) -> bool:
        return self.rng(job, kind).random() < self.faults.get(kind, 0.0)

    def _fated(self, job: Job, kind: str) -> bool:
        attempt = job.command_id.rpartition("/")[2]
        return random.Random(f"{self.name}/{kind}/{job.seed}/{attempt}").random() < self.faults.get(kind, 0.0)
