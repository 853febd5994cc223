"""The wire: one versioned envelope, one body a verb, arrays as raw frames behind the JSON frame.

``encode`` and ``decode`` are the only way in and out. Everything is strict: an unknown field, a wrong type, a bare
NaN, an array that is not what its header says is a ``ProtocolError``, and the message is dropped. The protocol in
words, with its JSON Schema, is ``docs/protocol.md``.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError

from instruments.arrays import MAX_ARRAYS, ArrayHeader, check_frames, to_array
from instruments.driver import Capability, Limit
from instruments.errors import ProtocolError
from instruments.fields import Duration, Facts, Name, Number, Strict, Text

if TYPE_CHECKING:
    import numpy as np

PROTOCOL = 1
MAX_JSON_BYTES = 1 << 20
MAX_ACKNOWLEDGES = 256
"""Longest JSON frame; a longer one is refused unread."""
MAX_BATCH = 256
"""Most samples in one act."""


class Bounds(Strict):
    """``Limit`` on the wire."""

    low: Number
    high: Number


class CapabilityInfo(Strict):
    """``Capability`` on the wire."""

    name: Name
    limits: dict[str, Bounds] = Field(default_factory=dict)
    quantities: dict[str, Bounds] = Field(default_factory=dict)
    idempotent: bool = False
    batch: int = Field(default=1, ge=1, le=MAX_BATCH)
    programme: tuple[Name, ...] = Field(default=(), max_length=MAX_BATCH)

    @classmethod
    def of(cls, capability: Capability) -> CapabilityInfo:
        """Return the wire form of a driver's capability."""

        def bounds(limits: dict[str, Limit]) -> dict[str, Bounds]:
            return {name: Bounds(low=float(x.low), high=float(x.high)) for name, x in limits.items()}

        return cls(
            name=capability.name,
            limits=bounds(capability.limits),
            quantities=bounds(capability.quantities),
            idempotent=capability.idempotent,
            batch=capability.batch,
            programme=capability.programme,
        )

    def capability(self) -> Capability:
        """Return the plain ``Capability``."""

        def limits(bounds: dict[str, Bounds]) -> dict[str, Limit]:
            return {name: Limit(x.low, x.high) for name, x in bounds.items()}

        return Capability(
            self.name, limits(self.limits), limits(self.quantities), self.idempotent, self.batch, self.programme
        )


class Announce(Strict):
    """Host: this instrument is here. Repeated until a heartbeat of the controller's session answers.

    Attributes:
        instrument: must be the name that the host's CURVE key is registered under.
        host: the machine's name, for people.
        driver: what drives it, for people.
        capabilities: what it can do, with limits.
        stopped: True while an emergency stop is latched (see ``Reset``).
    """

    verb: Literal["announce"] = "announce"
    instrument: Name
    host: Text = ""
    driver: Text = ""
    capabilities: tuple[CapabilityInfo, ...] = Field(default=(), max_length=256)
    stopped: bool = False


class Command(Strict):
    """Controller: do this, once. Sent again with the same id, it is answered from the ledger and never run again.

    Attributes:
        command_id: from ``command_id(...)``; unique for ever.
        experiment: id of the experiment.
        step: index of the step in its recipe.
        attempt: 0, 1, ...; only a new attempt makes a new command.
        capability: which of the instrument's capabilities.
        sample: id of the sample.
        parameters: JSON (lists, not tuples; finite numbers), unit in the key.
        seed: what a simulated instrument draws its noise from.
        batch: ids of all commands that are done in one act, this one among them, in the same order in every member;
            empty: alone. The host waits until it has them all.
    """

    verb: Literal["command"] = "command"
    command_id: Name
    experiment: Name
    step: int = Field(ge=0, lt=1 << 31)
    attempt: int = Field(default=0, ge=0, lt=1 << 31)
    capability: Name
    sample: Name
    parameters: Facts = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    batch: tuple[Name, ...] = Field(default=(), max_length=MAX_BATCH)


class Accepted(Strict):
    """Host: the command is durable in the ledger; its report will come."""

    verb: Literal["accepted"] = "accepted"
    command_id: Name


class Refused(Strict):
    """Host: no, and nothing physical happened. ``retry`` where only the moment was wrong (queue full)."""

    verb: Literal["refused"] = "refused"
    command_id: Name | None = None
    reason: Text
    retry: bool = False


class Progress(Strict):
    """Host: how far the running command is. May be lost without harm."""

    verb: Literal["progress"] = "progress"
    command_id: Name
    fraction: float = Field(ge=0, le=1, allow_inf_nan=False)
    message: Text = ""


