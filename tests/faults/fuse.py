"""Kill points: where a process of the laboratory may be struck dead, and the fuses that do it there.

A process arms every point that is left for it; whichever it reaches first kills it with SIGKILL, after a line in
``kills.jsonl`` has said so. Restarted, it arms the rest. Nothing of the code under test knows of this: its methods
are wrapped from outside.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from instruments.process import ProcessIdentity


@dataclass(frozen=True)
class Point:
    """One place to die.

    Attributes:
        number: its own.
        process: ``controller``, ``kiln`` or ``gauge``.
        where: what the process does there (see ``wrap_controller`` and ``wrap_host``), or ``any time``.
        when: ``before``, ``amid`` (a transaction: all written, not committed; a ledger's start or finish: in the log
            only) or ``after``; ``-`` at any time.
        nth: the how-manieth time in the life of the process.
        after_s: for ``any time``: seconds after arming.
    """

    number: int
    process: str
    where: str
    when: str
    nth: int = 1
    after_s: float = 0.0


def lay(folder: Path, points: list[Point]) -> None:
    """Write down the points of a campaign, before its first process starts."""
    (folder / "points.json").write_text(json.dumps([asdict(point) for point in points]))


def kills(folder: Path) -> list[dict[str, Any]]:
    """Every kill so far, in order: ``number``, and ``acting``, the commands amid their act, where that is known."""
    log = folder / "kills.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


class Fuses:
    """The points that are left for this process."""

    def __init__(self, folder: Path, process: str) -> None:
        self._folder, self._passed = folder, dict[str, int]()
        self.acting: list[str] = []
        """Commands that are started and not finished in the durable ledger; only the driver's thread knows for sure."""
        done = {kill["number"] for kill in kills(folder)}
        laid = [Point(**point) for point in json.loads((folder / "points.json").read_text())]
        self._points = [point for point in laid if point.process == process and point.number not in done]
        for point in self._points:
            if point.where == "any time":
                self._kill_later(point)

    def at(self, where: str, when: str) -> None:
        """The process is here: die, if it is to be here."""
        for point in self._points:
            if (point.where, point.when) == (where, when) and self._passed.get(where, 1) == point.nth:
                sure = threading.current_thread().name == "driver"
                with (self._folder / "kills.jsonl").open("a") as file:
                    file.write(json.dumps({"number": point.number, "acting": self.acting if sure else []}) + "\n")
                os.kill(os.getpid(), signal.SIGKILL)
        if when == "after":
            self._passed[where] = self._passed.get(where, 1) + 1

    def _kill_later(self, point: Point) -> None:
        me = ProcessIdentity.of(os.getpid())
        script = (
            'sleep "$3"; test "$(cut -d" " -f22 "/proc/$1/stat" 2>/dev/null)" = "$2" && kill -9 "$1" 2>/dev/null '
            '&& printf \'{"number": %d, "acting": []}\\n\' "$4" >> "$5"'
        )
        given = (
            os.getpid(),
            me.started if me else "",
            f"{point.after_s:.3f}",
            point.number,
            self._folder / "kills.jsonl",
        )
        subprocess.Popen(
            ["sh", "-c", script, "killer", *map(str, given)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ).returncode = 0  # nobody waits for it

    def wrap(self, owner: type, method: str, where: str, only: Callable[..., bool] = lambda *_: True) -> None:
        """Put a point before and one after a method; for a method with a transaction see ``wrap_commit``."""
        real = getattr(owner, method)

        @functools.wraps(real)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if not only(*arguments):
                return real(*arguments, **named)
            self.at(where, "before")
            result = real(*arguments, **named)
            self.at(where, "after")
            return result

        setattr(owner, method, wrapped)

    def wrap_async(self, owner: type, method: str, where: Callable[..., str]) -> None:
        """The same for a coroutine, at the place that ``where(*arguments)`` names; none where that is empty."""
        real = getattr(owner, method)

        @functools.wraps(real)
        async def wrapped(*arguments: Any, **named: Any) -> Any:
            place = where(*arguments)
            if place:
                self.at(place, "before")
            result = await real(*arguments, **named)
            if place:
                self.at(place, "after")
            return result

        setattr(owner, method, wrapped)

    def wrap_commit(
        self,
        owner: type,
        method: str,
        where: str,
        database: str,
        *,
        only: Callable[..., bool] = lambda *_: True,
    ) -> None:
        """Points before, amid and after a method that ends in a COMMIT on the connection ``self.<database>``."""
        real = getattr(owner, method)

        @functools.wraps(real)
        def wrapped(this: Any, *arguments: Any) -> Any:
            if not only(this, *arguments):
                return real(this, *arguments)

            def amid(sql: str) -> None:
                if sql == "COMMIT":
                    self.at(where, "amid")

            self.at(where, "before")
            connection = getattr(this, database)
            with getattr(this, "_guard", contextlib.nullcontext()):  # a ledger's connection is shared by threads
                connection.set_trace_callback(amid)
                try:
                    result = real(this, *arguments)
                finally:
                    connection.set_trace_callback(None)
            self.at(where, "after")
            return result

        setattr(owner, method, wrapped)


def wrap_controller(folder: Path) -> None:
    """Arm this process, which is about to be a controller."""
    from controller.dispatcher import Dispatcher
    from controller.hosts import LocalHosts
    from controller.journal import Journal

    fuses = Fuses(folder, "controller")
    fuses.wrap_commit(Journal, "commit", "journal commit", "_db", only=lambda journal: bool(journal._staged))
    sends = {"Command": "send command", "Acknowledge": "send acknowledge", "Query": "send query"}
    fuses.wrap_async(Dispatcher, "_send", lambda _, name, body, *rest: sends.get(type(body).__name__, ""))
    fuses.wrap_async(Dispatcher, "_reported", lambda *_: "report arrives")
    fuses.wrap(LocalHosts, "_start", "start host")


def wrap_host(folder: Path, name: str) -> Fuses:
    """Arm this process, which is an instrument host whose driver is being loaded."""
    from instruments.group_log import GroupLog, Record
    from instruments.ledger import Ledger
    from instruments.messages import Accepted, Report
    from instruments.worker import Worker

    fuses = Fuses(folder, name)
    Host = sys.modules["__main__"].Host  # the host is the main program: another import would be another class

    real = GroupLog.append

    def append(log: GroupLog, *records: Record) -> None:
        def at(when: str) -> None:
            for record in records:
                fuses.at("ledger start" if "epoch" in record.head else "ledger finish", when)

        at("before")
        real(log, *(dataclasses.replace(record, settle=lambda: None) for record in records))
        # On disk from here on; neither the ledgers nor their databases know yet.
        starts = [record for record in records if "epoch" in record.head]
        fuses.acting = [json.loads(command)["command_id"] for record in starts for command in record.frames]
        at("amid")
        for record in records:
            record.settle()
        at("after")

    GroupLog.append = append  # type: ignore[method-assign]
    fuses.wrap(Host, "_command", "command arrives")
    fuses.wrap(Host, "_send", "send accepted", lambda host, body: isinstance(body, Accepted))
    fuses.wrap(Host, "_send", "send report", lambda host, body: isinstance(body, Report))
    fuses.wrap_commit(Ledger, "receive_all", "ledger receive", "_database")
    waits = lambda ledger: bool(ledger._news or ledger._acknowledgements)  # noqa: E731
    fuses.wrap_commit(Ledger, "flush", "ledger flush", "_database", only=waits)
    fuses.wrap(Ledger, "raise_epoch", "ledger epoch")
    fuses.wrap(Worker, "_look_back", "look back")
    return fuses
