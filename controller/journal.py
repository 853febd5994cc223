"""The journal: an append-only, durable, tamper-evident list of events in one SQLite file."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from controller.errors import StorageError
from controller.events import Event, parse

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq     INTEGER PRIMARY KEY,
    stream  TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    wall    REAL NOT NULL,
    body    TEXT NOT NULL,
    chain   TEXT NOT NULL,
    UNIQUE (stream, version)
);
CREATE TABLE IF NOT EXISTS blobs (
    digest TEXT PRIMARY KEY,
    dtype  TEXT NOT NULL,
    shape  TEXT NOT NULL,
    data   BLOB NOT NULL
);
"""

STREAM = "campaign"


class Journal:
    """One writer; events are staged in memory and become durable together at ``commit``.

    Whoever acts on the world commits first. Each row's ``chain`` is the SHA-256 of the row before it and its own body,
    so that a changed or missing row shows (``verify``).

    Args:
        path: the SQLite file. Created where ``create`` is true and it is missing.
        create: whether a new file may be made.
        readonly: open for reading beside a running controller.

    Raises:
        StorageError: no such journal, not a journal, disk full, read-only.
    """

    def __init__(self, path: Path, *, create: bool = False, readonly: bool = False) -> None:
        self.path = path
        self._staged: list[tuple[str, str, float]] = []
        self._blobs: dict[str, tuple[str, str, bytes]] = {}
        if not create and not path.exists():
            raise StorageError(f"{path}: no journal here. Give the directory of a run, as `athanor run` printed it.")
        try:
            if readonly:
                self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            else:
                self._db = sqlite3.connect(path)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_SCHEMA)
            row = self._db.execute("SELECT seq, version, chain FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise _storage_error(path, error) from error
        self._version, self._chain = (row[1], row[2]) if row else (0, "")

    def stage(self, events: Sequence[Event]) -> None:
        """Add events; they are durable after the next ``commit``."""
        wall = time.time()
        self._staged += [(event.kind, event.model_dump_json(), wall) for event in events]

    def stage_blob(self, data: bytes, dtype: str, shape: Sequence[int]) -> str:
        """Add an array; returns its SHA-256, under which ``blob`` finds it after the next ``commit``."""
        digest = hashlib.sha256(data).hexdigest()
        self._blobs[digest] = (dtype, ",".join(map(str, shape)), data)
        return digest

    def commit(self) -> None:
        """Make everything staged durable, all or nothing. Raises StorageError; what was staged stays staged."""
        if not self._staged and not self._blobs:
            return
        version, chain, rows = self._version, self._chain, []
        for kind, body, wall in self._staged:
            version += 1
            chain = _link(chain, body)
            rows.append((STREAM, version, kind, wall, body, chain))
        try:
            with self._db:
                self._db.executemany(
                    "INSERT OR IGNORE INTO blobs VALUES (?, ?, ?, ?)", [(d, *b) for d, b in self._blobs.items()]
                )
                self._db.executemany(
                    "INSERT INTO events (stream, version, kind, wall, body, chain) VALUES (?, ?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            raise _storage_error(self.path, error) from error
        self._version, self._chain = version, chain
        self._staged.clear()
        self._blobs.clear()

    def read(self, after: int = 0) -> Iterator[tuple[int, float, Event]]:
        """Yield (sequence number, wall time in s, event) of every durable event after ``after``, in order."""
        try:
            for seq, wall, body in self._db.execute(
                "SELECT seq, wall, body FROM events WHERE seq > ? ORDER BY seq", (after,)
            ):
                yield seq, wall, parse(body)
        except (sqlite3.Error, ValueError) as error:
            raise StorageError(
                f"{self.path}: the journal cannot be read ({error}). Keep the file: copy it before you try "
                "anything else."
            ) from error

    @property
    def version(self) -> int:
        """The number of the last durable event."""
        return self._version

    def chain_at(self, seq: int) -> str:
        """The hash chain up to an event; empty where there is no such event."""
        row = self._db.execute("SELECT chain FROM events WHERE seq = ?", (seq,)).fetchone()
        return row[0] if row else ""

    def last_kind(self) -> str:
        """The kind of the last durable event; empty where there is none."""
        row = self._db.execute("SELECT kind FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return row[0] if row else ""

    def silence_s(self) -> float:
        """Seconds on the wall clock since the last durable event; 0 for an empty journal, or a clock set back."""
        (wall,) = self._db.execute("SELECT max(wall) FROM events").fetchone()
        return round(max(0.0, time.time() - wall), 3) if wall is not None else 0.0

    def blob(self, digest: str) -> tuple[bytes, str, tuple[int, ...]]:
        """Return (data, dtype, shape) of an array. Raises KeyError."""
        row = self._db.execute("SELECT data, dtype, shape FROM blobs WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise KeyError(digest)
        return row[0], row[1], tuple(int(n) for n in row[2].split(",") if n)

    def verify(self) -> int:
        """Check the hash chain; return the number of events. Raises StorageError naming the first bad row."""
        chain, count = "", 0
        for seq, body, stored in self._db.execute("SELECT seq, body, chain FROM events ORDER BY seq"):
            chain = _link(chain, body)
            count += 1
            if chain != stored:
                raise StorageError(f"{self.path}: event {seq} was changed after it was written; do not trust this run.")
        return count

    def close(self) -> None:
        """Close the file; what was staged and not committed is gone, as it would be after a crash."""
        self._db.close()


def _link(chain: str, body: str) -> str:
    return hashlib.sha256((chain + body).encode()).hexdigest()


def _storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    text = str(error)
    if "full" in text:
        advice = "free some space, then `athanor resume` goes on: everything acknowledged is safe"
    elif "readonly" in text or "read-only" in text or "unable to open" in text:
        advice = "the directory must be writable by this user"
    elif "locked" in text:
        advice = "another process holds it; `athanor status` tells which"
    elif "not a database" in text:
        advice = "this is not a journal; restore it from a copy"
    else:
        advice = "check the disk; the events before this one are safe"
    return StorageError(f"{path}: {text}: {advice}.")
