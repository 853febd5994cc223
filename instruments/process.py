"""Processes that outlive each other: an exclusive lock that names its holder, and identities that survive pid reuse."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from instruments.errors import LabError


@dataclass(frozen=True)
class ProcessIdentity:
    """A process id with its start time, so that a recycled id is not mistaken for the old process."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Return the identity of a living process, or None."""
        started = _start_time(pid)
        return cls(pid, started) if started else None

    def alive(self) -> bool:
        """True while this very process exists."""
        return _start_time(self.pid) == self.started


class ProcessLock:
    """An advisory lock on a file, held by one process; the kernel releases it whatever ends the process."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, timeout_s: float = 0.0) -> None:
        """Take the lock and write who we are into it. Raises LabError that names the holder."""
        deadline = time.monotonic() + timeout_s
        while not self._try():
            if time.monotonic() >= deadline:
                holder = read_holder(self.path)
                who = f"process {holder.pid}" if holder else "another process"
                raise LabError(f"{self.path} is held by {who}; end that process first")
            time.sleep(0.05)

    def _try(self) -> bool:
        import fcntl

        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        me = ProcessIdentity.of(os.getpid())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "started": me.started if me else ""}).encode(), 0)
        return True

    def release(self) -> None:
        """Give the lock up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def living_holder(path: Path) -> ProcessIdentity | None:
    """Return who holds the lock file ``path`` now, or None where nobody does."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return read_holder(path)
    finally:
        os.close(descriptor)
    return None


def read_holder(path: Path) -> ProcessIdentity | None:
    """Return the living process that last wrote its name into a lock file, or None."""
    try:
        found = json.loads(path.read_text())
        holder = ProcessIdentity(int(found["pid"]), str(found["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return holder if holder.alive() else None


def _start_time(pid: int) -> str:
    """Start time of a living process in a form of the platform's; ``""`` where there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    except (OSError, IndexError):
        return ""
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()
