"""Does a driver keep a driver's promises? ``check_driver`` tries; ``athanor driver check`` prints.

It acts: use a simulator, or a sample and a job that may be repeated a dozen times.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from instruments.conformance_host import Broken, HostChecks, need
from instruments.driver import PROMPT_S, Capability, Driver, Job, Outcome
from instruments.messages import CapabilityInfo
from instruments.worker import plain, report_of

STATUSES = ("ok", "failed", "fault")
HEALTH_S = 2.0
KILL_AT = (0.1, 0.5, 0.9)
CHILD = """
import json, sys, time
from pathlib import Path
from instruments.driver import Job
from instruments.registry import resolve_driver
task = json.loads(sys.argv[1])
driver = resolve_driver(task["target"])(workdir=Path(task["workdir"]), **task["settings"])
print("running", flush=True)
driver.run(Job(**task["job"]), lambda fraction, message: None)
time.sleep(600)
"""
"""A process that is killed amid a job; after it, the report is lost. Imports little: it is started often."""


@dataclass(frozen=True)
class CheckResult:
    """One promise: was it kept, and what was seen."""

    name: str
    passed: bool
    detail: str


def check_driver(
    cls: Callable[..., Driver],
    settings: Mapping[str, Any],
    job: Job,
    *,
    stop_s: float = 2.0,
    acts: Callable[[], int] | None = None,
    hosted: bool = True,
) -> list[CheckResult]:
    """Try a driver class; every promise is tried, whatever became of the one before.

    Args:
        cls: the class; it must be importable by its name, since crashes are tried in processes of their own.
        settings: its keyword settings, JSON-like.
        job: one that ends ``ok`` and that may be repeated.
        stop_s: longest time that ``stop`` and a stopped ``run`` may take.
        acts: counts what the device has physically done (a simulator can); with it, what ``inspect`` says after a crash
            is compared with the truth.
        hosted: try it in a real host process with its ledger too.

    Returns:
        One result a promise, in a fixed order.
    """
    with tempfile.TemporaryDirectory(prefix="athanor-check-") as folder:
        checks = _Checks(cls, dict(settings), job, Path(folder), stop_s, acts)
        promises = checks.all() | (checks.hosted().all() if hosted else {})
        results = [_try(name, check) for name, check in promises.items()]
        checks.close()
        return results


def _try(name: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, True, check())
    except Broken as broken:
        return CheckResult(name, False, str(broken))
    except Exception as error:
        return CheckResult(name, False, f"raised {type(error).__name__}: {error}")


class _Checks:
    def __init__(
        self,
        cls: Callable[..., Driver],
        settings: dict[str, Any],
        job: Job,
        folder: Path,
        stop_s: float,
        acts: Callable[[], int] | None,
    ):
        self.cls, self.settings, self.job, self.folder, self.stop_s, self.acts = (
            cls,
            settings,
            job,
            folder,
            stop_s,
            acts,
        )
        self.duration_s = 1.0
        self._minted = 0
        self._driver: Any = None

    def all(self) -> dict[str, Callable[[], str]]:
        return {
            "announces what it can do, with limits": self.announces,
            "does the job and reports what it announced": self.does_the_job,
            "asked again after the report was lost, says the same": self.redelivery,
            "never begun is never called done": self.never_begun,
            "killed amid the act, never says what is not so": self.killed,
            "stops in time and works again": self.stops,
            "takes a stop while it is idle": self.stops_idle,
            "does nothing outside its limits": self.limits,
            "garbage in, refusal out": self.garbage,
            "says how it is": self.health,
        }

    def hosted(self) -> HostChecks:
        return HostChecks(
            target=self.target(), settings=self.settings, folder=self.workdir(), capability=self.capability,
            mint=self.mint, acts=self.acts, duration_s=lambda: self.duration_s, stop_s=self.stop_s, release=self.close,
        )  # fmt: skip

    # The promises

    def announces(self) -> str:
        driver = self.driver()
        capabilities, again = driver.capabilities(), driver.capabilities()
        need(bool(capabilities), "capabilities() is empty")
        need(capabilities == again, "capabilities() differs from one call to the next")
        names = [c.name for c in capabilities]
        need(len(set(names)) == len(names), f"a capability is announced twice: {names}")
        for capability in capabilities:
            CapabilityInfo.of(capability)
            for name, limit in [*capability.limits.items(), *capability.quantities.items()]:
                need(limit.low <= limit.high, f"{capability.name}: {name} has the limits {limit.low}..{limit.high}")
        need(self.job.capability in names, f"the job asks for {self.job.capability}; it announces {', '.join(names)}")
        return ", ".join(names)

    def does_the_job(self) -> str:
        fractions: list[float] = []
        begun = time.monotonic()
        capability, driver = self.capability(), self.driver()
        outcome = self.ok(driver, self.mint(), lambda fraction, message: fractions.append(fraction))
        self.duration_s = time.monotonic() - begun
        if getattr(driver, "prompt", False):
            spent = min(self.duration_s, self.again_s(), self.again_s())  # the machine may be busy
            need(spent <= PROMPT_S, f"calls itself prompt, and takes {spent:.2f} s: at most {PROMPT_S:g} s are prompt")
        unknown = set(outcome.readings) - set(capability.quantities)
        need(not unknown, f"reports {', '.join(sorted(unknown))}, which it does not announce")
        for name, limit in capability.quantities.items():
            value = outcome.readings.get(name, math.nan)
            need(math.isnan(value) or limit.low <= value <= limit.high, f"{name} = {value} is out of its own bounds")
        need(all(0 <= x <= 1 for x in fractions), "progress outside 0..1")
        return f"{', '.join(f'{k} = {v:.4g}' for k, v in outcome.readings.items()) or 'ok'} in {self.duration_s:.2f} s"

    def again_s(self) -> float:
        driver, job, begun = self.driver(), self.mint(), time.monotonic()
        self.ok(driver, job)
        return time.monotonic() - begun

    def redelivery(self) -> str:
        job, workdir = self.mint(), self.workdir()
        outcome = self.ok(self.driver(workdir), job)
        before = self.count()
        found = self.look(workdir, job)
        need(self.count() == before, "inspect() acted")
        if found is None:
            return "inspect() cannot tell: a person must reconcile"
        if found.status == "untouched":
            need(self.capability().idempotent, "inspect() says untouched of a job that was done")
            return "idempotent: it may simply be asked again"
        need(found.status == outcome.status, f"inspect() says {found.status}, it was {outcome.status}")
        for name, value in outcome.readings.items():
            said = found.readings.get(name, math.nan)
            same = math.isclose(value, said, rel_tol=1e-6, abs_tol=1e-12) or (math.isnan(value) and math.isnan(said))
            need(same, f"inspect() says {name} = {said}, reported was {value}")
        return "inspect() gives the same report"

    def never_begun(self) -> str:
        found = self.look(self.workdir(), self.mint())
        need(found is None or found.status == "untouched", f"inspect() says {found and found.status}")
        return found.status if found else "inspect() cannot tell"

    def killed(self) -> str:
        said = []
        for part in KILL_AT:
            job, workdir, before = self.mint(), self.workdir(), self.count()
            self.kill_amid(job, workdir, part * self.duration_s)
            acted = self.count() - before
            found = self.look(workdir, job)
            status = found.status if found else "unknown"
            need(status in ("ok", "untouched", "failed", "unknown"), f"inspect() says {status}")
            if self.acts is not None and not self.capability().idempotent:
                need(not (status == "untouched" and acted), f"says untouched, the device acted {acted} times")
                need(not (status == "ok" and not acted), "says ok, the device never acted")
            said.append(f"{part:.0%}: {status}")
            self.driver().stop()
        return ", ".join(said)

    def stops(self) -> str:
        driver, job = self.driver(), self.mint()
        moved, results = threading.Event(), queue.SimpleQueue()
        thread = threading.Thread(
            target=lambda: results.put(_outcome_or_error(driver, job, lambda fraction, message: moved.set())),
            daemon=True,
        )
        thread.start()
        moved.wait(0.5 * self.duration_s)
        begun = time.monotonic()
        driver.stop()
        told_s = time.monotonic() - begun
        while thread.is_alive() and time.monotonic() - begun < self.stop_s:
            time.sleep(0.01)
            driver.stop()  # as the host does: one that came before run() began is forgotten
        thread.join(max(0.0, self.stop_s - (time.monotonic() - begun)) + 0.05)
        need(not thread.is_alive(), f"run() went on for more than {self.stop_s:g} s after stop()")
        returned_s = time.monotonic() - begun
        need(told_s <= self.stop_s, f"stop() took {told_s:.2f} s")
        outcome = results.get()
        need(isinstance(outcome, Outcome), f"a stopped run() raised {outcome!r}; it must return failed")
        need(outcome.status in ("failed", "ok"), f"a stopped run() returned {outcome.status}")
        self.ok(driver, self.mint())
        return f"stop() {1e3 * told_s:.1f} ms, run() back after {1e3 * returned_s:.0f} ms ({outcome.status})"

    def stops_idle(self) -> str:
        driver = self.driver()
        driver.stop()
        driver.stop()
        self.ok(driver, self.mint())
        return "ok"

    def limits(self) -> str:
        capability, given = self.capability(), _arguments(self.job)
        driver, before, tried = self.driver(), self.count(), 0
        for name, limit in capability.limits.items():
            wrong: list[Any] = ["a lot", None, math.nan, True]
            wrong += [limit.high + max(1.0, abs(limit.high))] if math.isfinite(limit.high) else []
            wrong += [limit.low - max(1.0, abs(limit.low))] if math.isfinite(limit.low) else []
            for value in wrong if name in given else []:
                self.refuses(driver, _with(self.mint(), name, value), f"{name} = {value!r}")
                tried += 1
        need(self.count() == before, f"the device acted {self.count() - before} times outside its limits")
        return f"{tried} values refused" if tried else "the job has no limited parameter: nothing was tried"

    def garbage(self) -> str:
        capability = self.capability()
        driver, before = self.driver(), self.count()
        self.refuses(driver, replace(self.mint(), capability="no-such-capability"), "an unknown capability")
        for name in _arguments(self.job):
            for value in ({"nested": [[]]}, [], "\x00", 10**400, [None]):
                job = _with(self.mint(), name, value)
                outcome = _outcome_or_error(driver, job)
                need(isinstance(outcome, Outcome), f"{name} = {value!s:.30}: raised {outcome!r:.200}; return failed")
                need(outcome.status in STATUSES, f"{name} = {value!s:.30}: returned {outcome.status!r}")
        if self.acts is not None and capability.limits:
            need(self.count() == before or capability.idempotent, "the device acted on garbage")
        self.ok(driver, self.mint())
        return "and it works afterwards"

    def health(self) -> str:
        begun = time.monotonic()
        facts = self.driver().health()
        took_s = time.monotonic() - begun
        need(isinstance(facts, dict), f"health() returns {type(facts).__name__}")
        need(took_s <= HEALTH_S, f"health() took {took_s:.1f} s")
        need(len(json.dumps(plain(facts))) < 64 << 10, "health() returns more than 64 kB")
        return ", ".join(map(str, facts))

    # What they need

    def workdir(self) -> Path:
        self._minted += 1
        path = self.folder / f"w{self._minted}"
        path.mkdir()
        return path

    def driver(self, workdir: Path | None = None) -> Driver:
        self.close()  # a serial line has one owner
        self._driver = self.cls(workdir=workdir or self.workdir(), **self.settings)
        return self._driver

    def close(self) -> None:
        close = getattr(self._driver, "close", None)
        if callable(close):
            close()

    def target(self) -> str:
        return f"{self.cls.__module__}:{self.cls.__qualname__}"  # type: ignore[attr-defined]

    def capability(self) -> Capability:
        found = [c for c in self.driver().capabilities() if c.name == self.job.capability]
        need(bool(found), f"it does not announce {self.job.capability}")
        return found[0]

    def mint(self) -> Job:
        self._minted += 1
        return replace(
            self.job, command_id=f"{self.job.command_id}-{self._minted}", parameters=dict(self.job.parameters)
        )

    def count(self) -> int:
        return self.acts() if self.acts else 0

    def ok(
        self, driver: Driver, job: Job, progress: Callable[[float, str], None] = lambda fraction, message: None
    ) -> Any:
        outcome = driver.run(job, progress)
        report_of(job.command_id, outcome)  # raises where it is no report
        need(outcome.status == "ok", f"the job ended {outcome.status}: {outcome.message}")
        return outcome

    def look(self, workdir: Path, job: Job) -> Outcome | None:
        found = self.driver(workdir).inspect(job)
        if found is not None:
            report_of(job.command_id, found)
        return found

    def refuses(self, driver: Driver, job: Job, what: str) -> None:
        outcome = _outcome_or_error(driver, job)
        need(isinstance(outcome, Outcome), f"{what}: raised {outcome!r:.200}; return failed: the instrument is well")
        need(outcome.status == "failed", f"{what}: returned {outcome.status!r} instead of failed")

    def kill_amid(self, job: Job, workdir: Path, after_s: float) -> None:
        """Run the job in a process of its own and kill that ``after_s`` after the driver was called."""
        task = {"target": self.target(), "workdir": str(workdir), "settings": self.settings, "job": asdict(job)}
        child_process = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(task, default=str)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        with child_process:
            stdout = child_process.stdout
            need(stdout is not None and stdout.readline() == b"running\n", "the driver cannot be loaded by its name")
            time.sleep(after_s)
            child_process.send_signal(signal.SIGKILL)


def _outcome_or_error(
    driver: Driver, job: Job, progress: Callable[[float, str], None] = lambda fraction, message: None
) -> Any:
    try:
        return driver.run(job, progress)
    except Exception as error:
        return error


def _arguments(job: Job) -> dict[str, Any]:
    nested = job.parameters.get("parameters")
    return dict(nested) if isinstance(nested, Mapping) else dict(job.parameters)


def _with(job: Job, name: str, value: Any) -> Job:
    changed = _arguments(job) | {name: value}
    nested = isinstance(job.parameters.get("parameters"), Mapping)
    return replace(job, parameters=job.parameters | {"parameters": changed} if nested else changed)


if __name__ == "__main__":
    from instruments.conformance_cli import main

    sys.exit(main())
