"""`athanor reconcile`: what is known of a sample whose outcome nobody knows, and a person's verdict on it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controller import events as ev
from controller.approval import leave_or_write
from controller.errors import CampaignError, RunStateError
from controller.labdir import LabDirectory
from controller.rundir import RunDirectory
from controller.state import State
from instruments.last_word import read_last_word

VERDICTS = ("done", "failed", "discard", "repeat")


def describe_unknown(directory: RunDirectory, state: State) -> list[dict[str, Any]]:
    """What is unknown, with all evidence: one dict a command.

    Keys: ``command``, ``experiment``, ``candidate``, ``instrument``, ``step`` (capability and parameters), ``evidence``
    (in words, as it was told), ``ledger`` (state in the host's ledger, and its own evidence), ``progress`` (the last
    one), ``facts`` (the driver's, the last ones), ``files`` (that the driver refers to). The last four are missing
    where nothing is known, e.g. of a host on another machine.
    """
    lab = LabDirectory(directory.lab)
    return [_evidence(lab, state, command) for command in state.unknown()]


def evidence_lines(found: dict[str, Any]) -> list[str]:
    """One entry of ``describe_unknown`` for people; its first line begins with the command's id."""
    lines = ["{command}  {experiment} {candidate} on {instrument}: {evidence}".format(**found)]
    for what in ("step", "ledger", "progress", "facts", "files"):
        if found.get(what):
            lines.append(f"    {what:<9} {found[what]}")
    return lines


def _evidence(lab: LabDirectory, state: State, command: Any) -> dict[str, Any]:
    order = command.order
    experiment = state.experiments[order.experiment]
    step = experiment.next_step
    found: dict[str, Any] = {
        "command": order.command_id,
        "experiment": order.experiment,
        "candidate": experiment.candidate.id,
        "instrument": order.instrument,
        "evidence": command.unknown,
    }
    if step is not None:
        found["step"] = f"{step.capability} {_in_words(step.parameters)}".strip()
    if (entry := lab.in_ledger(order.instrument, order.command_id)) is not None:
        found["ledger"] = ": ".join(filter(None, entry))
    said = read_last_word(lab.path / "hosts" / order.instrument)
    progress, facts = (said.get("progress") or {}).get(order.command_id), said.get("facts") or {}
    if progress:
        words = f"{progress['fraction']:.0%} {progress['message']}".strip()
        found["progress"] = f"{words} ({_age(progress)})"
    values = facts.get("values") or command.facts
    if values:
        age = f" ({_age(facts)})" if facts.get("values") else ""
        found["facts"] = f"{_in_words({k: v for k, v in values.items() if k != 'files'})}{age}"
    files = [*_files(values), *(f for f in _files(command.facts) if f not in _files(values))]
    if files:
        found["files"] = ", ".join(files)
    return found


def reconcile(
    directory: RunDirectory,
    command_id: str,
    verdict: str,
    *,
    by: str,
    reason: str,
    readings: Sequence[str] = (),
    evidence: Sequence[str] = (),
) -> str:
    """Give a verdict: written to the journal, or left for the controller that holds the run.

    Args:
        directory: the run.
        command_id: one of ``describe_unknown``.
        verdict: ``done`` (with readings), ``failed``, ``discard`` (the sample) or ``repeat`` (nothing had happened, or
            doing it again does no harm).
        by: who says so.
        reason: why.
        readings: ``name=value`` each.
        evidence: the path of a file each (noted with its size and SHA-256), or words.

    Returns:
        What came of it, in words.

    Raises:
        RunStateError: the command's outcome is not unknown.
        CampaignError: a reading is not ``name=number``, or is missing; no name.
    """
    if not by.strip() or by == ev.POLICY:
        raise CampaignError("give --by NAME: a person answers for the verdict.")
    state = directory.load()
    unknown = {command.order.command_id for command in state.unknown()}
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
    return leave_or_write(
        directory,
        ev.Reconciled(
            command_id=command_id,
            verdict=verdict,  # type: ignore[arg-type]
            by=by,
            reason=reason,
            readings=read,
            evidence=tuple(_exhibit(text) for text in evidence),
        ),
        f"{command_id} {verdict} by {by}",
    )


def _exhibit(text: str) -> ev.Exhibit:
    path = Path(text)
    try:
        if not path.is_file():
            return ev.Exhibit(text=text)
        data = path.read_bytes()
    except OSError as error:
        raise CampaignError(f"{text}: {error.strerror}; it cannot be evidence.") from error
    return ev.Exhibit(file=str(path.resolve()), n_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _files(facts: dict[str, Any]) -> list[str]:
    files = facts.get("files")
    return [str(x) for x in files] if isinstance(files, list) else ([str(files)] if files else [])


def _in_words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _age(said: dict[str, Any]) -> str:
    seconds = max(0.0, time.time() - float(said.get("at_s", 0.0)))
    unit, size = next((u, s) for u, s in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)) if seconds >= s or s == 1)
    return f"{seconds / size:.0f} {unit} ago"


def _reading(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise CampaignError(f"{text!r}: give a reading as name=number, e.g. sample_mass_g=4.93.")
    return name, value
