"""What a finished experiment says of its route: the planners that learn are told this."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.candidate import Candidate
from models.route import Operation


class Trial(BaseModel):
    """One finished experiment, as its planner may learn from it.

    Attributes:
        experiment: its id.
        candidate: what was to be made.
        precursors_g: what was weighed.
        operations: what was done, in order; of an experiment that was cut short, what was planned.
        readings: everything that was read, also what the campaign does not ask for.
        outcome: ``measured``, ``failed_synthesis`` or ``failed_measurement``.
    """

    model_config = ConfigDict(frozen=True)

    experiment: str
    candidate: Candidate
    precursors_g: dict[str, float] = Field(default_factory=dict)
    operations: tuple[Operation, ...] = ()
    readings: dict[str, float] = Field(default_factory=dict)
    outcome: str
