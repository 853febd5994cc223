"""Runs a campaign in this process and kills it, or an instrument host, at a chosen boundary.

    python -m tests.faults.victim RUN WHO WHEN NUMBER

WHO is ``controller`` or the name of an instrument; WHEN is ``before`` or ``after`` the NUMBER-th durable commit of
the journal. With WHO ``nobody`` the campaign just runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from controller.errors import AthanorError
from controller.journal import Journal
from controller.run import go_on
from controller.rundir import RunDirectory


def main() -> int:
    run, who, when, number = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    real, count = Journal.commit, 0

    def kill() -> None:
        if who == "controller":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            pid = host_pid(run, who)
            if pid:
                os.kill(pid, signal.SIGKILL)

    def commit(journal: Journal) -> None:
        nonlocal count
        pending = bool(journal._staged)
        count += pending
        if pending and count == number and when == "before":
            kill()
        real(journal)
        if pending and count == number and when == "after":
            kill()

    if who != "nobody":
        Journal.commit = commit  # type: ignore[method-assign]
    try:
        go_on(RunDirectory(run))
    except AthanorError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        print(json.dumps({"commits": count}))
    return 0


def host_pid(run: Path, name: str) -> int | None:
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            command = (proc / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"instruments.host" in command and any(
            str(run).encode() in part and name.encode() in part for part in command
        ):
            return int(proc.name)
    return None


if __name__ == "__main__":
    sys.exit(main())
