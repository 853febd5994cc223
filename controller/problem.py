"""What the scheduler is asked: samples, their steps and the instruments, self-contained and in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """A step still to be done.

    Attributes:
        step: its number in the recipe.
        kind: works of one kind may share an act.
        duration_s: what it is expected to take.
        hold_s: how long the sample may wait afterwards; ``None``: it keeps.
        options: (instrument, most samples in one act) that can do it.
    """

    step: int
    kind: str
    duration_s: float
    hold_s: float | None
    options: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Job:
    """A sample: its remaining works in order, from when it is there, until when the first must begin, and whether it
    has a place in the storage already. Times are seconds from now."""

    experiment: str
    ready_s: float
    due_s: float | None
    begun: bool
    works: tuple[Work, ...]


@dataclass(frozen=True)
class ScheduleProblem:
    """The question: ``free_s`` says when each instrument is free, ``storage`` how many samples the lab has room for."""

    number: int
    now_s: float
    jobs: tuple[Job, ...]
    free_s: tuple[tuple[str, float], ...]
    storage: int | None
