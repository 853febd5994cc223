"""The controller's end of the laboratory network: commands out, reports in, each command executed at most once.

Nothing here trusts a message to arrive. A command is sent again by its id until its host has it, a host that comes back
is asked what it knows, and a report is taken once however often it comes. What is written down, and when, is the
loop's affair: order a command in the journal before ``execute``, its report before ``acknowledge``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

from controller.callers import Callers
from controller.lines import Flight, InstrumentInfo, Line, OnProgress
from controller.stopper import OnStop, Stopper
from instruments import messages
from instruments.errors import Fenced, InstrumentLost, LabError, OutcomeUnknown, ProtocolError, Refused
from instruments.host_config import HEARTBEAT_S
from instruments.messages import Command, Inbox, Message, Outbox, Report, decode
from instruments.transport import Channel, Peer, Server, write_endpoints

log = logging.getLogger("athanor.dispatcher")

SILENT_BEATS = 3.5
"""A host that has been silent for so many heartbeats is not connected."""
POLL_S = 5.0
"""An accepted command is asked about this often, in case its host was replaced unnoticed."""
GARBAGE_LIMIT = 5
"""After so many unreadable messages in a row from a host, its commands' outcomes are unknown."""
REMEMBERED = 10_000
REPEAT_S = 5.0

OnEvent = Callable[[str, str, str], None]


