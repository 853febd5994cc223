"""What should be under way, as ``decide`` says it and the loop does it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChooseTask:
    """Have the science answer the outstanding choice order."""

    decision: int


@dataclass(frozen=True)
class PlanTask:
    """Have the science plan an experiment."""

    experiment: str


@dataclass(frozen=True)
class CommandTask:
    """See a command through: send it, or ask what became of it."""

    command_id: str


@dataclass(frozen=True)
class ScheduleTask:
    """Have the scheduler answer the outstanding schedule order."""

    schedule: int


@dataclass(frozen=True)
class TrainTask:
    """Have the science train the predictor on the first results."""

    n_observations: int


@dataclass(frozen=True)
class ReturnTask:
    """Wait until an instrument that is out of service is connected again."""

    instrument: str


Task = ChooseTask | PlanTask | CommandTask | ScheduleTask | TrainTask | ReturnTask
