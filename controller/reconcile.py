"""`athanor reconcile`: a person's verdict on a sample whose outcome nobody knows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from controller import events as ev
from controller.errors import CampaignError, RunStateError
from controller.journal import Journal
from controller.rundir import RunDirectory, RunLock
from controller.state import State

VERDICTS = ("done", "failed", "discard", "repeat")


def describe_unknown(state: State) -> list[dict[str, str]]:
    """What is unknown, with the evidence: one dict a command."""
    return [
        {
            "command": command.order.command_id,
            "experiment": command.order.experiment,
            "candidate": state.experiments[command.order.experiment].candidate.id,
            "instrument": command.order.instrument,
            "evidence": command.unknown,
        }
        for command in state.unknown()
    ]


def reconcile(
    directory: RunDirectory, command_id: str, verdict: str, *, by: str, reason: str, readings: Sequence[str] = ()
) -> None:
    """Write a verdict to the journal; the next ``athanor resume`` acts on it.

    Args:
        directory: the run; no controller may hold it.
        command_id: one of ``describe_unknown``.
        verdict: ``done`` (with readings), ``failed``, ``discard`` (the sample) or ``repeat`` (nothing had happened, or
            doing it again does no harm).
        by: who says so.
        reason: why.
        readings: ``name=value`` each.

    Raises:
        RunStateError: another controller holds the run, or the command's outcome is not unknown.
        CampaignError: a reading is not ``name=number``.
    """
    with RunLock(directory):
        state, _ = directory.load()
        unknown = {entry["command"] for entry in describe_unknown(state)}
        if command_id not in unknown:
            known = ", ".join(sorted(unknown)) or "none"
            raise RunStateError(f"{command_id}: its outcome is not unknown. Unknown in this run: {known}.")
        read = dict(_reading(text) for text in readings)
        order = state.commands[command_id].order
        step = state.experiments[order.experiment].next_step
        missing = [name for name in (step.quantities if step else ()) if name not in read]
        if verdict == "done" and missing:
            raise CampaignError(
                f"`done` needs what was read: give --reading {missing[0]}=NUMBER (wanted: {', '.join(missing)}). "
                "Without a reading, say failed, discard or repeat."
            )
        event = ev.Reconciled(
            command_id=command_id,
            verdict=verdict,  # type: ignore[arg-type]
            by=by,
            reason=reason,
            readings=read,
        )
        journal = Journal(directory.journal)
        try:
            journal.stage([event])
            journal.commit()
        finally:
            journal.close()


def _reading(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise CampaignError(f"{text!r}: give a reading as name=number, e.g. sample_mass_g=4.93.")
    return name, value
