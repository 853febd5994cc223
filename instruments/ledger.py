"""The host's durable memory: every command received, started, done, with its report. It makes "at most once" true.

A command goes ``received -> started -> done`` and never back. ``started`` is on disk before the driver acts and can be
written once; ``done`` carries the report. A restarted host that finds ``started`` without ``done`` does not know the
outcome, and says so.

Starts and reports are durable once they are in the log (`instruments.group_log`); the database takes them in a little
later, many in one transaction. Everything else is durable in the database at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import threading
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from instruments import ledger_rows as rows
from instruments.errors import LabError
from instruments.group_log import GroupLog, Record, records
from instruments.ledger_rows import digest
from instruments.messages import Command, Report, as_json
from instruments.process import ProcessLock

State = Literal["received", "started", "done"]

MIN_FREE_BYTES = 16 << 20
"""No command is started with less free disk than this: its report might find no room."""

BUSY_S = 0.2
"""Nobody else writes here; whoever does must not make the host miss its heartbeats."""

MAX_NEWS_BYTES = 4 << 20
"""Arrays beyond this are not kept in memory until the next heartbeat."""


@dataclass(frozen=True)
class Entry:
    """What the ledger knows of one command."""

    command: Command
    digest: str
    state: State
    starts: int
    evidence: str
    acknowledged: bool


class Ledger:
    """One instrument's ledger, held by one process at a time.

    ``start`` and ``finish`` belong to one thread, the driver's; the rest may be called from any.

    Args:
        path: SQLite file; ``path.lock`` beside it names the process that holds it.
        min_free_bytes: see ``MIN_FREE_BYTES``.
        instrument: whose ledger it is; the logs in its folder and in the one above may speak of others too.
        log: of the process; None: one of its own, beside the file.

    Raises:
        LabError: another living process holds it, or it cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        min_free_bytes: int = MIN_FREE_BYTES,
        instrument: str = "",
        log: GroupLog | None = None,
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._min_free_bytes = path, min_free_bytes
        self._lock = ProcessLock(lock_path(path))
        self._lock.acquire(timeout_s=2.0)
        self._guard = threading.RLock()
        self._acknowledgements: list[str] = []
        self._news: dict[str, rows.News] = {}
        self._news_bytes = 0
        self._synchronous = ""
        self._own: GroupLog | None = None
        try:
            self._database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.executescript(rows.SCHEMA)
            self._epoch = int(self._fact("epoch", "0"))
            self._instrument = instrument or self._fact("instrument", "")
            self._take_in()
            if self._fact("instrument", "") != self._instrument:
                self._remember("instrument", self._instrument)
            if log is None:
                log = self._own = GroupLog(path.with_suffix(""))
        except (sqlite3.Error, OSError) as error:
            self._lock.release()
            raise LabError(f"cannot use the ledger {path} ({error}); do not delete it: restore or repair it") from None
        self._log = log
        log.join(self._instrument, lambda: self._remember("settled", log.file.name))
        if self._own is not None:
            self._own.tidy()

    def _take_in(self) -> None:
        """What the logs have and the database has not: its last process was killed, or the power failed."""
        with self._transaction() as database:
            for head, frames in records_of(self.path, self._instrument):
                for text in frames if "epoch" in head else ():
                    rows.start(database, Command.model_validate_json(text), head["epoch"])
                for arrays in head.get("done", ()):
                    text, mine, frames = frames[0], frames[1 : 1 + arrays], frames[1 + arrays :]
                    rows.finish(database, Report.model_validate_json(text).command_id, text.decode(), mine)

    def close(self) -> None:
        """Write what waits and give the ledger up."""
        with self._guard:
            try:
                self.flush()
            finally:
                self._database.close()
                if self._own is not None:
                    self._own.close()
                    self._own = None
                self._lock.release()

    @property
    def log(self) -> GroupLog:
        """Where its starts and reports become durable."""
        return self._log

    @property
    def epoch(self) -> int:
        """The highest controller epoch ever seen."""
        return self._epoch

    def raise_epoch(self, epoch: int) -> None:
        """Remember a higher epoch; a lower one changes nothing."""
        if epoch > self._epoch:
            self._remember("epoch", str(epoch))
            self._epoch = epoch

    @property
    def stop_reason(self) -> str | None:
        """Why the instrument is latched in an emergency stop; None where it is not."""
        return json.loads(self._fact("stop", "null"))

    def latch(self, reason: str | None) -> None:
        """Latch the emergency stop, or with None release it."""
        self._remember("stop", json.dumps(reason))

    def find(self, command_id: str) -> Entry | None:
        """Return what is known of a command, or None."""
        with self._guard:
            news = self._news.get(command_id)
            if news and news.started:
                command, state = news.started[0], "done" if news.report else "started"
                return Entry(command, digest(command), state, 1, "", False)
            row = self._database.execute(
                "SELECT command, digest, state, starts, evidence, acknowledged FROM commands WHERE command_id = ?",
                (command_id,),
            ).fetchone()
        if row is None:
            return None
        state = "done" if news and news.report else row[2]
        return Entry(Command.model_validate_json(row[0]), row[1], state, row[3], row[4], bool(row[5]))

    def _state(self, command_id: str) -> State | None:
        with self._guard:
            if news := self._news.get(command_id):
                return "done" if news.report else "started"
            row = self._database.execute("SELECT state FROM commands WHERE command_id = ?", (command_id,)).fetchone()
        return row[0] if row else None

    def receive(self, command: Command, epoch: int) -> None:
        """Write ``received``; no change where the command is known."""
        self.receive_all([command], epoch)

    def receive_all(self, commands: Sequence[Command], epoch: int) -> None:
        """Write ``received`` for the members of a batch, all of them or none."""
        with self._transaction() as database:
            for command in commands:
                rows.insert(database, command, epoch)

    def start(self, command: Command, epoch: int) -> None:
        """Write ``started``, once and for ever: durable before the driver may act.

        Raises:
            LabError: it was started before, or the disk is nearly full. The driver must not act.
        """
        self._log.append(self.starting([command], epoch))

    def starting(self, commands: Sequence[Command], epoch: int) -> Record:
        """Return the record that makes the members of a batch ``started``, for ``log``. Raises as ``start`` does."""
        free = shutil.disk_usage(self.path.parent).free
        if free < self._min_free_bytes:
            raise LabError(f"only {free >> 20} MiB are free beside the ledger {self.path}; make room, then try again")
        for command in commands:
            if self._state(command.command_id) not in (None, "received"):
                raise LabError(f"command {command.command_id} was started before; it is never started again")

        frames = [as_json(command) for command in commands]

        def settle() -> None:
            with self._guard:
                for command, frame in zip(commands, frames, strict=True):
                    self._news[command.command_id] = rows.News((command, epoch), texts=[frame.decode()])

        return Record({"instrument": self._instrument, "epoch": epoch}, frames, settle)

    def finish(self, report: Report) -> None:
        """Write ``done`` with the report and its arrays. Raises LabError unless the command is ``started``."""
        self.finish_all([report])

    def finish_all(self, reports: Sequence[Report]) -> None:
        """Write ``done`` for the members of a batch, all of them or none. Raises as ``finish`` does."""
        self._log.append(self.finishing(reports))

    def finishing(self, reports: Sequence[Report]) -> Record:
        """Return the record that makes their commands ``done``, for its log. Raises as ``finish`` does."""
        for report in reports:
            if self._state(report.command_id) != "started":
                raise LabError(f"a report for command {report.command_id}, which is not running")
        texts = [as_json(report) for report in reports]
        frames = [frame for text, report in zip(texts, reports, strict=True) for frame in (text, *report.frames)]

        def settle() -> None:
            with self._guard:
                for report, text in zip(reports, texts, strict=True):
                    news = self._news.setdefault(report.command_id, rows.News())
                    news.report = report
                    news.texts.append(text.decode())
                self._news_bytes += sum(map(len, frames))
            if self._news_bytes > MAX_NEWS_BYTES:
                with contextlib.suppress(sqlite3.Error):  # it is on disk; the next flush tries again
                    self.flush()

        return Record({"instrument": self._instrument, "done": [len(x.arrays) for x in reports]}, frames, settle)

    def witness(self, command_id: str, evidence: str) -> None:
        """Record what is known of a command whose outcome is unknown."""
        with self._transaction() as database:
            database.execute("UPDATE commands SET evidence = ? WHERE command_id = ?", (evidence, command_id))

    def report(self, command_id: str) -> Report | None:
        """Return the stored report with its arrays, or None where the command is not done."""
        with self._guard:
            if (news := self._news.get(command_id)) and news.report:
                return news.report
            row = self._database.execute("SELECT report FROM commands WHERE command_id = ?", (command_id,)).fetchone()
            if row is None or row[0] is None:
                return None
            blobs = self._database.execute(
                "SELECT packed, data FROM arrays WHERE command_id = ? ORDER BY position", (command_id,)
            ).fetchall()
        frames = [zlib.decompress(data) if packed else data for packed, data in blobs]
        return Report.model_validate_json(row[0]).with_frames(frames)

    def unfinished(self) -> list[Command]:
        """Commands that were started, have no report, and no evidence yet."""
        return [Command.model_validate_json(x) for x in self._column("state = 'started' AND evidence = ''", "command")]

    def unacknowledged(self) -> list[str]:
        """Ids of the reports that the controller has not acknowledged."""
        return self._column("state = 'done' AND acknowledged = 0", "command_id")

    def acknowledge(self, command_id: str) -> None:
        """Note that the controller has the report; written with the next transaction or by ``flush``."""
        news = self._news.get(command_id)
        if news is None or news.report:  # nobody can have a report that there is not
            self._acknowledgements.append(command_id)  # atomic, and it must not wait for the disk

    def flush(self) -> None:
        """Bring to the database what waits: starts, reports, acknowledgements. Packs the arrays of what was heard."""
        if self._news or self._acknowledgements:
            with self._transaction(durable=False):
                pass

    def _column(self, where: str, column: str) -> list[str]:
        with self._guard:
            self.flush()
            found = self._database.execute(f"SELECT {column} FROM commands WHERE {where} ORDER BY rowid").fetchall()
        return [row[0] for row in found]

    def _fact(self, name: str, default: str) -> str:
        with self._guard:
            row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else default

    def _remember(self, name: str, value: str) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    @contextmanager
    def _transaction(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One commit, with an fsync where it must be ``durable``; what the log has needs none."""
        with self._guard:
            acknowledgements = list(self._acknowledgements)
            if (synchronous := "FULL" if durable else "NORMAL") != self._synchronous:
                self._database.execute(f"PRAGMA synchronous={synchronous}")
                self._synchronous = synchronous
            self._database.execute("BEGIN IMMEDIATE")
            try:
                heard = set(acknowledgements)
                for command_id, news in self._news.items():
                    if news.started and news.report and rows.enter(self._database, news, command_id in heard):
                        heard.discard(command_id)
                        continue
                    if news.started:
                        rows.start(self._database, *news.started)
                    if news.report:
                        rows.finish(self._database, command_id, news.texts[-1], news.report.frames)
                for command_id in heard:
                    rows.acknowledge(self._database, command_id)
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            self._news.clear()
            self._news_bytes = 0
            del self._acknowledgements[: len(acknowledgements)]


def lock_path(ledger: Path) -> Path:
    """Return the lock file of a ledger."""
    return ledger.with_name(ledger.name + ".lock")


def starts(path: Path) -> dict[str, int]:
    """Return command id -> how often it was started, from a ledger that may be in use: the proof of "at most once"."""
    if not path.exists():
        return {}
    database = sqlite3.connect(f"file:{os.fspath(path.absolute())}?mode=ro", uri=True)
    try:
        name = database.execute("SELECT value FROM facts WHERE name = 'instrument'").fetchone()
        # The logs first: what the database takes in meanwhile is then in one of them at least.
        logged = Counter(
            Command.model_validate_json(text).command_id
            for head, frames in records_of(path, name[0] if name else "")
            for text in (frames if "epoch" in head else ())
        )
        found = dict(database.execute("SELECT command_id, starts FROM commands").fetchall())
    finally:
        database.close()
    return found | {command_id: max(count, found.get(command_id, 0)) for command_id, count in logged.items()}


def records_of(path: Path, instrument: str) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Yield what the logs in a ledger's folder and in the one above have of its instrument, in its order."""
    for folder in (path.parent.parent, path.parent):
        yield from ((head, frames) for head, frames in records(folder) if head["instrument"] == instrument)
