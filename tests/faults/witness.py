"""What happened to a campaign, from its files alone: instruments' books, hosts' ledgers and logs, the journal.

Nothing here imports the code under test.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.evidence import with_log

INSTRUMENTS = ("kiln", "gauge")
PERSON = "the person of the kill points"


@dataclass
class Findings:
    """Sentences about what must not be; all empty where the promises hold."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    not_ended: list[str] = field(default_factory=list)
    otherwise: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        return [*self.lost, *self.twice, *self.silent, *self.not_ended, *self.otherwise]


def events(folder: Path) -> list[dict[str, Any]]:
    """The journal's events in order."""
    return [json.loads(body) for (body,) in _rows(folder / "run" / "journal.sqlite", "SELECT body FROM events")]


def chain(folder: Path) -> list[str]:
    """The journal's hash chain: what was durable once must stay its beginning."""
    return [link for (link,) in _rows(folder / "run" / "journal.sqlite", "SELECT chain FROM events ORDER BY seq")]


def ledger(folder: Path, instrument: str) -> dict[str, dict[str, Any]]:
    """Command id -> its row."""
    columns = ("command_id", "state", "starts", "report", "acknowledged")
    path = folder / "run" / "lab" / "hosts" / instrument / "ledger.sqlite"
    if not path.exists():
        return {}
    try:
        rows = _rows(path, f"SELECT {', '.join(columns)} FROM commands")
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # its host died before it had made one
            return {}
        raise
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    known = {row["command_id"]: {**row, "report": json.loads(row["report"] or "null")} for row in found}
    return with_log(known, path.parent.parent, instrument)


def book(folder: Path, instrument: str) -> list[dict[str, Any]]:
    """Every physical act, in order."""
    path = folder / f"{instrument}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def open_questions(folder: Path) -> list[str]:
    """Commands of unknown outcome that nobody has judged."""
    journal = events(folder)
    judged = {event["command_id"] for event in journal if event["kind"] == "reconciled"}
    unknown = [event["command_id"] for event in journal if event["kind"] == "outcome_unknown"]
    return sorted(set(unknown) - judged)


def learnt(folder: Path) -> list[str]:
    """Choices and observations in order, to be the same byte for byte."""
    journal = events(folder)
    choices = [json.dumps(event["choices"]) for event in journal if event["kind"] == "choice_made"]
    return choices + [json.dumps(event) for event in journal if event["kind"] == "experiment_finished"]


def acknowledged_and_not_kept(folder: Path) -> list[str]:
    """Reports that a host was told to forget and that the journal does not have; to be asked at any moment."""
    told = {c for name in INSTRUMENTS for c, row in ledger(folder, name).items() if row["acknowledged"]}
    kept = {event["command_id"] for event in events(folder) if event["kind"] == "command_reported"}
    return [f"{command}: acknowledged, not in the journal" for command in sorted(told - kept)]


def examine(folder: Path, *, budget: int, blind: bool, acting: list[str], undisturbed: list[str] | None) -> Findings:
    """What is wrong with an ended campaign.

    Args:
        folder: of the campaign: ``run``, and the instruments' books.
        budget: how many experiments it should have had.
        blind: whether its instruments have no sensor.
        acting: commands amid whose act (started, not finished) a host was killed.
        undisturbed: what a campaign that nobody disturbed has ``learnt``.
    """
    found = Findings()
    journal = events(folder)
    rows = {c: row for name in INSTRUMENTS for c, row in ledger(folder, name).items()}
    _ended(found, journal, budget)
    _nothing_lost(found, folder, journal, rows)
    _nothing_twice(found, folder, journal, rows)
    _nothing_silent(found, journal, rows, set(acting) if blind else set(), blind)
    undecided = any(event["kind"] == "outcome_unknown" for event in journal)
    if undecided and not blind:
        found.silent.append("an outcome is unknown although a sensor could tell")
    if undisturbed is not None and not undecided and learnt(folder) != undisturbed:
        found.otherwise.append("choices or observations differ from those of an undisturbed run")
    return found


