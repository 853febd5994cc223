"""Taking a run or a lab from another controller of this machine: asked to yield first, ended only if it does not."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
from pathlib import Path

from controller.errors import RunStateError
from controller.labdir import LabDirectory
from controller.rundir import RunDirectory
from instruments.process import ProcessIdentity

POLL_S = 0.05
KILLED_S = 10.0

Held = RunDirectory | LabDirectory


def take_over(held: Held, grace_s: float) -> str:
    """Make whoever holds a run or a lab let go of it.

    SIGTERM asks for an orderly end: steps under way are finished. After ``grace_s`` the process is killed: its
    instrument hosts live on, finish what they run, and answer the next controller, whose epoch is higher; commands
    of the old epoch are refused by every host.

    Returns:
        What was done, in words; empty where nobody held it.

    Raises:
        RunStateError: the holder is on another machine, cannot be told for certain, or does not die.
    """
    holder = held.holder()
    if holder is None:
        return ""
    where, pid = str(holder.get("host", "?")), holder.get("pid")
    if where != platform.node():
        raise RunStateError(f"{held.path}: held on {where}; end that controller there, then come back.")
    identity = ProcessIdentity.of(pid) if isinstance(pid, int) else None
    if identity is None or not _has_open(identity.pid, held.lock):
        raise RunStateError(f"{held.path}: it is held, but not by process {pid}; try again in a moment.")
    _send(identity, signal.SIGTERM)
    if _freed(held, grace_s):
        return f"process {pid} has yielded"
    _send(identity, signal.SIGKILL)
    if _freed(held, KILLED_S):
        return f"process {pid} did not yield in {grace_s:g} s and was killed"
    raise RunStateError(f"{held.path}: process {pid} was killed and it is still held; see `athanor status`.")


def _send(identity: ProcessIdentity, number: signal.Signals) -> None:
    if identity.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, number)


def _freed(held: Held, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while held.holder() is not None:
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