class Report(Strict):
    """Host: what came of a command. Sent again until acknowledged.

    Attributes:
        command_id: which command.
        status: ``ok``; ``failed`` (chemistry or measurement failed, the instrument is fine); ``fault`` (the instrument
            is broken); ``untouched`` (nothing physical happened: a new attempt is safe).
        readings: quantity name -> number; NaN and infinities arrive as they are, for the result gate to see.
        arrays: headers of the raw frames, in their order; ``array(name)`` gives the numbers.
        duration_s: how long the physical action took.
        message: what a person should know.
        stopped: True where the driver was told to stop while the command ran: ``failed`` then says nothing about
            the chemistry.
        source: ``driver``, or ``inspection`` where the host crashed and a sensor proved the outcome afterwards.
    """

    verb: Literal["report"] = "report"
    command_id: Name
    status: Literal["ok", "failed", "fault", "untouched"]
    readings: dict[str, Number] = Field(default_factory=dict)
    arrays: tuple[ArrayHeader, ...] = Field(default=(), max_length=MAX_ARRAYS)
    duration_s: Duration = 0.0
    message: Text = ""
    stopped: bool = False
    source: Literal["driver", "inspection"] = "driver"

    _frames: tuple[bytes, ...] = PrivateAttr(default=())

    @property
    def frames(self) -> tuple[bytes, ...]:
        """Raw bytes of ``arrays``, little-endian and C order; not part of the JSON."""
        return self._frames

    def with_frames(self, frames: Sequence[bytes]) -> Report:
        """Return this report with its raw frames. Raises ProtocolError where they are not what the headers say."""
        check_frames(self.arrays, frames)
        copy = self.model_copy()
        copy._frames = tuple(frames)
        return copy

    def array(self, name: str) -> np.ndarray:
        """Return one array (numpy, read-only). Raises KeyError."""
        for header, frame in zip(self.arrays, self._frames, strict=True):
            if header.name == name:
                return to_array(header, frame)
        raise KeyError(name)


class Acknowledge(Strict):
    """Controller: the report is in the journal. Only now may the host forget it."""

    verb: Literal["acknowledge"] = "acknowledge"
    command_id: Name


class Query(Strict):
    """Controller: what do you know of this command? Never starts anything."""

    verb: Literal["query"] = "query"
    command_id: Name


class Known(Strict):
    """Host: what the ledger says.

    ``state`` is ``absent``, ``received``, ``started`` or ``done`` (with the report). ``active`` is True while the host
    works on it or has it queued. ``started`` and not active means outcome unknown; ``evidence`` says what is known.
    """

    verb: Literal["known"] = "known"
    command_id: Name
    state: Literal["absent", "received", "started", "done"]
    active: bool = False
    evidence: Text = ""
    report: Report | None = None


class Stop(Strict):
    """Controller, on the stop channel, whatever its epoch: go to the safe state now, refuse commands until reset."""

    verb: Literal["stop"] = "stop"
    stop_id: Name
    reason: Text = ""


class Stopped(Strict):
    """Host: the driver's ``stop`` has returned, after ``driver_ms``; ``error`` where it raised."""

    verb: Literal["stopped"] = "stopped"
    stop_id: Name
    driver_ms: Duration = 0.0
    error: Text = ""


class Reset(Strict):
    """Controller: the stop is over, says this person, for this reason."""

    verb: Literal["reset"] = "reset"
    who: Annotated[str, Field(min_length=1, max_length=200)]
    reason: Annotated[str, Field(min_length=1, max_length=10_000)]


class Release(Strict):
    """Controller: finish what is running, keep its report, go to the safe state and exit."""

    verb: Literal["release"] = "release"


class Heartbeat(Strict):
    """Controller: I hold the lab for at least ``lease_s`` more. From a host, on the stop channel: I listen here."""

    verb: Literal["heartbeat"] = "heartbeat"
    lease_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class Health(Strict):
    """Host: alive, and how.

    Attributes:
        busy: command that is running, if any; of a batch the first.
        busy_s: how long it has been running.
        stopped: True while an emergency stop is latched.
        facts: the driver's own facts, from the last time that it was idle.
    """

    verb: Literal["health"] = "health"
    busy: Name | None = None
    busy_s: Duration = 0.0
    stopped: bool = False
    facts: Facts = Field(default_factory=dict)


class Look(Strict):
    """A person, on the stop channel: what does the lab look like now? Operators and observers may ask."""

    verb: Literal["look"] = "look"
    look_id: Name


class Picture(Strict):
    """Controller: who has the lab, and each instrument as far as it is known. See ``athanor lab status``."""

    verb: Literal["picture"] = "picture"
    look_id: Name
    lab: Facts = Field(default_factory=dict)


Body = Annotated[
    Announce
    | Command
    | Accepted
    | Refused
    | Progress
    | Report
    | Acknowledge
    | Query
    | Known
    | Stop
    | Stopped
    | Reset
    | Release
    | Heartbeat
    | Health
    | Look
    | Picture,
    Field(discriminator="verb"),
]


