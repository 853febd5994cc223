"""The thread that owns the driver: one act at a time, every step of it in the ledger before and after.

An act is one command, or the members of a batch: they are started in one transaction, and so are their reports.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from instruments.arrays import MAX_ARRAYS, MAX_REPORT_BYTES, from_array
from instruments.driver import BatchDriver, Capability, Driver, Job, Outcome
from instruments.errors import CANNOT_RECORD, InstrumentError, ProtocolError
from instruments.group_log import Record
from instruments.ledger import Ledger
from instruments.messages import MAX_JSON_BYTES, CapabilityInfo, Command, Report, as_json
from instruments.round import RETRY_WRITE_S, Round

log = logging.getLogger("athanor.host")

FACTS_INTERVAL_S = 2.0
PROGRESS_INTERVAL_S = 0.2
STOP_AGAIN_S = 0.2
MAX_FACTS_BYTES = 64 << 10
MARGIN_BYTES = 16 << 10
"""Room in the JSON frame for what surrounds a report."""
FEW_READINGS = 500
"""So many always have room: a name has 200 characters of at most 6 bytes, the message 10,000."""
NO_EVIDENCE = "the host ended between start and report, and the driver cannot tell what came of it"


@dataclass(frozen=True)
class Ready:
    """The driver is loaded and what a crash left behind has been looked at."""

    capabilities: tuple[Capability, ...]


@dataclass(frozen=True)
class Broken:
    """The driver cannot be used; the host must end."""

    reason: str


@dataclass(frozen=True)
class Started:
    """``started`` is on disk, since ``at_s`` (``time.monotonic()``)."""

    command_id: str
    at_s: float = 0.0


@dataclass(frozen=True)
class NotStarted:
    """The command was dropped before anything was written or done."""

    command_id: str
    reason: str
    retry: bool = False


@dataclass(frozen=True)
class Moved:
    """Progress of the running command."""

    command_id: str
    fraction: float
    message: str


@dataclass(frozen=True)
class Ended:
    """The driver has returned; ``stored`` is False while the ledger refuses to be written (it is tried again)."""

    report: Report
    stored: bool


@dataclass(frozen=True)
class Facts:
    """The driver's own health, asked for while it was idle."""

    facts: dict[str, Any]


Event = Ready | Broken | Started | NotStarted | Moved | Ended | Facts


