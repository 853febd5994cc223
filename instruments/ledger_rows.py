"""The rows of a ledger's database (`instruments.ledger`): the schema, and every change. Whoever calls commits."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from instruments.messages import Command, Report

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS commands (
    command_id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    command TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'started', 'done')),
    starts INTEGER NOT NULL DEFAULT 0,
    evidence TEXT NOT NULL DEFAULT '',
    report TEXT,
    acknowledged INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS unacknowledged ON commands (command_id) WHERE state = 'done' AND acknowledged = 0;
CREATE TABLE IF NOT EXISTS arrays (
    command_id TEXT NOT NULL REFERENCES commands, position INTEGER NOT NULL, packed INTEGER NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (command_id, position)
) STRICT;
"""


@dataclass
class News:
    """What the log has of a command and the database not yet."""

    started: tuple[Command, int] | None = None
    report: Report | None = None
    texts: list[str] = field(default_factory=list)  # the command and the report, as the database keeps them


def digest(command: Command) -> str:
    """Return the SHA-256 of a command: an id that comes back with another digest is a mistake, not a repetition."""
    fields = command.model_dump(mode="json")
    if not command.batch:  # as it was before there were batches: ledgers outlive versions
        del fields["batch"]
    content = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def insert(database: sqlite3.Connection, command: Command, epoch: int) -> None:
    """A command is ``received``; no change where it is known."""
    database.execute(
        "INSERT INTO commands (command_id, digest, command, epoch, state) VALUES (?, ?, ?, ?, 'received') "
        "ON CONFLICT (command_id) DO NOTHING",
        (command.command_id, digest(command), command.model_dump_json(), epoch),
    )


def start(database: sqlite3.Connection, command: Command, epoch: int) -> None:
    """A command is ``started``; no change where it was before."""
    database.execute(
        "INSERT INTO commands (command_id, digest, command, epoch, state, starts) VALUES (?, ?, ?, ?, 'started', 1) "
        "ON CONFLICT (command_id) DO UPDATE SET state = 'started', starts = starts + 1 WHERE state = 'received'",
        (command.command_id, digest(command), command.model_dump_json(), epoch),
    )


def finish(database: sqlite3.Connection, command_id: str, report: str, frames: Sequence[bytes]) -> None:
    """A command that is ``started`` is ``done``, with its report (JSON) and arrays; no change where it is not."""
    changed = database.execute(
        "UPDATE commands SET state = 'done', report = ? WHERE command_id = ? AND state = 'started'",
        (report, command_id),
    ).rowcount
    if changed:
        database.executemany(
            "INSERT INTO arrays VALUES (?, ?, 0, ?)", [(command_id, i, frame) for i, frame in enumerate(frames)]
        )


def enter(database: sqlite3.Connection, news: News, heard: bool) -> bool:
    """All of a command's life in one row. False where the database knows more of it than that it was received."""
    assert news.started is not None and news.report is not None
    command, epoch = news.started
    changed = database.execute(
        "INSERT INTO commands (command_id, digest, command, epoch, state, starts, report, acknowledged) "
        "VALUES (?, ?, ?, ?, 'done', 1, ?, ?) ON CONFLICT (command_id) DO UPDATE SET state = 'done', "
        "starts = starts + 1, report = excluded.report, acknowledged = excluded.acknowledged WHERE state = 'received'",
        (command.command_id, digest(command), news.texts[0], epoch, news.texts[1], heard),
    ).rowcount
    if not changed:
        return False
    frames = [zlib.compress(frame, 1) if heard else frame for frame in news.report.frames]
    database.executemany(
        "INSERT INTO arrays VALUES (?, ?, ?, ?)",
        [(command.command_id, i, heard, frame) for i, frame in enumerate(frames)],
    )
    return True


def acknowledge(database: sqlite3.Connection, command_id: str) -> None:
    """The controller has the report: pack its arrays."""
    changed = database.execute(
        "UPDATE commands SET acknowledged = 1 WHERE command_id = ? AND state = 'done' AND acknowledged = 0",
        (command_id,),
    ).rowcount
    if not changed:
        return
    rows = database.execute("SELECT position, data FROM arrays WHERE command_id = ? AND packed = 0", (command_id,))
    for position, data in rows.fetchall():
        database.execute(
            "UPDATE arrays SET packed = 1, data = ? WHERE command_id = ? AND position = ?",
            (zlib.compress(data, 1), command_id, position),
        )
