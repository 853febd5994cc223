"""What the report says, as plain data: gathered from the journal alone."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

from controller.rundir import RunDirectory
from controller.state import State


@dataclass
class RunData:
    """A run, ready to be reported."""

    state: State
    walls: list[float] = field(default_factory=list)

    def csv(self) -> str:
        """One row an experiment."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(["experiment", "candidate", "outcome", "reason"])
        for e in self.state.experiments.values():
            writer.writerow([e.id, e.candidate.id, e.outcome or "pending", e.reason])
        return buffer.getvalue()


def collect(directory: RunDirectory) -> RunData:
    """Read a run's journal."""
    state, walls = directory.load()
    return RunData(state, walls)