class Worker:
    """Runs the driver in its own thread and tells ``on_event`` (called from that thread) what happens.

    ``stop`` may be called from any thread at any time; everything else belongs to the host's main thread.
    ``may_start(epoch)`` gives the reason why nothing may start now, or ``""``. A prompt driver's acts go to the
    ``round`` of its process instead; the thread is then there for all else.
    """

    def __init__(
        self,
        load: Callable[[], Driver],
        ledger: Ledger,
        on_event: Callable[[Event], None],
        *,
        may_start: Callable[[int], str],
        round: Round | None = None,
        stopped: bool = False,
    ):
        self._may_start = may_start
        self._load, self.ledger, self._on_event = load, ledger, on_event
        self._driver: Driver | None = None
        self._tasks: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._shut = threading.Event()  # nothing may start: stopped, or about to end
        if stopped:
            self._shut.set()
        self._stops = 0
        self._running = threading.Event()
        self._hand = threading.Lock()  # one method of the driver at a time, but for stop
        self._round, self._prompt = round, False
        self._last_progress = 0.0
        self._thread = threading.Thread(target=self._work, name="driver", daemon=True)

    def start(self) -> None:
        """Load the driver and begin."""
        self._thread.start()

    def submit(self, act: Sequence[Command], epoch: int) -> None:
        """Do an act (one command, or a whole batch) after those that were submitted before."""
        if self._prompt and self._round is not None:
            self._round.add(self, list(act), epoch)
        else:
            self._tasks.put(("run", (list(act), epoch)))

    def make_safe(self) -> None:
        """Go to the safe state when the running command has ended."""
        self._tasks.put(("safe", None))

    def end(self) -> None:
        """Go to the safe state and end the thread when the running command has ended."""
        self._tasks.put(("end", None))

    def join(self, timeout_s: float) -> bool:
        """True when the thread has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def reopen(self) -> None:
        """Let commands start again after a stop."""
        self._shut.clear()

    def stop(self) -> str:
        """Call the driver's ``stop`` at once; nothing starts until ``reopen``. Returns the error's text, or ``""``."""
        self._shut.set()
        self._stops += 1
        error = self._stop_driver()
        if self._running.is_set():
            threading.Thread(target=self._stop_again, name="stop-again", daemon=True).start()
        return error

    def _stop_driver(self) -> str:
        if self._driver is None:
            return ""
        try:
            self._driver.stop()
        except Exception as error:
            log.exception("the driver's stop() failed")
            return _text(error)
        return ""

    def _stop_again(self) -> None:
        # A stop that came just before run() began may have been forgotten by it: repeat until run() returns.
        while self._running.is_set() and self._shut.is_set():
            time.sleep(STOP_AGAIN_S)
            if self._running.is_set():
                self._stop_driver()

    def _work(self) -> None:
        try:
            driver = self._driver = self._load()
            capabilities = tuple(driver.capabilities())
            check(driver, capabilities)
            for command in self.ledger.unfinished():
                self._look_back(driver, command)
            self._prompt = bool(getattr(driver, "prompt", False))
        except Exception as error:
            log.exception("the driver cannot be used")
            self._on_event(Broken(_text(error)))
            return
        self._on_event(Ready(capabilities))
        try:
            self._serve(driver)
        except Exception as error:  # a fault of ours: end, and let the next process look back
            log.exception("the driver's thread failed")
            self._on_event(Broken(_text(error)))

    def _serve(self, driver: Driver) -> None:
        self._ask_facts(driver)
        while True:
            try:
                kind, task = self._tasks.get(timeout=FACTS_INTERVAL_S)
            except queue.Empty:
                self._ask_facts(driver)
                continue
            if kind == "run":
                self._run(*task)
            else:
                self._stop_driver()
                if kind == "end":
                    return

    def _ask_facts(self, driver: Driver) -> None:
        try:
            with self._hand:
                facts = driver.health()
        except Exception as error:
            facts = {"health_error": _text(error)}
        small = plain(facts if isinstance(facts, dict) else {"health": str(facts)})
        if len(json.dumps(small)) > MAX_FACTS_BYTES:
            small = {"health_error": "the driver's health() returns too much"}
        self._on_event(Facts(small))

    def prepare(self, act: list[Command], epoch: int) -> Record | None:
        """Return what makes an act ``started``; None where it must not start now, which is told."""
        if self._shut.is_set():
            self._not_started(act, "the instrument was stopped before this command began")
        elif reason := self._may_start(epoch):
            self._not_started(act, reason, retry=True)
        else:
            try:
                return self.ledger.starting(act, epoch)
            except (InstrumentError, sqlite3.Error, OSError) as error:
                self.refuse(act, error)
        return None

    def refuse(self, act: list[Command], error: Exception) -> None:
        """Tell that an act was not started, because the ledger could not record it."""
        self._not_started(act, f"{CANNOT_RECORD}: {error}")

    def perform(self, act: list[Command]) -> list[Report]:
        """Have the driver do what the ledger has as started. Returns the reports, which are not stored yet."""
        stops, begun = self._stops, time.monotonic()
        for command in act:
            self._on_event(Started(command.command_id, begun))
        self._running.set()
        try:
            if self._shut.is_set():
                outcomes: list[Any] = [Outcome("untouched", message="stopped before the driver was called")] * len(act)
            else:
                outcomes = self._call(act)
        except BaseException as error:
            log.exception("command %s: the driver failed", act[0].command_id)
            outcomes = [error] * len(act)
        finally:
            self._running.clear()
        elapsed_s = time.monotonic() - begun
        reports = [_reported(command, outcome, elapsed_s) for command, outcome in zip(act, outcomes, strict=True)]
        if self._stops != stops:
            reports = [x.model_copy(update={"stopped": True}).with_frames(x.frames) for x in reports]
        return reports

    def ended(self, reports: list[Report]) -> None:
        """Tell the reports, which are stored."""
        for report in reports:
            self._on_event(Ended(report, stored=True))

    def not_stored(self, reports: list[Report], error: Exception) -> None:
        """Tell the reports although they could not be stored: the controller may still have room to keep them."""
        log.error("cannot store the report of %s (%s); trying again", reports[0].command_id, error)
        for report in reports:
            self._on_event(Ended(report, stored=False))

    def _run(self, act: list[Command], epoch: int) -> None:
        start = self.prepare(act, epoch)
        if start is None:
            return
        try:
            self.ledger.log.append(start)
        except OSError as error:
            self.refuse(act, error)
            return
        reports, told = self.perform(act), False
        while True:
            try:
                self.ledger.finish_all(reports)
            except (sqlite3.Error, OSError) as error:
                if not told:
                    self.not_stored(reports, error)
                told = True
                time.sleep(RETRY_WRITE_S)
                continue
            self.ended(reports)
            return

    def _not_started(self, act: list[Command], reason: str, *, retry: bool = False) -> None:
        for command in act:
            self._on_event(NotStarted(command.command_id, reason, retry))

    def _call(self, act: list[Command]) -> list[Any]:
        driver: Any = self._driver
        jobs, progress = [job_of(command) for command in act], self._progress([x.command_id for x in act])
        with self._hand:
            outcomes = [driver.run(jobs[0], progress)] if len(jobs) == 1 else driver.run_batch(jobs, progress)
        if not isinstance(outcomes, list) or len(outcomes) != len(jobs):
            raise ProtocolError(
                f"the driver's run_batch must return a list of {len(jobs)} outcomes; correct the driver"
            )
        return outcomes

    def _look_back(self, driver: Driver, command: Command) -> None:
        """A command that was started by a process that is gone: ask the driver's sensors once, and write it down."""
        try:
            outcome = driver.inspect(job_of(command))
        except Exception as error:
            log.exception("inspect failed")
            self.ledger.witness(command.command_id, f"{NO_EVIDENCE}: inspect failed with {_text(error)}")
            return
        if outcome is None:
            self.ledger.witness(command.command_id, NO_EVIDENCE)
            return
        try:
            report = report_of(command.command_id, outcome)
        except ProtocolError as error:
            self.ledger.witness(command.command_id, f"{NO_EVIDENCE}: inspect answered nonsense ({error})")
            return
        self.ledger.finish(report.model_copy(update={"source": "inspection"}).with_frames(report.frames))

    def _progress(self, command_ids: list[str]) -> Callable[[float, str], None]:
        def progress(fraction: float, message: str = "") -> None:
            now = time.monotonic()
            if now - self._last_progress < PROGRESS_INTERVAL_S and fraction < 1:
                return
            self._last_progress = now
            number = float(fraction)
            number = min(max(number, 0.0), 1.0) if math.isfinite(number) else 0.0
            for command_id in command_ids:
                self._on_event(Moved(command_id, number, clean(message, 1_000)))

        return progress


