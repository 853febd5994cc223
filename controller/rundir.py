"""A run's directory: where everything of a campaign lies, and the lock that lets one controller in."""

from __future__ import annotations

from pathlib import Path

from controller.errors import RunStateError, StorageError
from controller.events import CampaignStarted
from controller.journal import Journal
from controller.locks import HeldFile, Holder, holder_of, in_words, me
from controller.state import State


class RunDirectory:
    """The layout of a run.

    ``campaign.yaml`` (as given), ``journal.sqlite`` (the truth), ``lock``, ``logs/``, ``report/``, and ``lab/`` (see
    ``LabDirectory``) where the campaign names no lab file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def journal(self) -> Path:
        """The journal file."""
        return self.path / "journal.sqlite"

    @property
    def lab(self) -> Path:
        """The lab's directory: keys, ledgers, simulated matter. In the run, unless the campaign names a lab file."""
        return self._lab_of_the_campaign() or self.path / "lab"

    @property
    def lock(self) -> Path:
        """The lock that lets one controller in."""
        return self.path / "lock"

    @property
    def report(self) -> Path:
        """Where the report is written."""
        return self.path / "report"

    def _lab_of_the_campaign(self) -> Path | None:
        if not self.exists():
            return None
        journal = Journal(self.journal, readonly=True)
        try:
            started = next(iter(journal.read()), None)
        finally:
            journal.close()
        where = started[2].lab_file if started and isinstance(started[2], CampaignStarted) else ""
        return Path(where).parent if where else None

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

    def load(self) -> State:
        """The state of the run as its journal says, read-only."""
        from controller.snapshot import fold

        self.require()
        journal = Journal(self.journal, readonly=True)
        try:
            return fold(self.path, journal)
        finally:
            journal.close()

    def holder(self) -> Holder | None:
        """Who holds the run now, or ``None``."""
        return holder_of(self.lock)

    def is_finished(self) -> bool:
        """True where the campaign has come to its end; reads one row of the journal."""
        journal = Journal(self.journal, readonly=True)
        try:
            return journal.last_kind() == "campaign_finished"
        finally:
            journal.close()


class RunLock:
    """Exclusive hold of a run directory for the life of a ``with`` block; ends with the process, however it ends."""

    def __init__(self, run: RunDirectory) -> None:
        self._run, self._lock = run, HeldFile(run.lock)

    def __enter__(self) -> RunLock:
        """Take the lock. Raises RunStateError naming the holder."""
        try:
            if not self._lock.take():
                raise RunStateError(
                    f"{self._run.path}: another controller holds this run ({in_words(self._run.holder() or {})}). "
                    "Wait for it, stop it with Ctrl-C or SIGTERM, or take the run from it with `athanor resume "
                    "--takeover`; `athanor status` shows what it does."
                )
            self._lock.write(me())
        except OSError as error:
            raise StorageError(f"{self._run.path}: {error.strerror}. The directory must be writable.") from error
        return self

    def __exit__(self, *_: object) -> None:
        """Let go."""
        self._lock.release()


def next_directory(name: str, root: Path = Path("runs")) -> Path:
    """The first of ``runs/NAME-001``, ``runs/NAME-002``, ... that is not there."""
    number = 1
    while (root / f"{name}-{number:03d}").exists():
        number += 1
    return root / f"{name}-{number:03d}"
