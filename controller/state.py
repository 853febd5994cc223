"""The campaign as a pure function: ``evolve(state, event) -> state`` and ``decide(state) -> Plan``.

No I/O, no clock, no randomness but the seeds in the events. That one cut gives crash recovery, replay and most of the
tests.

``decide`` is level-triggered: it returns the events that follow from the state now, and the tasks that should be under
way. Whoever restarts after a crash calls it again and gets the same answer.
"""

from controller.decide import Plan, choice_order, decide, next_deadline_s, training_order, trials_before
from controller.fold import evolve
from controller.ordering import derive_seed
from controller.records import Command, Experiment, InstrumentState, State, StepRecord
from controller.tasks import ChooseTask, CommandTask, PlanTask, ReturnTask, ScheduleTask, Task, TrainTask

__all__ = [
    "ChooseTask",
    "Command",
    "CommandTask",
    "Experiment",
    "InstrumentState",
    "Plan",
    "PlanTask",
    "ReturnTask",
    "ScheduleTask",
    "State",
    "StepRecord",
    "Task",
    "TrainTask",
    "choice_order",
    "decide",
    "derive_seed",
    "evolve",
    "next_deadline_s",
    "training_order",
    "trials_before",
]