class Dispatcher:
    """Sends commands to instrument hosts and brings their reports back.

    Args:
        keys: folder made by ``instruments.keys.create_lab_keys``.
        epoch: of the lease that this controller holds; hosts refuse a lower one than they have seen.
        endpoint_file: written by ``start``, read by local hosts, also after a restart.
        address: where to listen; loopback, on a port of the system's choice, unless told otherwise.
        heartbeat_s: between signs of life to the hosts; give the hosts the same.
        lease_s: how long a host may go on after the last of them.
        loss_timeout_s: how long ``execute`` waits for a host that is silent.
        resend_s: how long to wait for an answer before a command is sent again.
        on_event: called with (kind, instrument or ``""``, detail). Kinds: ``connected``, ``lost``, ``restarted``,
            ``unexpected`` (report for an unknown command, kept), ``garbage``, ``refused`` (a door that stayed shut),
            ``fenced`` (a controller with a higher epoch has the lab), ``stopped``, ``reset``, ``error``.
        on_stop: called with (by, reason, None) as soon as an emergency stop has been sent, and again with the table of
            who has acknowledged it. The caller makes it durable.
        about: who has the lab, for people who look.
    """

    def __init__(
        self,
        *,
        keys: Path,
        epoch: int,
        endpoint_file: Path,
        address: str = "tcp://127.0.0.1:*",
        heartbeat_s: float = HEARTBEAT_S,
        lease_s: float = 30.0,
        loss_timeout_s: float = 120.0,
        resend_s: float = 1.0,
        on_event: OnEvent | None = None,
        on_stop: OnStop | None = None,
        about: Mapping[str, Any] | None = None,
    ):
        self.instruments: dict[str, InstrumentInfo] = {}
        self.epoch, self._endpoint_file = epoch, endpoint_file
        self._heartbeat_s, self._lease_s = heartbeat_s, lease_s
        self._loss_timeout_s, self._resend_s = loss_timeout_s, resend_s
        self._on_event = on_event
        self._keys, self._address = keys, address
        self._server: Server | None = None
        session = uuid.uuid4().hex
        self._outboxes: dict[Channel, Outbox] = {"work": Outbox(session, epoch), "stop": Outbox(session, epoch)}
        self._lines: dict[str, Line] = {}
        self._flights: dict[str, Flight] = {}
        self._reports: dict[str, Report] = {}  # received, not acknowledged
        self._acknowledged: dict[str, None] = {}  # remembered in order, to answer late repetitions
        self._about, self._fenced_by = dict(about or {}), 0
        self._changed = asyncio.Event()
        send = (self._send, self._spread)
        self._stopper = Stopper(self.instruments, self._lines, self._changed, *send, self._tell, on_stop)
        self._callers = Callers(stop=self._stopper.stop_for, picture=self.picture, answer=self._answer, tell=self._tell)
        self._last_said: tuple[tuple[str, ...], float] = ((), 0.0)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the sockets, write the endpoint file, begin to beat. Raises LabError (keys, address)."""
        self._server = Server(
            keys=self._keys, address=self._address, on_refused=lambda detail: self._tell("refused", "", detail)
        )
        endpoints = self._server.open()
        write_endpoints(self._endpoint_file, endpoints)
        jobs: list[Coroutine[Any, Any, None]] = [self._read("work"), self._read("stop"), self._beat(), self._chase()]
        jobs += [self._server.refusals("work"), self._server.refusals("stop")]
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def close(self, *, release: bool, spare: Collection[str] = ()) -> None:
        """End. With ``release`` the hosts, but for those to ``spare``, are told to finish what they run and exit;
        otherwise they wait for the next controller."""
        await self._callers.close()
        await self._acknowledge_all()
        if release and self._server is not None:
            deadline = time.monotonic() + 2.0
            while time.monotonic() < deadline:
                sent = [await self._send(name, messages.Release()) for name in list(self._lines) if name not in spare]
                if not any(sent):
                    break
                await asyncio.sleep(0.1)
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("a task of the dispatcher had failed", exc_info=result)
        self._tasks = []
        for flight in self._flights.values():
            flight.cancel()
        if self._server is not None:
            self._server.close()
            self._server = None

    async def wait_for(self, names: Iterable[str], timeout_s: float) -> None:
        """Wait until all these instruments are connected. Raises LabError that names the missing ones."""
        deadline = time.monotonic() + timeout_s
        while missing := sorted(n for n in names if n not in self.instruments or not self.instruments[n].connected):
            self._changed.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabError(
                    f"no word from {', '.join(missing)} in {timeout_s:g} s; see the hosts' logs (hosts/NAME.log in the "
                    "lab's directory), and whether each host's key is in the lab's registry"
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    async def returned(self, instrument: str) -> None:
        """Return once the host of an instrument is connected."""
        while instrument not in self.instruments or not self.instruments[instrument].connected:
            self._changed.clear()
            await self._changed.wait()

    async def execute(self, instrument: str, command: Command, on_progress: OnProgress | None = None) -> Report:
        """Have a command executed at most once, and return its report.

        The same ``command_id`` may be given again at any time, also by a restarted controller: the host answers from
        its ledger. Cancelling stops the waiting, not the instrument.

        Raises:
            Refused: the host did not and will not execute this command.
            OutcomeUnknown: it was started, and nobody can tell what came of it.
            InstrumentLost: the host has been silent for ``loss_timeout_s``; call again when it is back.
        """
        flight = self._flights.get(command.command_id)
        if flight is None:
            flight = Flight(instrument, command, on_progress)
            self._flights[command.command_id] = flight
        flight.waiters += 1
        try:
            if (kept := self._reports.get(command.command_id)) is not None:
                return kept
            await self._pursue(flight)
            return await flight.wait()
        finally:
            flight.waiters -= 1
            if not flight.waiters and self._flights.get(command.command_id) is flight:
                del self._flights[command.command_id]

    async def _pursue(self, flight: Flight) -> None:
        """Send the command, or ask what became of it; ``_chase`` does so again while there is no answer."""
        flight.due = time.monotonic() + (min(POLL_S, self._loss_timeout_s) if flight.accepted else self._resend_s)
        info = self.instruments.get(flight.instrument)
        if info is not None and info.connected:
            if flight.accepted or self.stopping:
                await self._send(flight.instrument, messages.Query(command_id=flight.command.command_id))
            else:
                await self._send(flight.instrument, flight.command)

    async def _chase(self) -> None:
        """Every command that is under way: sent again, asked about again, or given up when its host is silent."""
        while True:
            await asyncio.sleep(min(0.1, self._resend_s / 4))
            await self._acknowledge_all()
            now = time.monotonic()
            for flight in [f for f in self._flights.values() if f.due <= now and f.outcome is None]:
                info = self.instruments.get(flight.instrument)
                silent = now - max(flight.begun, info.last_seen if info else 0.0)
                if silent <= self._loss_timeout_s:
                    await self._pursue(flight)
                    continue
                flight.end(
                    InstrumentLost(
                        f"{flight.instrument} has been silent for {silent:.0f} s with command "
                        f"{flight.command.command_id} "
                        f"{'accepted' if flight.accepted else 'not known to have arrived'}{flight.progress}; "
                        "repair or restart its host, then resume"
                    )
                )

    async def acknowledge(self, instrument: str, command_id: str) -> None:
        """The report is in the journal: the host may forget it. Losing this is harmless, the host asks again.

        It rides on the next message to this host, which is its next command or comes a tenth of a second later.
        """
        self._reports.pop(command_id, None)
        self._acknowledged[command_id] = None
        if len(self._acknowledged) > REMEMBERED:
            del self._acknowledged[next(iter(self._acknowledged))]
        self._lines.setdefault(instrument, Line()).acknowledges.append(command_id)

    async def _acknowledge_all(self) -> None:
        for name, line in list(self._lines.items()):
            if line.acknowledges:
                await self._send(name, messages.Acknowledge(command_id=line.acknowledges.pop()))

    async def release(self, instrument: str) -> None:
        """Tell one host to finish what it runs, keep the report and end. It may be lost."""
        await self._send(instrument, messages.Release())

    @property
    def stopping(self) -> bool:
        """True from an emergency stop until a reset."""
        return self._stopper.stopping

    async def stop_all(
        self, reason: str = "emergency stop", timeout_s: float = 5.0, *, by: str = "controller"
    ) -> dict[str, float]:
        """Stop every instrument now, ahead of all queues; see ``Stopper.stop_all``."""
        return await self._stopper.stop_all(reason, timeout_s, by=by)

    async def reset(self, instrument: str, *, who: str, reason: str, timeout_s: float = 5.0) -> None:
        """Let a stopped instrument work again, in the name of a person. Raises LabError where it does not answer."""
        await self._stopper.reset(instrument, who=who, reason=reason, timeout_s=timeout_s)

    async def _send(self, name: str, body: Any, channel: Channel = "work") -> bool:
        line = self._lines.get(name)
        route = (line.route if channel == "work" else line.stop_route) if line else b""
        if line is None or not route or self._server is None:
            return False
        riding: tuple[str, ...] = ()
        if channel == "work" and line.acknowledges:
            riding = tuple(line.acknowledges[: messages.MAX_ACKNOWLEDGES])
            del line.acknowledges[: len(riding)]
        return await self._server.send(channel, route, self._outboxes[channel].wrap(body, riding))

    async def _spread(self, routes: Iterable[bytes], body: Any, channel: Channel) -> None:
        frames = self._outboxes[channel].wrap(body)  # one message for all: an emergency stop must not be slow to leave
        for route in routes:
            if self._server is not None:
                await self._server.send(channel, route, frames)

    async def _beat(self) -> None:
        last = time.monotonic()
        while True:
            # Whom we do not hear we tell nothing: it will notice, and connect anew.
            heard = [self._lines[name].route for name, info in self.instruments.items() if info.connected]
            await self._spread(heard, messages.Heartbeat(lease_s=self._lease_s), "work")
            now = time.monotonic()
            late, last = now - last > 2 * self._heartbeat_s, now  # then it was our own loop that was busy
            for info in self.instruments.values():
                if info.connected and not late and now - info.last_seen > SILENT_BEATS * self._heartbeat_s:
                    info.connected = False
                    self._tell("lost", info.name, f"silent for {now - info.last_seen:.1f} s")
            await asyncio.sleep(self._heartbeat_s)

    async def _read(self, channel: Channel) -> None:
        while True:
            if self._server is None:
                return
            received = await self._server.receive(channel)
            if received is None:
                continue
            peer, frames = received
            try:
                message = decode(frames)
                if channel == "work":
                    await self._work_message(peer, message)
                else:
                    await self._stop_message(peer, message.body)
            except ProtocolError as error:
                self._garbage(peer.name, str(error))
            except Exception as error:  # one odd message must not silence the lab
                log.exception("a message from %s", peer.name)
                self._tell("error", peer.name, f"{type(error).__name__}: {error}")

    def _garbage(self, name: str, detail: str) -> None:
        line = self._lines.setdefault(name, Line())
        line.garbage += 1
        self._tell("garbage", name, detail)
        if line.garbage >= GARBAGE_LIMIT:
            line.garbage = 0
            info = self.instruments.get(name)
            if info is not None and info.busy in self._flights:
                self._unknown(info.busy, f"{name} answers unreadably: {detail}")

    async def _work_message(self, peer: Peer, message: Message) -> None:
        line = self._lines.setdefault(peer.name, Line())
        body = message.body
        if isinstance(body, messages.Announce):
            await self._announced(peer, line, message, body)
            return
        if self._server is not None and message.session != line.session:
            beat = self._outboxes["work"].wrap(messages.Heartbeat())  # "I do not know you": it will announce itself
            await self._server.send("work", peer.route, beat)
            return
        if not line.inbox.fresh(message):
            return
        line.garbage, line.route = 0, peer.route
        info = self.instruments[peer.name]
        self._seen(info)
        if message.epoch > self.epoch:
            self._fenced(info, message.epoch)
        match body:
            case messages.Health():
                info.busy, info.health = body.busy, body.facts
                if info.stopped != body.stopped:
                    info.stopped = body.stopped
                    self._changed.set()
            case messages.Accepted(command_id=command_id):
                info.busy = command_id
                if flight := self._flights.get(command_id):
                    flight.accepted = True
            case messages.Progress(command_id=command_id):
                if flight := self._flights.get(command_id):
                    flight.accepted = True
                    flight.progress = f", last at {body.fraction:.0%} {body.message}".rstrip()
                    flight.progress_at = time.monotonic()
                    if flight.on_progress is not None:
                        flight.on_progress(body.fraction, body.message)
            case Report():
                await self._reported(info, body)
            case messages.Known():
                await self._known(info, body)
            case messages.Refused():
                self._refused(info, body)
            case _:
                self._garbage(peer.name, f"a host does not say {body.verb!r}")

    async def _announced(self, peer: Peer, line: Line, message: Message, body: messages.Announce) -> None:
        if body.instrument != peer.name:
            self._tell("refused", peer.name, f"the host with the key of {peer.name!r} says it is {body.instrument!r}")
            return
        if message.session == line.session and not line.inbox.fresh(message):
            return
        new = message.session != line.session
        if new:
            line.inbox = Inbox()
            line.inbox.fresh(message)
        again = new and bool(line.session)
        line.session, line.route, line.garbage = message.session, peer.route, 0
        info = self.instruments.setdefault(peer.name, InstrumentInfo(peer.name))
        info.host, info.driver, info.stopped = body.host, body.driver, body.stopped
        info.capabilities = {capability.name: capability.capability() for capability in body.capabilities}
        if again:
            info.busy = None
            self._tell("restarted", info.name, f"a new host process on {body.host}")
        self._seen(info)
        if message.epoch > self.epoch:
            self._fenced(info, message.epoch)
        await self._send(peer.name, messages.Heartbeat(lease_s=self._lease_s))
        for command_id in self._flights_of(info.name):
            await self._send(peer.name, messages.Query(command_id=command_id))

    def _flights_of(self, name: str) -> list[str]:
        return [command_id for command_id, flight in self._flights.items() if flight.instrument == name]

    def _seen(self, info: InstrumentInfo) -> None:
        info.last_seen = time.monotonic()
        if not info.connected:
            info.connected = True
            self._tell("connected", info.name, f"{info.driver} on {info.host}, can {', '.join(info.capabilities)}")
            self._changed.set()

    async def _reported(self, info: InstrumentInfo, report: Report) -> None:
        command_id = report.command_id
        if info.busy == command_id:
            info.busy = None
        flight = self._flights.get(command_id)
        if command_id in self._acknowledged and flight is None:
            await self._send(info.name, messages.Acknowledge(command_id=command_id))
            return
        if command_id in self._reports:
            return
        self._reports[command_id] = report
        if len(self._reports) > REMEMBERED:  # the host keeps what is dropped here
            del self._reports[next(iter(self._reports))]
        if flight is None:
            self._tell("unexpected", info.name, f"a report ({report.status}) for command {command_id}, which is kept")
        else:
            flight.end(report)

    async def _known(self, info: InstrumentInfo, known: messages.Known) -> None:
        flight = self._flights.get(known.command_id)
        if known.report is not None:
            await self._reported(info, known.report)
        elif flight is None:
            return
        elif known.active:
            flight.accepted = known.state != "absent"
        elif known.state == "started":
            self._unknown(known.command_id, known.evidence)
        elif self.stopping:
            reason = f"{info.name} has not begun {known.command_id}: an emergency stop is latched; reset it first"
            flight.end(Refused(reason))
        else:  # absent or received, and nobody works on it: it was never started
            flight.accepted = False
            await self._send(info.name, flight.command)

    def _refused(self, info: InstrumentInfo, refused: messages.Refused) -> None:
        flight = self._flights.get(refused.command_id or "")
        if flight is None:
            self._tell("refused", info.name, refused.reason)
        elif refused.retry:
            flight.accepted = False
        else:
            flight.end(Refused(f"{info.name} refused command {refused.command_id}: {refused.reason}"))

    def _fenced(self, info: InstrumentInfo, epoch: int) -> None:
        """Nothing is unknown by that: what the host has accepted stands in its ledger for whoever asks."""
        detail = f"a controller with epoch {epoch} has the lab: epoch {self.epoch} is over"
        if epoch > self._fenced_by:
            self._fenced_by = epoch
            self._tell("fenced", info.name, detail)
        for command_id in self._flights_of(info.name):
            self._flights[command_id].end(Fenced(f"{info.name} refuses command {command_id}: {detail}"))

    def _unknown(self, command_id: str, evidence: str) -> None:
        flight = self._flights[command_id]
        if flight.outcome is None:
            info = self.instruments.get(flight.instrument)
            ago = f", {time.monotonic() - flight.progress_at:.0f} s before" if flight.progress else ""
            facts = info.health if info else {}
            flight.end(OutcomeUnknown(command_id, f"{evidence}{flight.progress}{ago}", facts))

    async def _stop_message(self, peer: Peer, body: Any) -> None:
        if peer.role != "host":
            await self._callers.hear(peer, body)
            return
        self._lines.setdefault(peer.name, Line()).stop_route = peer.route
        if isinstance(body, messages.Heartbeat):  # the host must know that a stop would reach it
            await self._send(peer.name, messages.Heartbeat(lease_s=self._lease_s), "stop")
        await self._stopper.heard(peer.name, body)

    async def _answer(self, peer: Peer, body: Any) -> None:
        if self._server is not None:
            await self._server.send("stop", peer.route, self._outboxes["stop"].wrap(body))

    def picture(self) -> dict[str, Any]:
        """Who has the lab, and every instrument as far as is known, as JSON-like data."""
        seen = {name: info.picture() for name, info in sorted(self.instruments.items())}
        return {"controller": {**self._about, "epoch": self.epoch}, "stopping": self.stopping, "instruments": seen}

    def _tell(self, kind: str, instrument: str, detail: str) -> None:
        if kind in ("refused", "garbage"):  # a stranger who keeps knocking must not fill the log
            said, now = (kind, instrument, detail), time.monotonic()
            if said == self._last_said[0] and now - self._last_said[1] < REPEAT_S:
                return
            self._last_said = (said, now)
        log.info("%s %s: %s", kind, instrument, detail)
        if self._on_event is not None:
            try:
                self._on_event(kind, instrument, detail)
            except Exception:
                log.exception("on_event failed")
