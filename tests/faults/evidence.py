"""What really happened, read with sqlite3 from the ledgers, the journal and the instruments' own books.

None of the code under test takes part: only its files do.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

KEYS = ("state", "starts", "acknowledged")


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
    known = {row[0]: dict(zip(KEYS, row[1:], strict=True)) for row in found}
    known = with_log(known, file.parent.parent, file.parent.name)
    return {
        name: {key: row[key] for key in KEYS} | {"acknowledged": bool(row["acknowledged"])}
        for name, row in known.items()
    }


def logged(hosts: Path, instrument: str) -> list[tuple[dict[str, Any], list[bytes]]]:
    """What the logs of host processes say of an instrument, in their order: head and frames of each record."""
    found = []
    for file in sorted([*hosts.glob("*.redo"), *(hosts / instrument).glob("*.redo")], key=_number):
        data, place = file.read_bytes(), 0
        while data[place : place + 4] == b"ath1" and len(data) >= place + 12:
            length, checksum = struct.unpack_from("<II", data, place + 4)
            body = data[place + 12 : place + 12 + length]
            if len(body) < length or zlib.crc32(body) != checksum:  # torn: promised to nobody
                break
            place += 12 + length
            line, _, rest = body.partition(b"\n")
            head = json.loads(line)
            ends = [sum(head["frames"][: n + 1]) for n in range(len(head["frames"]))]
            frames = [rest[end - size : end] for end, size in zip(ends, head["frames"], strict=True)]
            found += [(head, frames)] if head["instrument"] == instrument else []
    return found


def with_log(rows: dict[str, dict[str, Any]], hosts: Path, instrument: str) -> dict[str, dict[str, Any]]:
    """Add to a ledger's rows what its database has not taken in yet."""
    starts: Counter[str] = Counter()
    for head, frames in logged(hosts, instrument):
        for text in frames if "epoch" in head else ():
            name = json.loads(text)["command_id"]
            starts[name] += 1
            row = rows.setdefault(name, {"command_id": name, "state": "received", "acknowledged": 0, "report": None})
            row["state"] = "started" if row["state"] == "received" else row["state"]
            row["starts"] = max(row.get("starts", 0), starts[name])
        for arrays in head.get("done", ()):
            report, frames = json.loads(frames[0]), frames[1 + arrays :]
            if (row := rows[report["command_id"]])["state"] != "done":
                row |= {"state": "done", "report": report}
    return rows


def _number(file: Path) -> int:
    return int(file.name.removesuffix(".redo").rpartition(".")[2])


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
