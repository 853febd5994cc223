"""The emergency stop from the outside: ``athanor stop`` and ``athanor reset``. It never replaces a hardware stop.

A living controller is told on the stop channel, with the lab's operator key, and stops every instrument ahead of all
queues. Where none answers, the host processes are told by signal, which makes each stop its driver and write down what
came of it. Either way the stop is latched, for the lab and in the journals of its runs: nothing is commanded until a
person resets it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller import events as ev
from controller.errors import AthanorError, CampaignError, LabNeedsPerson, RunStateError, StorageError
from controller.journal import Journal
from controller.lab import FILE, OPERATOR, load_lab
from controller.labdir import LabDirectory, lab_without_controller
from controller.labdir import Stop as LabStop
from controller.people import ask
from controller.rundir import RunDirectory, RunLock
from controller.state import State
from instruments.errors import LabError
from instruments.ledger import Ledger, lock_path
from instruments.messages import Health, Stop
from instruments.process import ProcessIdentity, living_holder

ANSWER_S = 8.0
"""How long a living controller may take to answer before the hosts are told by signal."""
HOSTS_END_S = 10.0
POLL_S = 0.01


@dataclass
class Stopped:
    """What came of a stop request.

    Attributes:
        through: ``controller``, or ``signal`` where no controller answered and the hosts were told themselves.
        acknowledged_ms: instrument -> milliseconds from the request to its word; None: NOT acknowledged.
        latched: True where the stop is on disk, in the lab and in the journal.
        notes: what a person should know besides.
    """

    through: str
    acknowledged_ms: dict[str, float | None]
    latched: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True where every instrument has acknowledged and the stop is latched."""
        return self.latched and None not in self.acknowledged_ms.values()


def stop(
    lab: LabDirectory, runs: Sequence[RunDirectory], *, by: str, reason: str, answer_s: float = ANSWER_S
) -> Stopped:
    """Stop every instrument of a lab at once.

    Args:
        lab: the lab.
        runs: those that may be working in it; see ``find_lab``.
        by: who asks, for the record (the key decides who may).
        reason: why.
        answer_s: how long a living controller may take to answer.
    """
    text = f"{by}: {reason}" if reason else by
    notes: list[str] = []
    if lab.holder() is not None:
        try:
            table = ask(lab, OPERATOR, Stop(stop_id=uuid.uuid4().hex, reason=text[:10_000]), _table_of, answer_s)
        except LabError as error:
            table = None
            notes.append(str(error))
        if table is not None:
            latched = _is_latched(lab)
            warning = "the controller has stopped the instruments but has NOT latched the stop on disk"
            return Stopped("controller", table, latched, [*notes, *([] if latched else [warning])])
        notes.append("the controller did not answer: its hosts were told by signal")
    return _stop_hosts(lab, runs, text, notes)


