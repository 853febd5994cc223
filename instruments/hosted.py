"""One hosted instrument: what it does with what the controller says, what its driver tells, and as time goes by."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import socket as sockets
import sqlite3
import sys
import time
import uuid
from selectors import BaseSelector
from typing import Any

import zmq

from instruments import worker
from instruments.batches import Batches, fault_of_batch, fault_of_member
from instruments.bell import Bell
from instruments.driver import Capability
from instruments.errors import LabError, ProtocolError
from instruments.group_log import GroupLog
from instruments.host_config import HostConfig
from instruments.last_word import LastWord
from instruments.ledger import Ledger, digest
from instruments.limits import violations
from instruments.messages import (
    Accepted,
    Acknowledge,
    Announce,
    CapabilityInfo,
    Command,
    Health,
    Heartbeat,
    Inbox,
    Known,
    Message,
    Outbox,
    Progress,
    Query,
    Refused,
    Release,
    Report,
    Reset,
    decode,
)
from instruments.round import Round
from instruments.stop_ear import StopEar, Stopping
from instruments.unheard import Unheard
from instruments.work_line import WorkLine

log = logging.getLogger("athanor.host")

EXIT_OK, EXIT_CONFIG, EXIT_HELD, EXIT_DRIVER = 0, 2, 3, 4
QUEUE_LENGTH = 2
"""Acts taken at most: one that runs and one that waits. A batch is one act, from its first member on."""
ACCEPT_S = 0.05
"""An act that is over sooner is answered by its report alone."""
CONNECTING_S = 0.05
LOOK_S = 1.0
"""How often to look whether a controller listens elsewhere now."""


class Host:
    """One hosted instrument, served by one thread: ``begin``, then ``turn`` until it is ``over``, then ``end``.

    Args:
        config: of the instrument.
        context: of the process.
        bell: rung where another thread has something for ``turn``.
        selector: knows the controller's connection with this host as its data.
        redo: the log of the process.
        turns: who has prompt drivers act.
    """

    def __init__(
        self,
        config: HostConfig,
        context: zmq.Context,
        bell: Bell,
        selector: BaseSelector,
        redo: GroupLog,
        turns: Round,
    ):
        self._config = config
        self._session = uuid.uuid4().hex
        self._work = WorkLine(context, config, selector, self)
        self._ledger = Ledger(config.ledger, instrument=config.name, log=redo)
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._bell, self._told = bell, False
        self._stopped = self._ledger.stop_reason is not None
        self._worker = worker.Worker(
            self._load, self._ledger, self._post, may_start=self._may_start, round=turns, stopped=self._stopped
        )
        self._ear = StopEar(config, context, self._session, self._worker, self._post)
        self._outbox, self._inbox = Outbox(self._session, self._ledger.epoch), Inbox()
        self._capabilities: dict[str, Capability] | None = None
        self._active: dict[str, Command] = {}  # the worker has them
        self._batches = Batches()
        self._running: list[str] = []
        self._running_since = 0.0
        self._accept_due: dict[str, float] = {}
        self._facts: dict[str, Any] = {}
        self._last_word = LastWord(config.workdir)
        self._unheard = Unheard(self._ledger)
        self._announced = False
        self._safe = True
        self._heard = time.monotonic()
        self._lease_s = config.lease_s
        self._next_beat = self._next_look = 0.0
        self._leaving = ""
        self._garbage = 0
        self.exit_code = EXIT_OK
        self.closed = False

    def begin(self) -> None:
        """Begin to load the driver and to listen for a stop."""
        self._worker.start()
        self._ear.start()

    @property
    def over(self) -> bool:
        """True once it was released, terminated or alone for too long, and what ran has ended."""
        return bool(self._leaving and not self._active)

    @property
    def has_heard(self) -> bool:
        """True where something has been told that cannot wait."""
        return self._told

    def turn(self) -> float:
        """Do what there is to do. Returns when to come again at the latest (``time.monotonic()``)."""
        while True:
            self._drain()
            self._tick()
            if not self._work.readable:  # sending may swallow the descriptor's word that something has come
                return self._due()

    def end(self) -> None:
        """Give everything up."""
        log.info("%s is ending: %s", self._config.name, self._leaving or "an error")
        self._worker.end()
        self._worker.join(5.0)
        self._work.close()
        self.closed = self._ear.close()
        self._ledger.close()

    def terminate(self) -> None:
        """Stop the driver, write down what came of its command and end; from any thread or signal."""
        self._post("SIGTERM")

    def _load(self) -> Any:
        from instruments.registry import resolve_driver

        return resolve_driver(self._config.driver)(workdir=self._config.workdir, **self._config.settings)

    def _may_start(self, epoch: int) -> str:
        """Why a command may not start now, asked by the worker: the controller that sent it must still be there."""
        if epoch < self._ledger.epoch:
            return f"epoch {epoch} is over"
        silent = time.monotonic() - self._heard
        return f"no controller for {silent:.0f} s" if silent > self._lease_s else ""

    def _post(self, event: Any) -> None:
        """Hand something to the serving thread, from any thread or signal."""
        self._events.put(event)
        if not isinstance(event, worker.Started):  # looked at when its acceptance is due; a report makes it needless
            self._told = True
            self._bell.ring()

    def _due(self) -> float:
        return min(
            self._next_beat,
            self._next_look,
            *self._accept_due.values(),
            self._unheard.next_due if self._announced else math.inf,
            time.monotonic() + 1.0,
        )

    def _drain(self) -> None:
        self._told = False
        while not self._events.empty():
            self._happened(self._events.get())
        while (frames := self._work.receive()) is not None:
            try:
                message = decode(frames)
            except ProtocolError as error:
                self._garbage += 1
                if self._garbage <= 20 or self._garbage % 1_000 == 0:
                    log.warning("message %d that is not the protocol's was dropped: %s", self._garbage, error)
                continue
            if self._inbox.fresh(message):
                for command_id in message.acknowledges if message.epoch >= self._ledger.epoch else ():
                    self._unheard.acknowledged(command_id)
                try:
                    self._said(message)
                except sqlite3.Error:  # unanswered, it will come again
                    log.exception("the ledger cannot be read; a %s message was dropped", message.body.verb)

    # What the driver's thread, the stop's thread and the system tell

    def _happened(self, event: Any) -> None:
        match event:
            case worker.Ready(capabilities):
                self._capabilities = {capability.name: capability for capability in capabilities}
                self._unheard.look()  # inspection may have added some
                self._next_beat = 0.0
            case worker.Broken(reason):
                self._leaving, self.exit_code = f"the driver cannot be used: {reason}", EXIT_DRIVER
                self._active.clear()
                print(f"{self._config.name}: {self._leaving}", file=sys.stderr)
            case worker.Started(command_id, at_s):
                self._running.append(command_id)
                self._running_since, self._safe = at_s, False
            case worker.NotStarted(command_id, reason, retry):
                command = self._active.pop(command_id, None)
                self._accept_due.pop(command_id, None)
                if command is not None and command.batch and not retry:
                    self._batches.drop(command.batch, broken=reason)
                self._send(Refused(command_id=command_id, reason=reason, retry=retry))
            case worker.Moved(command_id, fraction, message):
                self._last_word.progress(command_id, fraction, message)
                self._send(Progress(command_id=command_id, fraction=fraction, message=message))
            case worker.Ended(report, stored):
                self._ended(report, stored)
            case worker.Facts(facts):
                if facts != self._facts:
                    self._last_word.facts(facts)
                self._facts = facts
            case Stopping(reason, driver_ms, error):
                log.warning("stopped (%s): the driver took %.1f ms. %s", reason, driver_ms, error)
                if not self._stopped:
                    self._stopped, self._next_beat = True, 0.0
                    self._break_batches("stopped before the whole batch had come")
                    self._write(lambda: self._ledger.latch(reason), "the stop's latch")
            case "SIGTERM":
                if not self._leaving:
                    self._leaving = "terminated"
                    self._worker.stop()
                    self._break_batches("the host is ending")
            case _:
                raise LabError(f"the host does not know the event {event!r}")

    def _ended(self, report: Report, stored: bool) -> None:
        if stored:
            self._active.pop(report.command_id, None)
            self._accept_due.pop(report.command_id, None)
            with contextlib.suppress(ValueError):
                self._running.remove(report.command_id)
        self._unheard.add(report, stored=stored)
        self._send_report(report.command_id, report)

    # What the controller says

    def _said(self, message: Message) -> None:
        body = message.body
        if message.epoch < self._ledger.epoch:
            known = isinstance(body, Command) and (
                body.command_id in self._active
                or body.command_id in self._batches
                or self._ledger.find(body.command_id) is not None
            )
            self._send(
                Refused(
                    # With an id, a refusal promises that the command was not executed: not so where it is known.
                    command_id=body.command_id if isinstance(body, Command) and not known else None,
                    reason=f"epoch {message.epoch} is over: a controller with epoch {self._ledger.epoch} has the lab",
                )
            )
            return
        if message.epoch > self._ledger.epoch:
            for batch in self._batches.all():  # what an earlier controller sent; the new one will send what it wants
                self._batches.drop(batch)
            if self._write(lambda: self._ledger.raise_epoch(message.epoch), "the controller's epoch"):
                self._outbox.epoch = message.epoch
            elif isinstance(body, Command):  # an epoch that is not on disk may look and ask, but not act
                if body.command_id not in self._active and self._ledger.find(body.command_id) is None:
                    reason = "the ledger cannot record the start of a new epoch; see the host's log"
                    self._send(Refused(command_id=body.command_id, reason=reason))
                return
        self._heard = time.monotonic()
        match body:
            case Heartbeat(lease_s=lease_s):
                if lease_s == 0:  # "I do not know you"
                    self._announced, self._next_beat = False, 0.0
                elif not self._announced:
                    self._announced = True
                    log.info("attached to controller session %s, epoch %d", message.session, message.epoch)
                self._lease_s = min(self._config.lease_s, lease_s) if lease_s else self._config.lease_s
            case Command():
                self._command(body, message.epoch)
            case Query(command_id=command_id):
                self._send(self._known(command_id))
            case Acknowledge(command_id=command_id):
                self._unheard.acknowledged(command_id)
            case Reset(who=who, reason=reason):
                if self._write(lambda: self._ledger.latch(None), "the stop's reset"):
                    log.warning("the stop was reset by %s: %s", who, reason)
                    self._stopped, self._next_beat = False, 0.0
                    if not self._leaving:
                        self._worker.reopen()
            case Release():
                if not self._leaving:
                    self._leaving = "released"
                    self._break_batches("the host is ending")
                self._send_health()
            case _:
                log.warning("a controller does not say %r; dropped", body.verb)

    def _command(self, command: Command, epoch: int) -> None:
        command_id = command.command_id
        entry = self._ledger.find(command_id)
        if entry is not None and entry.digest != digest(command):
            reason = f"command {command_id} is known with another content; mint a new id"
            self._send(Refused(command_id=command_id, reason=reason))
            return
        if command_id in self._active:
            if entry is not None:
                self._send(Accepted(command_id=command_id))
            return
        if entry is not None and entry.state == "done":
            self._send_report(command_id)
            return
        if entry is not None and entry.state == "started":
            self._send(self._known(command_id))
            return
        refusal = self._refusal(command)
        if refusal is not None:
            self._send(refusal)
            if command.batch and not refusal.retry:
                self._break(command.batch, f"{command_id} of the same batch was refused: {refusal.reason}")
            return
        act = [command]
        if len(command.batch) > 1:
            act = self._batches.add(command, time.monotonic())
            if not act:
                return
            if fault := fault_of_batch(act, self._programme(command)):
                self._break(command.batch, fault)
                return
        if self._active and not self._write(lambda: self._ledger.receive_all(act, epoch), f"command {command_id}"):
            return  # it waits behind another: it will come again
        self._batches.drop(command.batch)
        waits = bool(self._active)
        self._active |= {member.command_id: member for member in act}
        self._worker.submit(act, epoch)
        for member in act:
            if waits:
                self._send(Accepted(command_id=member.command_id))
            else:
                self._accept_due[member.command_id] = time.monotonic() + ACCEPT_S

    def _programme(self, command: Command) -> tuple[str, ...]:
        return (self._capabilities or {})[command.capability].programme

    def _break(self, batch: tuple[str, ...], reason: str) -> None:
        for command_id in self._batches.drop(batch, broken=reason):
            self._send(Refused(command_id=command_id, reason=reason))

    def _break_batches(self, reason: str) -> None:
        for batch in self._batches.all():
            self._break(batch, reason)

    def _acts(self) -> int:
        """How many acts are taken: those that the worker has and those that wait for members."""
        return len({command.batch or (name,) for name, command in self._active.items()}) + len(self._batches)

    def _refusal(self, command: Command) -> Refused | None:
        """Why a new command cannot be taken, or None."""
        command_id = command.command_id
        if reason := self._batches.broken(command):
            return Refused(command_id=command_id, reason=reason)
        if self._stopped:
            return Refused(command_id=command_id, reason="stopped: an emergency stop is latched; reset it first")
        if self._leaving:
            return Refused(command_id=command_id, reason=f"the host is ending ({self._leaving})")
        if self._capabilities is None:
            return Refused(command_id=command_id, reason="the driver is still being loaded", retry=True)
        capability = self._capabilities.get(command.capability)
        if capability is None:
            can = ", ".join(sorted(self._capabilities))[:5_000] or "nothing"
            return Refused(command_id=command_id, reason=f"cannot {command.capability}; this instrument can: {can}")
        if found := violations(capability, command.parameters):
            return Refused(command_id=command_id, reason="outside the limits: " + "; ".join(found)[:5_000])
        if found := self._config.envelope.breaches(command.capability, command.parameters):
            return Refused(command_id=command_id, reason="outside the lab's envelope: " + "; ".join(found)[:5_000])
        if command.batch and (fault := fault_of_member(command, capability)):
            return Refused(command_id=command_id, reason=fault)
        if self._acts() >= QUEUE_LENGTH and not self._batches.waits(command):
            taken = ", ".join([*self._active, *self._batches])[:5_000]
            return Refused(command_id=command_id, reason=f"busy with {taken}", retry=True)
        return None

    def _known(self, command_id: str) -> Known:
        entry, active = self._ledger.find(command_id), command_id in self._active or command_id in self._batches
        if entry is None:
            return Known(command_id=command_id, state="absent", active=active)
        report = self._ledger.report(command_id) if entry.state == "done" else None
        evidence = entry.evidence
        if command_id in self._running:
            evidence = f"running for {time.monotonic() - self._running_since:.1f} s"
        return Known(command_id=command_id, state=entry.state, active=active, evidence=evidence, report=report)

    # What time tells

    def _tick(self) -> None:
        now = time.monotonic()
        silent = now - self._heard
        if now >= self._next_look:
            self._next_look = now + min(LOOK_S, self._config.heartbeat_s)
            self._follow_controller()
        if now >= self._next_beat:
            self._next_beat = now + self._config.heartbeat_s
            if silent > 3 * self._config.heartbeat_s:
                self._announced = False
            self._write(self._ledger.flush, "acknowledgements")
            if self._announced:
                self._send_health()
            elif self._capabilities is not None:
                self._announce()
        for command_id in self._unheard.due(now) if self._announced else ():
            self._send_report(command_id)
        for command_id, due in list(self._accept_due.items()):
            if now >= due and command_id in self._running:
                del self._accept_due[command_id]
                self._send(Accepted(command_id=command_id))
            elif now >= due:
                self._accept_due[command_id] = now + ACCEPT_S
        for batch in self._batches.overdue(now, self._lease_s):
            self._break(batch, f"the rest of its batch did not come in {self._lease_s:.0f} s")
        if silent > self._lease_s and not self._safe and not self._active:
            log.warning("no controller for %.0f s: going to the safe state", silent)
            self._safe = True
            self._worker.make_safe()
        linger_s = self._config.linger_s
        if linger_s is not None and silent > max(linger_s, self._lease_s) and not self._active and not self._leaving:
            self._leaving = f"no controller for {silent:.0f} s"

    def _follow_controller(self) -> None:
        if endpoints := self._config.find():
            if self._work.follow(endpoints["work"], self._heard):
                self._announced, self._next_beat = False, 0.0
            self._ear.follow(endpoints["stop"])

    def _announce(self) -> None:
        sent = self._send(
            Announce(
                instrument=self._config.name,
                host=sockets.gethostname(),
                driver=self._config.driver,
                capabilities=tuple(CapabilityInfo.of(x) for x in (self._capabilities or {}).values()),
                stopped=self._stopped,
            )
        )
        if not sent:  # the connection is still being made
            self._next_beat = min(self._next_beat, time.monotonic() + CONNECTING_S)

    def _send_health(self) -> None:
        busy_s = time.monotonic() - self._running_since if self._running else 0.0
        self._send(
            Health(busy=next(iter(self._running), None), busy_s=busy_s, stopped=self._stopped, facts=self._facts)
        )

    def _send_report(self, command_id: str, report: Report | None = None) -> None:
        if report := report or self._unheard.find(command_id):
            self._send(report)
        self._unheard.sent(command_id, time.monotonic())

    def _send(self, body: Any) -> bool:
        return self._work.send(self._outbox.wrap(body))  # what is lost is sent again or asked for again

    def _write(self, act: Any, what: str) -> bool:
        try:
            act()
        except (sqlite3.Error, OSError) as error:
            log.error("the ledger cannot record %s: %s", what, error)
            return False
        return True
