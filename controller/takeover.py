"""Taking a run from another controller of this machine: asked to yield first, ended only when it does not."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
from pathlib import Path

from controller.errors import RunStateError
from controller.rundir import RunDirectory
from instruments.process import ProcessIdentity

POLL_S = 0.05
KILLED_S = 10.0


def take_over(directory: RunDirectory, grace_s: float) -> str:
    """Make whoever holds a run let go of it.

    SIGTERM asks for an orderly end: steps under way are finished. After ``grace_s`` the process is killed: its
    instrument hosts live on, finish what they run, and answer the next controller, whose epoch is higher; commands
    of the old epoch are refused by every host.

    Returns:
        What was done, in words; empty where nobody held the run.

    Raises:
        RunStateError: the holder is on another machine, cannot be told for certain, or does not die.
    """
    directory.require()
    holder = directory.holder()
    if holder is None:
        return ""
    where, pid = str(holder.get("host", "?")), holder.get("pid")
    if where != platform.node():
        raise RunStateError(f"{directory.path}: held on {where}; end that controller there, then resume.")
    identity = ProcessIdentity.of(pid) if isinstance(pid, int) else None
    if identity is None or not _has_open(identity.pid, directory.path / "lock"):
        raise RunStateError(f"{directory.path}: it is held, but not by process {pid}; try again in a moment.")
    _send(identity, signal.SIGTERM)
    if _freed(directory, grace_s):
        return f"process {pid} has yielded"
    _send(identity, signal.SIGKILL)
    if _freed(directory, KILLED_S):
        return f"process {pid} did not yield in {grace_s:g} s and was killed"
    raise RunStateError(f"{directory.path}: process {pid} was killed and the run is still held; see `athanor status`.")


def _send(identity: ProcessIdentity, number: signal.Signals) -> None:
    if identity.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, number)


def _freed(directory: RunDirectory, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while directory.holder() is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def _has_open(pid: int, path: Path) -> bool:
    """True where the process has the file open, or where this system cannot tell: never signal a recycled id."""
    folder = Path(f"/proc/{pid}/fd")
    if not Path("/proc/self/fd").exists():
        return True
    try:
        return any(link.exists() and link.samefile(path) for link in folder.iterdir())
    except OSError:
        return False
