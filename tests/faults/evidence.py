"""What really happened, read with sqlite3 from the ledgers, the journal and the instruments' own books.

None of the code under test takes part: only its files do.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any


def rows(file: Path, query: str) -> list[tuple]:
    """What a database holds, also while others write to it."""
    database = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def ledger(file: Path) -> dict[str, dict[str, Any]]:
    """Command id -> ``state``, ``starts``, ``acknowledged``, of one host."""
    if not file.exists():
        return {}
    found = rows(file, "SELECT command_id, state, starts, acknowledged FROM commands")
    return {row[0]: {"state": row[1], "starts": row[2], "acknowledged": bool(row[3])} for row in found}


def journal(run: Path, *kinds: str) -> list[dict[str, Any]]:
    """The events of a run in their order, of these kinds or of all."""
    events = [json.loads(row[0]) for row in rows(run / "journal.sqlite", "SELECT body FROM events ORDER BY seq")]
    return [event for event in events if not kinds or event["kind"] in kinds]


def book(file: Path) -> list[str]:
    """Command ids in the order in which an instrument acted on them; a book has a line, or an object, an act."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["command_id"] if line.startswith("{") else line for line in lines if line]


def check_promises(run: Path, acts: list[str]) -> None:
    """Assert promises 1 to 3 of a run whose instruments, by their own books, acted on ``acts``."""
    entries: dict[str, dict[str, Any]] = {}
    for file in (run / "lab" / "hosts").glob("*/ledger.sqlite"):
        entries.update(ledger(file))
    ordered = [event["command_id"] for event in journal(run, "command_ordered")]
    reports = Counter(e["command_id"] for e in journal(run, "command_reported") if e["status"] != "refused")
    unknown = {event["command_id"] for event in journal(run, "outcome_unknown")}
    judged = {event["command_id"] for event in journal(run, "reconciled")}

    assert len(ordered) == len(set(ordered)), "ordered twice"
    assert set(entries) <= set(ordered), "intent before act: at an instrument, and not in the journal"
    assert {name for name, entry in entries.items() if entry["starts"] > 1} == set(), "started twice"
    assert [name for name, count in Counter(acts).items() if count > 1] == [], "acted twice"
    assert all(entries[name]["starts"] == 1 for name in acts), "acted on without a start in the ledger"
    assert [name for name, count in reports.items() if count > 1] == [], "reported twice"
    lost = {name for name, entry in entries.items() if entry["acknowledged"]} - set(reports) - unknown
    assert lost == set(), "acknowledged and then lost"
    in_doubt = {name for name, entry in entries.items() if entry["state"] == "started"}
    assert in_doubt & set(reports) <= judged, "an unknown outcome became a known one without anybody's word"
    assert judged <= unknown
