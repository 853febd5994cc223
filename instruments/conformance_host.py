"""The promises of a driver that only a real host and its ledger can show: crashes, repetition, stops, batches."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from instruments.bench import HostBench, command_of
from instruments.driver import Capability, Job, Outcome, Progress
from instruments.messages import Accepted, Command, Refused, Report
from instruments.worker import report_of

PATIENCE_S = 30.0


class Broken(Exception):
    """A promise was not kept; the text says how."""


def need(kept: bool, otherwise: str) -> None:
    """Raise Broken unless the promise is kept."""
    if not kept:
        raise Broken(otherwise)


class DiesAfterTheAct:
    """The driver under test, in a host that is killed once, after the act and before its report is stored."""

    def __init__(self, *, workdir: Path, target: str, settings: Mapping[str, Any]) -> None:
        from instruments.registry import resolve_driver

        self._driver = resolve_driver(target)(workdir=workdir, **settings)
        self._truth = workdir / "truth.json"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def capabilities(self) -> list[Capability]:
        """The driver's own, one sample at a time."""
        return [replace(capability, batch=1) for capability in self._driver.capabilities()]

    def run(self, job: Job, progress: Progress) -> Outcome:
        """Act, note what came of it beside the ledger, die."""
        outcome = self._driver.run(job, progress)
        self._truth.write_text(report_of(job.command_id, outcome).model_dump_json())
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")

    def stop(self) -> None:
        """The driver's own."""
        self._driver.stop()

    def health(self) -> dict[str, Any]:
        """The driver's own."""
        return self._driver.health()

    def inspect(self, job: Job) -> Outcome | None:
        """The driver's own."""
        return self._driver.inspect(job)