def check(driver: Driver, capabilities: Sequence[Capability]) -> None:
    """Raise where a driver announces what the wire cannot say, or batches that it cannot run."""
    for capability in capabilities:
        CapabilityInfo.of(capability)
        if capability.batch > 1 and not isinstance(driver, BatchDriver):
            raise ProtocolError(
                f"{capability.name} takes batches of {capability.batch}, but the driver has no "
                "run_batch(jobs, progress): add it, or announce batch=1"
            )


def job_of(command: Command) -> Job:
    """Return the command as a driver sees it."""
    return Job(command.command_id, command.capability, command.sample, dict(command.parameters), command.seed)


def report_of(command_id: str, outcome: Any) -> Report:
    """Return an outcome as a report. Raises ProtocolError where a driver returned what no report can say."""
    if not isinstance(outcome, Outcome):
        raise ProtocolError(f"the driver returned {type(outcome).__name__} instead of an Outcome; correct the driver")
    if len(outcome.arrays) > MAX_ARRAYS:
        raise ProtocolError(f"the driver returned {len(outcome.arrays)} arrays; at most {MAX_ARRAYS} are allowed")
    headers, frames = [], []
    for name, value in outcome.arrays.items():
        header, frame = from_array(name, value)
        headers.append(header)
        frames.append(frame)
    if sum(map(len, frames)) > MAX_REPORT_BYTES:
        raise ProtocolError(f"the driver returned more than {MAX_REPORT_BYTES} bytes of arrays")
    try:
        report = Report(
            command_id=command_id,
            status=outcome.status,  # type: ignore[arg-type]
            readings={clean(name, 200): float(value) for name, value in outcome.readings.items()},
            arrays=tuple(headers),
            duration_s=float(outcome.duration_s),
            message=clean(outcome.message, 10_000),
        )
    except (ValidationError, TypeError, ValueError) as error:
        raise ProtocolError(f"the driver returned a malformed Outcome: {str(error)[:500]}") from None
    if len(outcome.readings) > FEW_READINGS and len(as_json(report)) > MAX_JSON_BYTES - MARGIN_BYTES:
        raise ProtocolError("the driver returned too many readings for one report; return them as arrays")
    return report.with_frames(frames) if frames else report


def _reported(command: Command, outcome: Any, elapsed_s: float) -> Report:
    error = outcome
    if not isinstance(outcome, BaseException):
        try:
            return report_of(command.command_id, outcome)
        except Exception as nonsense:
            log.error("command %s: %s", command.command_id, nonsense)
            error = nonsense
    return Report(command_id=command.command_id, status="fault", duration_s=elapsed_s, message=_text(error))


def plain(value: Any, depth: int = 4) -> Any:
    """Return ``value`` as small finite JSON: a health report must never be the reason for silence."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return clean(value, 500)
    if isinstance(value, dict) and depth:
        return {clean(k, 100): plain(v, depth - 1) for k, v in list(value.items())[:100]}
    if isinstance(value, list | tuple) and depth:
        return [plain(x, depth - 1) for x in value[:100]]
    with contextlib.suppress(Exception):  # numpy scalars and the like
        item = getattr(value, "item", None)
        return plain(item(), depth - 1) if depth and callable(item) else clean(value, 500)
    return f"<{type(value).__name__}>"


def clean(value: Any, length: int) -> str:
    """Return ``str(value)``, cut, and without what UTF-8 cannot say."""
    return str(value)[:length].encode("utf-8", "replace").decode("utf-8")


def _text(error: BaseException) -> str:
    return clean(f"{type(error).__name__}: {error}", 2_000)