def _ended(found: Findings, journal: list[dict[str, Any]], budget: int) -> None:
    finished = {event["experiment"] for event in journal if event["kind"] == "experiment_finished"}
    if len(finished) != budget or journal[-1]["kind"] != "campaign_finished":
        found.not_ended.append(f"{len(finished)} of {budget} experiments ended, last event {journal[-1]['kind']}")


def _nothing_lost(found: Findings, folder: Path, journal: list[dict[str, Any]], rows: dict[str, Any]) -> None:
    reported = {event["command_id"]: event for event in journal if event["kind"] == "command_reported"}
    for command, row in rows.items():
        if row["state"] == "done" and not _same(reported.get(command), row["report"]):
            found.lost.append(f"{command}: done in the ledger, {_said(reported.get(command))} in the journal")
    for name in INSTRUMENTS:
        for act in book(folder, name):
            if act["command"] not in rows:
                found.lost.append(f"{act['command']}: done at the {name}, not in its ledger")
    judged = {event["command_id"]: event["verdict"] for event in journal if event["kind"] == "reconciled"}
    orders = {event["command_id"]: event["experiment"] for event in journal if event["kind"] == "command_ordered"}
    spoilt = {orders[command] for command, verdict in judged.items() if verdict in ("failed", "discard")}
    for event in journal:
        ended = event["kind"] == "experiment_finished" and event["experiment"] not in spoilt
        if ended and event["outcome"] != "measured":
            found.lost.append(f"{event['experiment']} ended as {event['outcome']}: {event['reason']}")


def _nothing_twice(found: Findings, folder: Path, journal: list[dict[str, Any]], rows: dict[str, Any]) -> None:
    for command, row in rows.items():
        if row["starts"] > 1:
            found.twice.append(f"{command}: started {row['starts']} times")
    orders = {event["command_id"]: event for event in journal if event["kind"] == "command_ordered"}
    failed = Counter(
        (orders[event["command_id"]]["instrument"], orders[event["command_id"]]["experiment"])
        for event in journal
        if event["kind"] == "reconciled" and event["verdict"] == "failed"
    )
    for name in INSTRUMENTS:
        # The person says `repeat` only of what the book does not have, so a sample has one act; but a measurement that
        # the person calls failed is taken again, as a new command.
        for key in ("command", "sample"):
            for value, count in Counter(act[key] for act in book(folder, name)).items():
                if count > 1 + (failed[name, value] if key == "sample" and name == "gauge" else 0):
                    found.twice.append(f"{key} {value}: {count} acts at the {name}")


def _nothing_silent(
    found: Findings, journal: list[dict[str, Any]], rows: dict[str, Any], acting: set[str], blind: bool
) -> None:
    unknown = {event["command_id"] for event in journal if event["kind"] == "outcome_unknown"}
    for command, row in rows.items():
        if blind and row["state"] == "done" and row["report"]["source"] != "driver":
            found.silent.append(f"{command}: reported by {row['report']['source']} of a blind instrument")
        if row["state"] == "started" and command not in unknown:
            found.silent.append(f"{command}: started and never finished, and nobody was asked")
    for command in acting:
        if rows.get(command, {}).get("state") != "started" or command not in unknown:
            found.silent.append(f"{command}: its host was killed amid the act, and it does not count as unknown")
    asked: set[str] = set()
    for event in journal:
        command = event.get("command_id", "")
        if event["kind"] == "outcome_unknown":
            asked.add(command)
        elif event["kind"] == "reconciled":
            if command not in asked or event["by"] != PERSON:
                found.silent.append(f"{command}: reconciled by {event['by']}")
            asked.discard(command)
        elif event["kind"] in ("command_reported", "step_finished") and command in asked:
            found.silent.append(f"{command}: {event['kind']} before any verdict")
        reported = event["kind"] == "command_reported" and event["status"] != "refused"
        if reported and rows.get(command, {}).get("state") != "done":
            found.silent.append(f"{command}: {event['status']} in the journal, not done in any ledger")
    found.silent += [f"{command}: still unknown" for command in sorted(asked)]


def _same(event: dict[str, Any] | None, report: dict[str, Any]) -> bool:
    return event is not None and all(event[key] == report[key] for key in ("status", "readings"))


def _said(event: dict[str, Any] | None) -> str:
    return "nothing" if event is None else f"{event['status']} {event['readings']}"


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10.0)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()
