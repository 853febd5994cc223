"""The Driver role: what a piece of hardware must offer to be hosted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Limit:
    """Bounds of one numeric command parameter, in the unit that its name states."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Capability:
    """Something that an instrument can do.

    Attributes:
        name: the verb that recipes ask for (``arc_melt``).
        limits: parameter name -> Limit; checked by the controller and again by the host.
        quantities: reading name -> physical bounds of what it may report (the result gate uses them).
        idempotent: True where doing it twice does no harm (a measurement that leaves the sample as it was).
        batch: most samples that one physical act can take; above 1 the driver has ``run_batch``.
        programme: parameters that must be equal for jobs to share an act (``temperature_C`` of a furnace).
    """

    name: str
    limits: dict[str, Limit] = field(default_factory=dict)
    quantities: dict[str, Limit] = field(default_factory=dict)
    idempotent: bool = False
    batch: int = 1
    programme: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One command as a driver sees it.

    Attributes:
        command_id: unique for ever; also the seed of whatever the driver must draw at random is ``seed``.
        capability: which of the driver's capabilities is asked for.
        sample: id of the sample, made or handled by this command.
        parameters: JSON-like arguments.
        seed: same for every attempt at the same step, so that a repeated simulated measurement repeats its noise.
    """

    command_id: str
    capability: str
    sample: str
    parameters: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        status: ``ok``; ``failed`` (the chemistry or the measurement failed, the instrument is fine);
            ``fault`` (the instrument is broken).
        readings: quantity name -> number (unit in the name).
        arrays: name -> numpy array or nested list of floats (a diffraction pattern), sent as raw frames.
        duration_s: how long the physical action took, or would have taken where it is simulated.
        message: what a person should know.
    """

    status: str
    readings: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    duration_s: float = 0.0
    message: str = ""


PROMPT_S = 0.1
"""Longest act of a driver that calls itself prompt, in seconds."""

Progress = Callable[[float, str], None]
"""``progress(fraction, message)``: called by a driver while it works; cheap, may be called often."""


@runtime_checkable
class Driver(Protocol):
    """Hosted hardware. A class with keyword settings: ``MyDriver(workdir=Path, **settings)``.

    The host calls one method at a time, but ``stop`` may come from another thread at any moment.

    A driver with an attribute ``prompt = True`` promises that every method of it is over in ``PROMPT_S``. It has no
    thread of its own then: the process acts in its serving thread, and writes to the disk once for all prompt drivers
    that begin or end at a time. What waits for hardware is not prompt: it would keep its neighbours from working.
    """

    def __init__(self, *, workdir: Path, **settings: Any) -> None: ...

    def capabilities(self) -> list[Capability]:
        """What it can do, with limits. Cheap; called once, when it connects."""
        ...

    def run(self, job: Job, progress: Progress) -> Outcome:
        """Act, and return what came of it. An exception means that the outcome is a fault, with its text."""
        ...

    def stop(self) -> None:
        """Go to the safe state at once; a running ``run`` returns early with status ``failed``."""
        ...

    def health(self) -> dict[str, Any]:
        """Small, quick facts for the dashboard (temperature, door, last error)."""
        ...

    def inspect(self, job: Job) -> Outcome | None:
        """After a crash amid ``job``: what a sensor says came of it.

        Returns the Outcome where a sensor proves that the job was completed, an Outcome with status ``untouched``
        where it proves that nothing physical happened, and ``None`` where it cannot tell (a person must).
        """
        ...


@runtime_checkable
class BatchDriver(Driver, Protocol):
    """A Driver with a capability whose ``batch`` is above 1: several samples in one physical act."""

    def run_batch(self, jobs: list[Job], progress: Progress) -> list[Outcome]:
        """Act once on several samples, and return what came of each, in the order of ``jobs``.

        The jobs have one capability and agree in its ``programme``. An exception means that every outcome is a fault.
        After a crash each job is looked back at on its own, with ``inspect``.
        """
        ...
