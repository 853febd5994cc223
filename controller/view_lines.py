"""Displays made of lines: for logs and for programs."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from controller.errors import AthanorError
from controller.rundir import RunDirectory
from controller.state import State
from controller.summary import describe, summarize
from controller.view_progress import OUTCOMES, Progress, Result, clean, label, number
from controller.view_summary import closing, interruption, quantiles_ms

if TYPE_CHECKING:
    from controller.hold import Hold
    from controller.loop import Overhead

log = logging.getLogger(__name__)


class Lines:
    """A display that writes lines and survives the loss of its reader: a closed pipe must not end a campaign.

    Args:
        directory: the run; what it has done so far is read when the ``with`` block is entered.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.progress = Progress()
        self.begun = time.monotonic()
        self._told_end = False

    def __enter__(self) -> Self:
        """Say what begins or goes on."""
        state = self.directory.load()
        known = len(self.progress.take(state)) if state.campaign else 0
        self.started(state, known)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """After an unforeseen error, still say how to go on."""
        if error is not None and not self._told_end and not isinstance(error, AthanorError):
            self.failed(error)

    def update(self, state: State, lab: Hold | None) -> None:
        """Take in the state after a turn of the loop."""
        for result in self.progress.take(state):
            self.result(state, result)

    def note(self, text: str) -> None:
        """Something that the user waits for."""
        self.say(text)

    def failed(self, error: BaseException) -> None:
        """The campaign stopped before its end."""
        self._told_end = True

    def done(self, state: State, overhead: Overhead, report: Path | None) -> None:
        """The campaign is finished."""
        self._told_end = True

    def started(self, state: State, known: int) -> None:
        """Before the first turn."""
        raise NotImplementedError

    def result(self, state: State, result: Result) -> None:
        """After each experiment."""
        raise NotImplementedError

    def say(self, line: str) -> None:
        """Write a line. After the reader has gone, the rest is dropped, with one word in the log."""
        try:
            print(line, flush=True)
        except (BrokenPipeError, ValueError) as error:
            log.warning("nobody reads the output any more (%s); the campaign goes on without it", error)
            with suppress(OSError, ValueError):  # a stream without a descriptor has nothing to point elsewhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LogLines(Lines):
    """Plain text, one line a finished experiment, no control codes."""

    def started(self, state: State, known: int) -> None:
        """Name, seed, directory, goal."""
        campaign = state.campaign
        if campaign is None:
            return
        wants = ", ".join(f"{o.direction} {o.name}" for o in campaign.objectives)
        self.say(f"{campaign.name}: {wants}; {campaign.budget.experiments} experiments, seed {campaign.seed}")
        if known:
            self.say(f"going on in {self.directory.path} after {known} finished experiments")
        else:
            self.say(f"run directory {self.directory.path}; starting the lab and the science")

    def result(self, state: State, result: Result) -> None:
        """``[12/60] E0012 Co2MnSi (L2_1)  measured  saturation_magnetization_T 1.12  hhi 3120  best 1.43``."""
        campaign, observation = state.require(), result.observation
        total, values = campaign.budget.experiments, observation.values
        parts = [
            f"[{result.number:>{len(str(total))}}/{total}] {observation.experiment} {label(observation.candidate)}",
            OUTCOMES[observation.outcome],
            *(f"{o.name} {number(values[o.name])}" for o in campaign.objectives if o.name in values),
        ]
        if result.reason:
            parts.append(f"({clean(result.reason)})")
        if result.best is not None:
            star = "new best" if result.is_best else "best"
            parts.append(f"{star} {number(result.best.values[campaign.objectives[0].name])}")
        self.say("  ".join(parts))

    def failed(self, error: BaseException) -> None:
        """What is safe and how to go on."""
        super().failed(error)
        for line in interruption(self.directory, error):
            self.say(line)

    def done(self, state: State, overhead: Overhead, report: Path | None) -> None:
        """The closing summary."""
        super().done(state, overhead, report)
        wall_s = time.monotonic() - self.begun
        for line in closing(self.directory, state, self.progress, overhead, report, wall_s):
            self.say(line)


class JsonLines(Lines):
    """One JSON object a line, each with ``event``:

    - ``started``: name, run_id, dir, seed, budget, objectives (name, direction), constraints (names), known (how many
      experiments were finished before; their results are not repeated).
    - ``result``: experiment, number, budget, candidate, formula, prototype, parameters, outcome, reason, values,
      feasible, is_best, best (``{experiment, candidate, value}`` by the first objective, or null), lab_hours, wall_s
      (of this controller).
    - ``finished``: everything of ``athanor status --json``, and wall_s, overhead_ms (p50, p99 of the controller's own
      time a turn; null where no turn was made), report (path or null).
    - ``note``: text, about something that takes a while.
    - ``failed``: error (its class), message, exit_code, resume (the command).
    """

    def started(self, state: State, known: int) -> None:
        """See the class."""
        campaign = state.campaign
        if campaign is None:
            return
        self._tell(
            "started",
            name=campaign.name,
            run_id=state.started.run_id if state.started else "",
            dir=str(self.directory.path),
            seed=campaign.seed,
            budget=campaign.budget.experiments,
            objectives=[{"name": o.name, "direction": o.direction} for o in campaign.objectives],
            constraints=[c.name for c in campaign.constraints],
            known=known,
        )

    def result(self, state: State, result: Result) -> None:
        """See the class."""
        campaign, candidate, best = state.require(), result.observation.candidate, result.best
        first = campaign.objectives[0].name
        self._tell(
            "result",
            **describe(result.observation),
            number=result.number,
            budget=campaign.budget.experiments,
            formula=candidate.formula,
            prototype=candidate.prototype,
            parameters=candidate.parameters,
            reason=result.reason,
            feasible=result.feasible,
            is_best=result.is_best,
            best=best and {"experiment": best.experiment, "candidate": best.candidate.id, "value": best.values[first]},
            lab_hours=round(state.now_s / 3600, 4),
            wall_s=round(time.monotonic() - self.begun, 3),
        )

    def failed(self, error: BaseException) -> None:
        """See the class."""
        super().failed(error)
        self._tell(
            "failed",
            error=type(error).__name__,
            message=str(error),
            exit_code=getattr(error, "exit_code", 1),
            resume=f"athanor resume {self.directory.path}",
        )

    def done(self, state: State, overhead: Overhead, report: Path | None) -> None:
        """See the class."""
        super().done(state, overhead, report)
        p50, p99 = quantiles_ms(overhead.turns)
        self._tell(
            "finished",
            **summarize(state, running=False),
            wall_s=round(time.monotonic() - self.begun, 3),
            overhead_ms=None if math.isnan(p50) else {"p50": round(p50, 3), "p99": round(p99, 3)},
            report=str(report) if report else None,
        )

    def note(self, text: str) -> None:
        """``note``: text."""
        self._tell("note", text=text)

    def _tell(self, event: str, **fields: Any) -> None:
        self.say(json.dumps({"event": event, **fields}))
