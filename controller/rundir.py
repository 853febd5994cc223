"""A run's directory: where everything of a campaign lies, and the lock that lets one controller in."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from pathlib import Path
from typing import IO

from controller.errors import RunStateError, StorageError
from controller.journal import Journal
from controller.state import State, evolve


class RunDirectory:
    """The layout of a run.

    ``campaign.yaml`` (as given), ``journal.sqlite`` (the truth), ``lock``, ``lab/`` (keys, hosts, simulated matter),
    ``logs/``, ``report/``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def journal(self) -> Path:
        """The journal file."""
        return self.path / "journal.sqlite"

    @property
    def lab(self) -> Path:
        """Keys, ledgers and the simulated matter."""
        return self.path / "lab"

    @property
    def report(self) -> Path:
        """Where the report is written."""
        return self.path / "report"

    def exists(self) -> bool:
        """True where a run was begun here."""
        return self.journal.exists()

    def create(self) -> None:
        """Make the directory. Raises RunStateError where a run is there, StorageError where it cannot be written."""
        if self.exists():
            raise RunStateError(
                f"{self.path}: a run is here already. `athanor resume {self.path}` goes on with it; "
                "`athanor run ... --dir OTHER` begins a new one."
            )
        if self.path.exists() and not self.path.is_dir():
            raise RunStateError(f"{self.path}: a file, not a directory. Give a new or an empty directory with --dir.")
        if self.path.exists() and any(self.path.iterdir()):
            raise RunStateError(f"{self.path}: not empty and not a run. Give a new or an empty directory with --dir.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "logs").mkdir()
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}. Choose a writable place with --dir.") from error

    def require(self) -> None:
        """Raise RunStateError where no run is here."""
        if not self.exists():
            raise RunStateError(f"{self.path}: no run here. Give the directory that `athanor run` printed.")

    def load(self) -> tuple[State, list[float]]:
        """Fold the journal, read-only; also returns the wall time of every event."""
        self.require()
        journal = Journal(self.journal, readonly=True)
        try:
            state, walls = State(), []
            for _, wall, event in journal.read():
                state = evolve(state, event)
                walls.append(wall)
        finally:
            journal.close()
        return state, walls

    def holder(self) -> dict[str, object] | None:
        """Who holds the run now, or ``None``."""
        try:
            with (self.path / "lock").open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    text = file.read()
                    return json.loads(text) if text.strip() else {}
        except (OSError, json.JSONDecodeError):
            return None
        return None


class RunLock:
    """Exclusive hold of a run directory for the life of a ``with`` block; ends with the process, however it ends."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._file: IO[str] | None = None

    def __enter__(self) -> RunLock:
        """Take the lock. Raises RunStateError naming the holder."""
        try:
            file = (self._run.path / "lock").open("a+")
        except OSError as error:
            raise StorageError(f"{self._run.path}: {error.strerror}. The directory must be writable.") from error
        if not _lock(file):
            file.close()
            holder = self._run.holder() or {}
            who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
            raise RunStateError(
                f"{self._run.path}: another controller holds this run ({who}). "
                "Wait for it, or stop it with Ctrl-C or SIGTERM; `athanor status` shows what it does."
            )
        file.seek(0)
        file.truncate()
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since}))
        file.flush()
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        """Let go."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(file: IO[str]) -> bool:
    """Take the lock, with a little patience: whoever asks for the holder holds it for a moment too."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def next_directory(name: str, root: Path = Path("runs")) -> Path:
    """The first of ``runs/NAME-001``, ``runs/NAME-002``, ... that is not there."""
    number = 1
    while (root / f"{name}-{number:03d}").exists():
        number += 1
    return root / f"{name}-{number:03d}"