def reset(lab: LabDirectory, runs: Sequence[RunDirectory], *, by: str, reason: str) -> None:
    """End an emergency stop in the name of a person; the next controller tells the instruments.

    Raises:
        CampaignError: no name or no reason.
        RunStateError: nothing is latched, or a controller holds the lab or one of the runs.
        LabNeedsPerson: a host is still alive and busy, or samples wait for a verdict (the message lists them).
    """
    if not by.strip() or not reason.strip():
        raise CampaignError("give --by NAME and --reason TEXT: a person answers for the reset.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(lab_without_controller(lab))
        for run in runs:
            stack.enter_context(RunLock(run))
        latched = [run for run in runs if run.load().latched is not None]
        if not latched and lab.stop() is None and not lab.latched_in_hosts():
            raise RunStateError(f"{lab.path}: no emergency stop is latched.")
        alive = [name for name, ended in _end_hosts(lab).items() if ended is None]
        if alive:
            raise LabNeedsPerson(f"still busy: {', '.join(alive)}. Wait for the host process to end, then reset again.")
        lines: list[str] = []
        for run in runs:
            with _writing(run) as (state, write):
                write(_look_back(lab, state))
            lines += [
                f"  athanor reconcile {run.path} {c.order.command_id} VERDICT --by NAME    "
                f"({c.order.experiment} on {c.order.instrument}: {c.unknown})"
                for c in run.load().unknown()
            ]
        if lines:
            raise LabNeedsPerson(
                "not reset: samples in flight have no verdict. Look at each, then reset again:\n" + "\n".join(lines)
            )
        lab.latch(by, reason)  # where only a host or a run knew of it
        lab.reset(by, reason)
        for run in latched:
            with _writing(run) as (_, write):
                write([ev.StopReset(by=by, reason=reason)])


def find_lab(path: Path) -> tuple[LabDirectory, list[RunDirectory]]:
    """The lab that a path means, and its runs that are not finished: of a run, of a lab's folder, or of a lab file.

    Raises:
        RunStateError: neither is here.
    """
    run = RunDirectory(path)
    if run.exists():
        lab = LabDirectory(run.lab)
    elif path.name == FILE or (path / FILE).exists() or (path / "keys").is_dir():
        lab = LabDirectory(path.parent if path.name == FILE else path)
        run = None
    else:
        raise RunStateError(f"{path}: no run here, and no lab. Give the directory of a run or of a lab.")
    paths: list[Path] = [*([run.path.resolve()] if run else []), *lab.runs()]
    runs = [RunDirectory(p) for p in dict.fromkeys(paths)]
    return lab, [r for r in runs if r.exists() and not r.is_finished()]


def latched_message(state: State) -> str:
    """What a person is told while the stop holds."""
    latched = state.latched
    if latched is None:
        return ""
    why = f"by {latched.by}" + (f", {latched.reason}" if latched.reason else "")
    silent = [name for name, ms in (state.stop_answers or {}).items() if ms is None]
    doubt = f" NOT ACKNOWLEDGED by {', '.join(silent)}: go and look." if silent else ""
    unknown = len(state.unknown())
    verdicts = f"`athanor reconcile` {unknown} of unknown outcome, " if unknown else ""
    return (
        f"an emergency stop is latched ({why}): nothing is commanded.{doubt} Make the lab safe, then {verdicts}"
        "`athanor reset RUN --by NAME --reason TEXT`, then `athanor resume RUN`."
    )


def lab_latched_message(lab: LabDirectory, latched: LabStop) -> str:
    """What a person is told while a stop of the whole lab holds."""
    why = f"by {latched.by}" + (f", {latched.reason}" if latched.reason else "")
    return (
        f"an emergency stop of the lab is latched ({why}, {latched.at}): nothing is commanded. Make the lab safe, then "
        f"`athanor reset {lab.path} --by NAME --reason TEXT`."
    )


def _table_of(body: Any, request: Any) -> dict[str, float | None] | None:
    """The table in the controller's answer to a stop, if this is it."""
    if isinstance(body, Health) and body.facts.get("stop_id") == request.stop_id:
        table: Any = body.facts.get("acknowledged_ms")
        return dict(table)
    return None


def _is_latched(lab: LabDirectory, timeout_s: float = 3.0) -> bool:
    """True once the stop is on disk, in the lab and in the journal of the run that has it."""
    run = (lab.last_holder() or {}).get("run")
    deadline = time.monotonic() + timeout_s
    while True:
        if lab.stop() is not None and (run is None or RunDirectory(Path(run)).load().latched is not None):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def _stop_hosts(lab: LabDirectory, runs: Sequence[RunDirectory], text: str, notes: list[str]) -> Stopped:
    """Stop the hosts by signal, latch their ledgers, the lab and the journals."""
    told = _end_hosts(lab)
    for name, path in lab.ledgers().items():
        if told.get(name) is not None:
            try:
                with contextlib.closing(Ledger(path)) as ledger:
                    ledger.latch(text)
            except (LabError, sqlite3.Error) as error:
                notes.append(f"{name}: the stop is not latched in its ledger ({error})")
    latched = True
    try:
        lab.latch("athanor stop", text)
    except OSError as error:
        latched = False
        notes.append(f"the stop is NOT latched in {lab.path}: {error}")
    table = dict(told)
    for name, remote in _instruments(lab, runs).items():
        if name not in told:
            # Without a living host nobody is to be told: 0 ms. A host elsewhere may live, and cannot be told from here.
            table[name] = None if remote else 0.0
            notes.append(f"{name}: its host is elsewhere" if remote else f"{name}: no host process was alive")
    for run in runs:
        try:
            # A controller that hangs is not waited for: with this event in the journal its next commit fails.
            with contextlib.ExitStack() as stack:
                if run.holder() is None:
                    stack.enter_context(RunLock(run))
                state, write = stack.enter_context(_writing(run))
                latch = ev.StopLatched(by="athanor stop", reason=text)
                write([latch, ev.StopAcknowledged(acknowledged_ms=table), *_look_back(lab, state)])
        except (AthanorError, OSError) as error:
            latched = False
            notes.append(f"the stop is NOT latched in the journal: {error}")
    return Stopped("signal", dict(sorted(table.items())), latched, notes)


def _instruments(lab: LabDirectory, runs: Sequence[RunDirectory]) -> dict[str, bool]:
    """Instrument -> whether its host is elsewhere, of the lab as its file or its runs know it."""
    try:
        sections = [load_lab(lab.file)[0]] if lab.file.exists() else [run.load().require().lab for run in runs]
    except AthanorError:
        sections = [run.load().require().lab for run in runs]  # a broken file is no reason not to stop
    return {name: instrument.remote for section in sections for name, instrument in section.instruments.items()}


def _end_hosts(lab: LabDirectory) -> dict[str, float | None]:
    """SIGTERM to every living host: it stops its driver, writes down what came of its command and ends.

    Returns name -> milliseconds until it was gone, None where it still lives. Nobody is killed: a driver that takes its
    time to reach the safe state is left to it.
    """
    begun = time.monotonic()
    living: dict[str, ProcessIdentity] = {}
    for name, path in lab.ledgers().items():
        identity = living_holder(lock_path(path))
        if identity is not None and identity.alive():
            living[name] = identity
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, signal.SIGTERM)
    found: dict[str, float | None] = dict.fromkeys(living)
    while None in found.values() and time.monotonic() < begun + HOSTS_END_S:
        for name, identity in living.items():
            if found[name] is None and not identity.alive():
                found[name] = (time.monotonic() - begun) * 1_000
        time.sleep(POLL_S)
    return found


