"""What the fault table is measured on: a stage that keeps a book of every physical act, and one run of a campaign.

    python -m benchmarks.fault_lab RUN NUMBER

resumes RUN and dies by SIGKILL amid the NUMBER-th commit of its journal.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

CAMPAIGN = """
name: faults
budget: {{experiments: {items}}}
space: {{kind: parameters, parameters: {{x: {{low: 0, high: 1}}}}}}
pool_size: 8
objectives: [{{name: y}}]
acquisition: {{name: random}}
planner: {{name: "benchmarks.fault_lab:OneMove"}}
lab:
  clock: wall
  queue: 4
  instruments:
    stage:
      driver: "benchmarks.fault_lab:Stage"
      settings: {{folder: "{folder}", seconds: {seconds}, spoil: {spoil}}}
compute: {{backend: {backend}}}
"""
HANGS_S = 900.0
STARTED: list[subprocess.Popen[bytes]] = []


class OneMove:
    """Every experiment is one move and one reading."""

    def plan(self, candidate: Any) -> list[Any]:
        from models.route import Operation, Route

        move = Operation(capability="move", parameters={"x": candidate.parameters["x"]}, quantities=("y",))
        return [Route(candidate=candidate.id, operations=(move,), reason="one move")]


class Stage:
    """Moves and reads. Start, end and stop are lines in its book, on disk at once; no sensor tells afterwards.

    Args:
        workdir: unused.
        folder: where the book is.
        seconds: how long a move takes.
        spoil: sample -> ``nan`` or ``raise``: what its reading is.
    """

    def __init__(self, *, workdir: Path, folder: str, seconds: float = 0.0, spoil: dict[str, str] | None = None):
        self._descriptor = os.open(Path(folder) / "book.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._seconds, self._spoil, self._stopped = seconds, spoil or {}, threading.Event()

    def _write(self, event: str, sample: str = "") -> None:
        line = {"t": time.monotonic(), "event": event, "sample": sample}
        os.write(self._descriptor, (json.dumps(line) + "\n").encode())
        os.fsync(self._descriptor)

    def capabilities(self) -> list[Any]:
        from instruments.driver import Capability, Limit

        return [Capability("move", limits={"x": Limit(0, 1)}, quantities={"y": Limit(-1, 1)})]

    def run(self, job: Any, progress: Any) -> Any:
        from instruments.driver import Outcome

        self._stopped.clear()
        self._write("start", job.sample)
        if self._seconds and self._stopped.wait(self._seconds):
            return Outcome("failed", message="stopped")
        if self._spoil.get(job.sample) == "raise":
            raise RuntimeError("detector broke")
        self._write("end", job.sample)
        return Outcome("ok", {"y": math.nan if job.sample in self._spoil else math.sin(job.parameters["x"])})

    def stop(self) -> None:
        self._write("stop")
        self._stopped.set()

    def health(self) -> dict[str, Any]:
        return {}

    def inspect(self, job: Any) -> None:
        return None


@dataclass(frozen=True)
class Counts:
    """Of the items: executed at the device, executed twice, of unknown outcome, and lost (none of these)."""

    items: int
    executed: int
    twice: int
    unknown: int

    @property
    def lost(self) -> int:
        return self.items - self.executed - self.unknown

    def __str__(self) -> str:
        text = f"{self.executed} of {self.items} executed, {self.twice} twice, {self.lost} lost"
        return text + (f", {self.unknown} unknown" if self.unknown else "")


class Bench:
    """One campaign in its own folder."""

    def __init__(
        self,
        folder: Path,
        *,
        items: int,
        seconds: float = 0.0,
        spoil: dict[str, str] | None = None,
        backend: str = "local",
    ) -> None:
        from controller.run import begin
        from controller.rundir import RunDirectory

        folder.mkdir(parents=True)
        self.folder, self.items, self.run = folder, items, RunDirectory(folder / "run")
        file = folder / "faults.yaml"
        filled = {"items": items, "folder": folder, "seconds": seconds, "backend": backend}
        file.write_text(CAMPAIGN.format(**filled, spoil=json.dumps(spoil or {})))
        begin(file, self.run, seed=None, budget=None)

    def resume(self) -> subprocess.Popen[bytes]:
        """A controller, as a person starts it."""
        return self._start("controller.cli", "resume", str(self.run.path), "--quiet", "--no-report")

    def die_amid_commit(self, number: int) -> None:
        """A controller that dies amid its ``number``-th commit; returns when it is dead."""
        code = self._start("benchmarks.fault_lab", str(self.run.path), str(number)).wait(HANGS_S)
        if code != -signal.SIGKILL:
            raise RuntimeError(f"the controller was to die amid commit {number}, and ended with {code}")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "words.log").open("ab") as words:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, stdout=words, stderr=words
            )
        STARTED.append(process)
        return process

    def book(self, event: str = "") -> list[dict[str, Any]]:
        """What the device did, in order."""
        path = self.folder / "book.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if not event or line["event"] == event]

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """The journal's events."""
        database = sqlite3.connect(f"{self.run.journal.resolve().as_uri()}?mode=ro", uri=True, timeout=10.0)
        try:
            found = [json.loads(body) for (body,) in database.execute("SELECT body FROM events ORDER BY seq")]
        finally:
            database.close()
        return [event for event in found if not kind or event["kind"] == kind]

    def host(self) -> int:
        """Process id of the living host."""
        from instruments.process import living_holder

        holder = living_holder(self.run.lab / "hosts" / "stage" / "ledger.sqlite.lock")
        if holder is None:
            raise RuntimeError("there is no host to kill")
        return holder.pid

    def amid_move(self, number: int) -> None:
        """Wait until the ``number``-th move has been under way for a moment."""
        until(lambda: len(self.book("start")) >= number)
        time.sleep(0.15)

    def finish(self) -> int:
        """Resume until the campaign is finished, giving up samples of unknown outcome; returns how many resumes."""
        from controller.reconcile import describe_unknown, reconcile

        for resumes in range(10):
            state = self.run.load()
            if state.finished:
                return resumes
            for unknown in describe_unknown(self.run, state):
                reconcile(self.run, unknown["command"], "discard", by="benchmark", reason="killed amid its move")
            self.resume().wait(HANGS_S)
        raise RuntimeError(f"not finished after 10 resumes; see {self.folder / 'words.log'}")

    def counts(self) -> Counts:
        """From the device's book; only what is unknown is the journal's word."""
        starts, ended = Counter(line["sample"] for line in self.book("start")), self.book("end")
        unknown = {event["command_id"] for event in self.events("outcome_unknown")}
        twice = sum(count > 1 for count in starts.values())
        return Counts(self.items, len({line["sample"] for line in ended}), twice, len(unknown))


def end_all() -> None:
    """End the controllers that still live, and with them their hosts, in order."""
    for process in STARTED:
        if process.poll() is None:
            process.terminate()
            process.wait(HANGS_S)


def until(true: Callable[[], object]) -> float:
    """Wait until something is true; returns the monotonic time. Raises RuntimeError where the controller gave up."""
    deadline = time.monotonic() + HANGS_S
    while not true():
        if STARTED and STARTED[-1].poll() is not None and not true():
            raise RuntimeError(f"the controller ended with exit code {STARTED[-1].returncode} before that")
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {HANGS_S:.0f} s in vain")
        time.sleep(0.005)
    return time.monotonic()


def main() -> int:
    from controller.journal import Journal
    from controller.run import go_on
    from controller.rundir import RunDirectory

    run, number = Path(sys.argv[1]), int(sys.argv[2])
    real, count = Journal.commit, 0

    def commit(journal: Journal) -> None:
        nonlocal count
        count += bool(journal._staged)
        if count == number:  # all is written but the commit
            journal._db.set_trace_callback(lambda sql: sql == "COMMIT" and os.kill(os.getpid(), signal.SIGKILL))
        real(journal)

    Journal.commit = commit  # type: ignore[method-assign]
    go_on(RunDirectory(run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
