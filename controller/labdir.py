"""A lab's directory: its file, keys, hosts and ledgers, and the lease that lets one controller in."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from controller.errors import RunStateError, StorageError
from controller.lab import FILE
from controller.locks import HeldFile, Holder, holder_of, in_words, lines_of, me
from instruments.files import write_whole


@dataclass(frozen=True)
class Stop:
    """An emergency stop of the lab. With ``reset_by`` a person has ended it and the instruments wait to be told."""

    by: str
    reason: str
    at: str
    reset_by: str = ""
    reset_reason: str = ""


class LabDirectory:
    """The layout of a lab.

    ``lab.yaml``, ``keys/``, ``hosts/`` (each host's ledger, log and files), ``world/`` (simulated matter),
    ``endpoint.json`` (where the controller listens), ``lease`` (who has had the lab, the last line who has it now),
    ``stop.json`` (an emergency stop that is latched). A campaign with a lab of its own keeps these in ``RUN/lab``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def file(self) -> Path:
        """The lab file."""
        return self.path / FILE

    @property
    def keys(self) -> Path:
        """The keys and their registry."""
        return self.path / "keys"

    @property
    def endpoint_file(self) -> Path:
        """Where local hosts read where the controller listens."""
        return self.path / "endpoint.json"

    @property
    def world(self) -> Path:
        """The simulated matter."""
        return self.path / "world"

    @property
    def lock(self) -> Path:
        """The lease: one line a controller, held by the last of them."""
        return self.path / "lease"

    def ledgers(self) -> dict[str, Path]:
        """Instrument -> ledger, of every host that has ever run on this machine."""
        return {path.parent.name: path for path in sorted((self.path / "hosts").glob("*/ledger.sqlite"))}

    def holder(self) -> Holder | None:
        """Who has the lab now, or ``None``."""
        return holder_of(self.lock)

    def epoch(self) -> int:
        """The highest epoch that a controller of this lab has had."""
        return max((int(line.get("epoch", 0)) for line in lines_of(self.lock)), default=0)

    def last_holder(self) -> Holder | None:
        """Who had the lab last, or has it."""
        lines = lines_of(self.lock)
        return lines[-1] if lines else None

    def runs(self) -> list[Path]:
        """The runs that have had this lab, oldest first; some may be gone."""
        return [Path(run) for run in dict.fromkeys(line["run"] for line in lines_of(self.lock) if line.get("run"))]

    def stop(self) -> Stop | None:
        """The emergency stop that is latched, or ``None``. What cannot be read counts as one."""
        try:
            return Stop(**json.loads((self.path / "stop.json").read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            return Stop(by="?", reason=f"{self.path / 'stop.json'} cannot be read: {error}", at="?")

    def latch(self, by: str, reason: str) -> None:
        """Latch an emergency stop, durably. One that is latched already keeps its first reason. Raises OSError."""
        known = self.stop()
        if known is None or known.reset_by:
            self._write(Stop(by=by, reason=reason, at=time.strftime("%Y-%m-%d %H:%M:%S")))

    def reset(self, by: str, reason: str) -> None:
        """Note that a person has ended the stop; the next controller tells the instruments. Raises OSError."""
        known = self.stop()
        if known is not None:
            self._write(replace(known, reset_by=by, reset_reason=reason))

    def unlatch(self) -> None:
        """The instruments have been told of the reset."""
        (self.path / "stop.json").unlink(missing_ok=True)

    def latched_in_hosts(self) -> dict[str, str]:
        """Instrument -> reason, of the hosts whose own ledgers have a stop latched."""
        found = {}
        for name, path in self.ledgers().items():
            row = _one_row(path, "SELECT value FROM facts WHERE name = 'stop'")
            if row and (reason := json.loads(row[0])) is not None:
                found[name] = str(reason)
        return found

    def in_ledger(self, instrument: str, command_id: str) -> tuple[str, str] | None:
        """State and evidence of a command in its host's ledger; None where that is not here or does not know it."""
        query = "SELECT state, evidence FROM commands WHERE command_id = ?"
        path = self.ledgers().get(instrument)
        row = _one_row(path, query, (command_id,)) if path else None
        return (str(row[0]), str(row[1])) if row else None

    def started_in_ledger(self, instrument: str) -> str | None:
        """The last command that a host's ledger has started and not finished, or None."""
        path = self.ledgers().get(instrument)
        query = "SELECT command_id FROM commands WHERE state = 'started' ORDER BY rowid DESC LIMIT 1"
        row = _one_row(path, query) if path else None
        return str(row[0]) if row else None

    def _write(self, stop: Stop) -> None:
        write_whole(self.path / "stop.json", json.dumps(asdict(stop)))


def _one_row(ledger: Path, query: str, values: tuple[str, ...] = ()) -> tuple[Any, ...] | None:
    """A row of a ledger that may be in use; None where it cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchone()
    except sqlite3.Error:
        return None


@contextlib.contextmanager
def hold_lab(lab: LabDirectory, *, run: Path, campaign: str, at_least: int = 0) -> Iterator[Holder]:
    """Have the lab for the life of a ``with`` block: exclusively, with an epoch higher than any before.

    Args:
        lab: which.
        run: the run that wants it.
        campaign: its name, for people.
        at_least: an epoch that has been used, besides those of the lease.

    Yields:
        Who we are, with our ``epoch``.

    Raises:
        RunStateError: another controller has the lab; says who.
        StorageError: the lease cannot be written.
    """
    lease = HeldFile(lab.lock)
    try:
        lab.path.mkdir(parents=True, exist_ok=True)
        if not lease.take():
            raise RunStateError(taken(lab))
        mine = {**me(), "run": str(run.resolve()), "campaign": campaign, "epoch": max(lab.epoch(), at_least) + 1}
        lease.write(mine, keep=True)
    except OSError as error:
        raise StorageError(f"{lab.lock}: {error.strerror}. The lab's directory must be writable.") from error
    try:
        yield mine
    finally:
        lease.release()


@contextlib.contextmanager
def lab_without_controller(lab: LabDirectory) -> Iterator[None]:
    """Keep controllers out of a lab for a moment. Raises RunStateError where one has it."""
    lease = HeldFile(lab.lock)
    if not lease.take():
        raise RunStateError(taken(lab))
    try:
        yield
    finally:
        lease.release()


def taken(lab: LabDirectory) -> str:
    """Who has the lab, and what can be done about it."""
    return (
        f"{lab.path}: another controller holds this lab ({in_words(lab.holder() or {})}). Wait for it, stop it with "
        "Ctrl-C or SIGTERM, or take the lab from it with --takeover; `athanor lab status` shows what it does."
    )