def _look_back(lab: LabDirectory, state: State) -> list[ev.Event]:
    """Commands that were cut off, from the ledgers: their outcome is unknown.

    What a ledger has not started is untouched, and what it has finished undisturbed is reported at the next resume.
    """
    found: list[ev.Event] = []
    paths = lab.ledgers()
    for command_id, command in state.commands.items():
        path = paths.get(command.order.instrument)
        if command.report is not None or command.unknown or path is None:
            continue
        try:
            with contextlib.closing(Ledger(path)) as ledger:
                entry, report = ledger.find(command_id), ledger.report(command_id)
        except (LabError, sqlite3.Error) as error:
            found.append(ev.OutcomeUnknown(command_id=command_id, evidence=f"its ledger cannot be read: {error}"))
            continue
        if report is not None and report.stopped and report.status != "untouched":
            said = f"stopped amid the act; the driver reported {report.status}: {report.message}"
            found.append(ev.OutcomeUnknown(command_id=command_id, evidence=said))
        elif entry is not None and entry.state == "started":
            said = entry.evidence or "started; its host ended without a report"
            found.append(ev.OutcomeUnknown(command_id=command_id, evidence=said))
    return found


@contextlib.contextmanager
def _writing(directory: RunDirectory) -> Iterator[tuple[State, Any]]:
    """The state, and a function that makes events durable."""
    state = directory.load()
    journal = Journal(directory.journal)

    def write(events: list[ev.Event]) -> None:
        journal.stage(events)
        journal.commit()

    try:
        yield state, write
    except sqlite3.Error as error:
        raise StorageError(f"{directory.journal}: {error}.") from error
    finally:
        journal.close()
