"""The emergency stop from the outside: ``athanor stop`` and ``athanor reset``. It never replaces a hardware stop.

A living controller is told on the stop channel, with the run's operator key, and stops every instrument ahead of all
queues. Where none answers, the host processes are told by signal, which makes each stop its driver and write down what
came of it. Either way the stop is latched in the journal: nothing is commanded until a person resets it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller import events as ev
from controller.errors import AthanorError, CampaignError, LabNeedsPerson, RunStateError, StorageError
from controller.journal import Journal
from controller.rundir import RunDirectory, RunLock
from controller.state import State
from instruments.errors import LabError
from instruments.ledger import Ledger, lock_path
from instruments.messages import Health, Outbox, Stop, decode
from instruments.process import ProcessIdentity, living_holder

OPERATOR = "operator"
"""Name of the key that every run has for the people who may stop it."""
ANSWER_S = 8.0
"""How long a living controller may take to answer before the hosts are told by signal."""
RESEND_S = 0.3
HOSTS_END_S = 10.0
POLL_S = 0.01


@dataclass
class Stopped:
    """What came of a stop request.

    Attributes:
        through: ``controller``, or ``signal`` where no controller answered and the hosts were told themselves.
        acknowledged_ms: instrument -> milliseconds from the request to its word; None: NOT acknowledged.
        latched: True where the stop is in the journal, on disk.
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


def stop(directory: RunDirectory, *, by: str, reason: str, answer_s: float = ANSWER_S) -> Stopped:
    """Stop every instrument of a run at once.

    Args:
        directory: the run.
        by: who asks, for the record (the key decides who may).
        reason: why.
        answer_s: how long a living controller may take to answer.

    Raises:
        RunStateError: no run is here.
    """
    directory.require()
    text = f"{by}: {reason}" if reason else by
    notes: list[str] = []
    if directory.holder() is not None:
        try:
            table = _ask_controller(directory, text, answer_s)
        except LabError as error:
            table = None
            notes.append(str(error))
        if table is not None:
            latched = _is_latched(directory)
            warning = "the controller has stopped the instruments but has NOT latched the stop in its journal"
            return Stopped("controller", table, latched, [*notes, *([] if latched else [warning])])
        notes.append("the controller did not answer: its hosts were told by signal")
    return _stop_hosts(directory, text, notes)


def reset(directory: RunDirectory, *, by: str, reason: str) -> None:
    """End an emergency stop in the name of a person; the next ``athanor resume`` tells the instruments.

    Raises:
        CampaignError: no name or no reason.
        RunStateError: nothing is latched, or a controller holds the run.
        LabNeedsPerson: a host is still alive and busy, or samples wait for a verdict (the message lists them).
    """
    if not by.strip() or not reason.strip():
        raise CampaignError("give --by NAME and --reason TEXT: a person answers for the reset.")
    directory.require()
    with RunLock(directory):
        if directory.load()[0].latched is None:
            raise RunStateError(f"{directory.path}: no emergency stop is latched.")
        alive = [name for name, ended in _end_hosts(directory).items() if ended is None]
        if alive:
            raise LabNeedsPerson(f"still busy: {', '.join(alive)}. Wait for the host process to end, then reset again.")
        with _writing(directory) as (state, write):
            write(_look_back(directory, state))
        state, _ = directory.load()
        if waiting := state.unknown():
            lines = [
                f"  {c.order.command_id}  {c.order.experiment} on {c.order.instrument}: {c.unknown}" for c in waiting
            ]
            raise LabNeedsPerson(
                "not reset: samples in flight have no verdict:\n"
                + "\n".join(lines)
                + f"\nLook at each, then `athanor reconcile {directory.path} COMMAND VERDICT --by NAME`, then reset."
            )
        with _writing(directory) as (_, write):
            write([ev.StopReset(by=by, reason=reason)])


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