class Message(Strict):
    """The envelope.

    Attributes:
        protocol: version of this protocol.
        id: unique for every message; a repeated message has a new one.
        session: the sending process; a new one says that the sender was restarted.
        epoch: of the controller's lease; a host repeats the highest one that it has seen.
        sequence: counts up within a session and a channel; what does not count up is dropped as a replay.
        sent: sender's wall clock, an annotation that decides nothing.
        acknowledges: command ids of reports that are in the controller's journal, as an ``Acknowledge`` each would say;
            they may ride on any message of the controller.
        body: what it says.
    """

    protocol: Literal[1] = 1
    id: Name
    session: Name
    epoch: int = Field(ge=0, lt=1 << 63)
    sequence: int = Field(ge=0, lt=1 << 63)
    sent: Annotated[str, Field(max_length=40)] = ""
    acknowledges: Annotated[tuple[Name, ...], Field(max_length=MAX_ACKNOWLEDGES)] = ()
    body: Body


class Outbox:
    """Writes envelopes for one sender on one channel: ids and sequence numbers."""

    def __init__(self, session: str, epoch: int = 0):
        self.session, self.epoch, self._sequence = session, epoch, 0
        self._quoted, self._unique = json.dumps(session), uuid.uuid4().hex[:16]
        self._second, self._sent = 0, ""

    def wrap(self, body: Any, acknowledges: tuple[str, ...] = ()) -> list[bytes]:
        """Return the frames of the next message that says ``body``. Raises ProtocolError where it is too large."""
        self._sequence += 1
        report = _report_in(body)
        # Our own values, checked where they came from and again by whoever reads them: no Message need be made.
        head = (
            f'{{"protocol":{PROTOCOL},"id":"{self._unique}-{self._sequence}","session":{self._quoted},'
            f'"epoch":{self.epoch},"sequence":{self._sequence},"sent":"{self._now()}",'
            f'"acknowledges":{json.dumps(acknowledges) if acknowledges else "[]"},"body":'
        )
        frames = report.frames if report and report.arrays else ()
        return _bounded(b"%b%b}" % (head.encode(), as_json(body)), body.verb, report, frames)

    def _now(self) -> str:
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._sent = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._sent}.{rest // 1_000_000:03d}+00:00"


class Inbox:
    """Tells fresh messages of one peer on one channel from repeated ones."""

    def __init__(self) -> None:
        self._session, self._last = "", -1

    def fresh(self, message: Message) -> bool:
        """True once for each message, in order; a new session starts anew."""
        if message.session != self._session:
            self._session, self._last = message.session, -1
        if message.sequence <= self._last:
            return False
        self._last = message.sequence
        return True


def as_json(body: Strict) -> bytes:
    """Return what ``model_dump_json`` does, as bytes, at half its cost."""
    return body.__pydantic_serializer__.to_json(body)


def command_id(campaign: str, experiment: str, step: int, attempt: int = 0) -> str:
    """Return the id of a command: readable, and the same whenever the same attempt is meant.

    ``campaign`` must be unique for ever (a run's id), because an instrument remembers commands of all campaigns.
    """
    return f"{campaign}/{experiment}/{step}/{attempt}"


def encode(message: Message, frames: Sequence[bytes] | None = None) -> list[bytes]:
    """Return the frames of a message: JSON, then the raw arrays of its report, if any.

    ``frames`` overrides the arrays that the report carries. Raises ProtocolError where a bound is exceeded.
    """
    report = _report_in(message.body)
    if frames is None:
        frames = report.frames if report else ()
    return _bounded(message.model_dump_json().encode(), message.body.verb, report, frames)


def _bounded(head: bytes, verb: str, report: Report | None, frames: Sequence[bytes]) -> list[bytes]:
    if len(head) > MAX_JSON_BYTES:
        raise ProtocolError(
            f"a {verb} message has {len(head)} bytes of JSON; at most {MAX_JSON_BYTES} are allowed: "
            "send numbers as arrays"
        )
    check_frames(report.arrays if report else (), frames)
    return [head, *frames]


def decode(frames: Sequence[bytes]) -> Message:
    """Return the message that the frames carry, checked: bounds first, then JSON, then arrays and their digests.

    Raises:
        ProtocolError: anything is not as the protocol says. Nothing of the message may be used.
    """
    if not frames:
        raise ProtocolError("an empty message")
    if len(frames[0]) > MAX_JSON_BYTES:
        raise ProtocolError(f"a JSON frame of {len(frames[0])} bytes; at most {MAX_JSON_BYTES} are allowed")
    try:
        message = Message.__pydantic_validator__.validate_json(frames[0])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise ProtocolError(f"{where}: {first['msg']}"[:500]) from None
    report = _report_in(message.body)
    check_frames(report.arrays if report else (), frames[1:])
    if report is not None and report.arrays:
        report._frames = tuple(frames[1:])
    return message


def _report_in(body: Any) -> Report | None:
    return body.report if isinstance(body, Known) else body if isinstance(body, Report) else None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the first frame of every message."""
    return Message.model_json_schema(mode="serialization")