class HostChecks:
    """Each check is a method that returns what was seen, or raises Broken.

    Args:
        target, settings: of the driver. capability: the one that is tried. folder: empty.
        mint: returns a fresh job each time. acts: counts what the device has done, if anything can.
        duration_s: how long the job takes. stop_s: longest time that a stop may take.
        release: called before a host is started: the line that it needs must be free.
    """

    def __init__(
        self,
        *,
        target: str,
        settings: dict[str, Any],
        folder: Path,
        capability: Callable[[], Capability],
        mint: Callable[[], Job],
        acts: Callable[[], int] | None,
        duration_s: Callable[[], float],
        stop_s: float,
        release: Callable[[], None],
    ):
        self.target, self.settings, self.folder, self.mint = target, settings, folder, mint
        self.capability, self.acts, self.duration_s, self.stop_s = capability, acts, duration_s, stop_s
        self.release, self._benches = release, 0

    def all(self) -> dict[str, Callable[[], str]]:
        """Promise -> check, in order."""
        return {
            "hosted: sent twice, acts once": self.sent_twice,
            "hosted: killed between act and report, the answer is right": self.killed_after_the_act,
            "hosted: a stop comes through while it works": self.stopped,
            "hosted: outside the limits, the host refuses": self.refused,
            "hosted: several samples in one act, each with its report": self.batch,
        }

    def sent_twice(self) -> str:
        """The same command, sent again at once and after the host was killed: the stored report, and one act."""
        before, command = self._count(), command_of(self.mint())
        with self._hosted() as bench:
            (first,) = bench.report(command)
            need(first.status == "ok", f"the job ended {first.status}: {first.message}")
            (again,) = bench.report(command)
            bench.kill()
            bench.start()
            (later,) = bench.report(command)
            started = bench.starts()[command.command_id]
        need(same(first, again) and same(first, later), "the report differs when the command comes again")
        need(started == 1, f"it was started {started} times")
        if self.acts is not None and not self.capability().idempotent:
            acted = self._count() - before
            need(acted == 1, f"the device acted {acted} times for one command")
        return "one act, one report, also after the host was killed"

    def killed_after_the_act(self) -> str:
        """The act is done, its report is lost with the host: what does ``inspect`` tell the next one?"""
        command = command_of(self.mint())
        settings = {"target": self.target, "settings": self.settings}
        with self._hosted(f"{__name__}:DiesAfterTheAct", settings) as bench:
            bench.ask(command, of(command, Accepted))
            bench.await_death()
            truth = Report.model_validate_json((bench.config.workdir / "truth.json").read_text())
            bench.start()
            known = bench.known(command)
            started = bench.starts()[command.command_id]
        need(started == 1, f"it was started {started} times")
        if known.report is None:
            need(known.state == "started" and not known.active, f"the host says {known.state}")
            return "outcome unknown: a person must reconcile"
        if known.report.status == "untouched":
            need(self.capability().idempotent, "inspect() says untouched of a job that was done")
            return "untouched; idempotent, so it may simply be asked again"
        need(known.report.status == truth.status, f"inspect() says {known.report.status}, it was {truth.status}")
        for name, value in truth.readings.items():
            said = known.report.readings.get(name, math.nan)
            close = math.isclose(value, said, rel_tol=1e-6, abs_tol=1e-12) or (math.isnan(value) and math.isnan(said))
            need(close, f"inspect() says {name} = {said}, it was {value}")
        return "inspect() gives the report that was lost"

    def stopped(self) -> str:
        """A stop on its own channel; nothing starts until a reset."""
        command, after = command_of(self.mint()), command_of(self.mint())
        with self._hosted() as bench:
            bench.ask(command, of(command, Accepted, Report))
            time.sleep(0.3 * min(self.duration_s(), 2.0))
            told_ms = bench.stop()
            begun = time.monotonic()
            (report,) = bench.report(command)
            ended_s = time.monotonic() - begun
            need(told_ms <= 1_000 * self.stop_s, f"the stop took {told_ms:.0f} ms")
            need(ended_s <= self.stop_s + 1.0, f"the job went on for {ended_s:.1f} s after the stop")
            need(report.status in ("ok", "failed", "untouched"), f"a stopped job is reported {report.status}")
            refusal = bench.ask(after, of(after, Refused, Report))
            need(isinstance(refusal, Refused), "a command was carried out although the stop was latched")
            bench.reset()
            (works,) = bench.report(command_of(self.mint()))
            need(works.status == "ok", f"after the reset a job ended {works.status}: {works.message}")
        return f"told in {told_ms:.1f} ms, over {1e3 * ended_s:.0f} ms later ({report.status}); works after a reset"

    def refused(self) -> str:
        """What is outside a limit never reaches the driver."""
        capability, job, before = self.capability(), self.mint(), self._count()
        bound = next(
            (
                (name, limit.high + max(1.0, abs(limit.high)))
                for name, limit in capability.limits.items()
                if name in job.parameters and math.isfinite(limit.high)
            ),
            None,
        )
        if bound is None:
            return "the job has no limited parameter: nothing was tried"
        wrong = replace(job, parameters=job.parameters | dict([bound]))
        with self._hosted() as bench:
            said = bench.ask(command_of(wrong), of(command_of(wrong), Refused, Report))
            need(isinstance(said, Refused), f"{bound[0]} = {bound[1]:g} was carried out by the host")
            need(job.command_id not in bench.starts(), "a refused command was started")
        need(self._count() == before, "the device acted on a refused command")
        return f"{bound[0]} = {bound[1]:g} refused"

    def batch(self) -> str:
        """As many samples as it takes, or three."""
        most = self.capability().batch
        if most < 2:
            return "it takes one sample at a time: nothing was tried"
        jobs = [self.mint() for _ in range(min(most, 3))]
        jobs = [replace(job, sample=f"{job.sample}-{i}") for i, job in enumerate(jobs)]
        commands = [command_of(job, [x.command_id for x in jobs]) for job in jobs]
        with self._hosted() as bench:
            reports = bench.report(*commands)
            need(all(r.status == "ok" for r in reports), f"ended {', '.join(r.status for r in reports)}")
            need(set(bench.starts().values()) == {1}, f"starts: {bench.starts()}")
        return f"{len(jobs)} of at most {most}"

    def _count(self) -> int:
        return self.acts() if self.acts else 0

    @contextmanager
    def _hosted(self, target: str | None = None, settings: dict[str, Any] | None = None) -> Iterator[HostBench]:
        self.release()
        self._benches += 1
        folder = self.folder / f"b{self._benches}"
        folder.mkdir()
        patience_s = PATIENCE_S + 4 * self.duration_s()
        with HostBench(folder, target or self.target, settings or self.settings, patience_s=patience_s) as bench:
            bench.start()
            yield bench


def of(command: Command, *kinds: type) -> Callable[[Any], Any]:
    """Return what picks, of all that a host says, an answer of these kinds to this command."""
    return lambda body: body if isinstance(body, kinds) and body.command_id == command.command_id else None


def same(one: Report, other: Report) -> bool:
    """Equal, also where a reading is NaN."""
    return one.model_dump_json() == other.model_dump_json() and one.frames == other.frames