def _ask_controller(directory: RunDirectory, text: str, answer_s: float) -> dict[str, float | None] | None:
    """The controller's table, or None where it does not answer."""
    import zmq

    from instruments.transport import Client, read_endpoints

    context = zmq.Context()
    client = Client(context, keys=directory.lab / "keys", name=OPERATOR)
    outbox, request = Outbox(uuid.uuid4().hex), Stop(stop_id=uuid.uuid4().hex, reason=text[:10_000])
    try:
        deadline, next_send = time.monotonic() + answer_s, 0.0
        while time.monotonic() < deadline and directory.holder() is not None:
            endpoints = read_endpoints(directory.lab / "endpoint.json")
            if endpoints and endpoints["stop"] != client.endpoint:
                client.connect(endpoints["stop"])
                next_send = 0.0
            if client.socket is not None and time.monotonic() >= next_send:
                sent = client.send(outbox.wrap(request))
                next_send = time.monotonic() + (RESEND_S if sent else 0.0)
            if client.socket is None or not client.socket.poll(20):
                time.sleep(POLL_S if client.socket is None else 0.0)
                continue
            while (frames := client.receive()) is not None:
                body = decode(frames).body
                if isinstance(body, Health) and body.facts.get("stop_id") == request.stop_id:
                    table: Any = body.facts.get("acknowledged_ms")
                    return dict(table)
        return None
    finally:
        client.close()
        context.term()


def _is_latched(directory: RunDirectory, timeout_s: float = 3.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while True:
        if directory.load()[0].latched is not None:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def _stop_hosts(directory: RunDirectory, text: str, notes: list[str]) -> Stopped:
    """Stop the hosts by signal, latch their ledgers and the journal."""
    table = _end_hosts(directory)
    for name, path in _ledgers(directory).items():
        if table.get(name) is not None:
            try:
                with contextlib.closing(Ledger(path)) as ledger:
                    ledger.latch(text)
            except (LabError, sqlite3.Error) as error:
                notes.append(f"{name}: the stop is not latched in its ledger ({error})")
    latched = False
    try:
        # A controller that hangs is not waited for: with this event in the journal its next commit fails, and it ends.
        with contextlib.ExitStack() as stack:
            if directory.holder() is None:
                stack.enter_context(RunLock(directory))
            state, write = stack.enter_context(_writing(directory))
            latch = ev.StopLatched(by="athanor stop", reason=text)
            answers = ev.StopAcknowledged(acknowledged_ms=_for_all(state, table))
            write([latch, answers, *_look_back(directory, state)])
            latched = True
            notes += [f"{name}: no host process was alive" for name in answers.acknowledged_ms if name not in table]
            table = answers.acknowledged_ms
    except (AthanorError, OSError) as error:
        notes.append(f"the stop is NOT latched in the journal: {error}")
    return Stopped("signal", table, latched, notes)


def _for_all(state: State, table: dict[str, float | None]) -> dict[str, float | None]:
    """The table over all instruments; one without a living host has nobody to tell and counts as told: 0 ms."""
    return {name: table.get(name, 0.0) for name in sorted({*state.require().lab.instruments, *table})}


def _end_hosts(directory: RunDirectory) -> dict[str, float | None]:
    """SIGTERM to every living host: it stops its driver, writes down what came of its command and ends.

    Returns name -> milliseconds until it was gone, None where it still lives. Nobody is killed: a driver that takes its
    time to reach the safe state is left to it.
    """
    begun = time.monotonic()
    living: dict[str, ProcessIdentity] = {}
    for name, path in _ledgers(directory).items():
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


def _ledgers(directory: RunDirectory) -> dict[str, Path]:
    return {path.parent.name: path for path in sorted((directory.lab / "hosts").glob("*/ledger.sqlite"))}


def _look_back(directory: RunDirectory, state: State) -> list[ev.Event]:
    """Commands that were cut off, from the ledgers: their outcome is unknown.

    What a ledger has not started is untouched, and what it has finished undisturbed is reported at the next resume.
    """
    found: list[ev.Event] = []
    paths = _ledgers(directory)
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
    state, _ = directory.load()
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
