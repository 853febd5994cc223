"""What the drivers of real instruments share: checks before acting, a durable note of every act, stopping, waiting."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.errors import InstrumentFault, LabError, Refused
from instruments.files import write_whole
from instruments.limits import violations

NOTES_KEPT = 64


class Stopped(Exception):
    """``stop`` was called while a job ran."""


class Silent(InstrumentFault):
    """The device did not answer, or not with what was asked: it may or may not have acted."""


class RealInstrument:
    """Base of the drivers of real instruments; a subclass gives ``capabilities``, ``act``, perhaps ``safe``, ``look``.

    Before ``act`` the parameters are checked against the capability's limits and a note is on disk; after it the
    outcome is on disk too. So ``inspect`` can prove that a command was never begun (no note) or was completed (its
    outcome), and only the time between is left to the instrument's own sensors (``look``). The same command id never
    acts twice.

    Raises:
        LabError: the notes in ``workdir`` cannot be read.
    """

    name = "instrument"

    def __init__(self, *, workdir: Path) -> None:
        self.workdir = Path(workdir)
        self.notes = Notes(self.workdir / "notes.json")
        self.wire = threading.RLock()
        """Held for one exchange with the instrument, so that ``stop`` may speak between two of a running job."""
        self.state, self.last_error = "idle", ""
        self._stop = threading.Event()

    def capabilities(self) -> list[Capability]:
        """What it can do, with limits."""
        raise NotImplementedError

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """Do it. Raises Refused where it cannot be begun, InstrumentFault where the instrument is broken."""
        raise NotImplementedError

    def safe(self) -> None:
        """Bring the instrument into its safe state. Called by ``stop`` and after every act that did not end well."""

    def look(self, job: Job, note: Mapping[str, Any]) -> Outcome | None:
        """What the instrument itself says of an act that was begun and not finished."""
        return None

    def close(self) -> None:
        """Give cables and ports back; the next use opens them again."""

    def facts(self) -> dict[str, Any]:
        """Quick facts for the dashboard, asked for while idle; may raise."""
        return {}

    def run(self, job: Job, progress: Progress) -> Outcome:
        """Check, note, act, note. ``failed`` where nothing was done for want of sense in the command."""
        self._stop.clear()
        capability = next((c for c in self.capabilities() if c.name == job.capability), None)
        if capability is None:
            can = ", ".join(c.name for c in self.capabilities())
            return self._failed(f"cannot {job.capability}; this instrument can: {can}; nothing was done")
        given = arguments(job)
        if found := violations(capability, given):
            return self._failed(f"outside the limits, nothing was done: {'; '.join(found)}")
        if not capability.idempotent:
            if (earlier := self.notes.outcome(job.command_id)) is not None:
                return earlier
            if self.notes.get(job.command_id) is not None:
                raise InstrumentFault(
                    f"command {job.command_id} was begun before and never finished; reconcile it and mint a new command"
                )
            self.notes.put(job.command_id, phase="begun")
        self.state = f"{job.capability} {job.sample}"
        try:
            outcome = self._acted(job, given, progress)
        finally:
            self.state = "idle"
        if not capability.idempotent:
            self.notes.put(job.command_id, phase="done", outcome=asdict(outcome))
        return outcome

    def _acted(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        begun = time.monotonic()
        try:
            return self.act(job, given, progress)
        except Refused as error:
            return self._failed(f"refused, nothing was done: {error}")
        except Stopped as stopped:
            self.safe()
            text = f"stopped: {stopped}" if str(stopped) else "stopped"
            return self._failed(text, time.monotonic() - begun)
        except Exception as error:
            self.last_error = f"{type(error).__name__}: {error}"
            try:
                self.safe()
            except Exception as second:
                raise InstrumentFault(
                    f"{self.last_error}; and the safe state could not be commanded ({second}): look at the instrument"
                ) from error
            if self._stop.is_set():  # what a stop interrupts may fail in any way
                return self._failed(f"stopped: {error}", time.monotonic() - begun)
            raise

    def stop(self) -> None:
        """End a running job early and go to the safe state. Raises InstrumentFault where it cannot be commanded."""
        self._stop.set()
        self.safe()

    def health(self) -> dict[str, Any]:
        """State, last error and what the instrument says of itself."""
        known = {"state": self.state, "last_error": self.last_error}
        try:
            return known | {"reachable": True} | self.facts()
        except Exception as error:  # a host must be able to say that its instrument is off
            return known | {"reachable": False, "last_error": f"{type(error).__name__}: {error}"}

    def inspect(self, job: Job) -> Outcome | None:
        """From the notes where they suffice, else from the instrument."""
        if any(c.name == job.capability and c.idempotent for c in self.capabilities()):
            return Outcome("untouched", message="a measurement that leaves the sample as it was")
        note = self.notes.get(job.command_id)
        if note is None:
            return Outcome("untouched", message="never begun: there is no note, and a note precedes every act")
        return self.notes.outcome(job.command_id) or self.look(job, note)

    def wait(self, seconds: float) -> None:
        """Sleep. Raises Stopped as soon as ``stop`` is called."""
        if self._stop.wait(max(0.0, seconds)):
            raise Stopped

    def check_stop(self) -> None:
        """Raise Stopped if ``stop`` was called."""
        self.wait(0.0)

    def _failed(self, message: str, duration_s: float = 0.0) -> Outcome:
        self.last_error = message
        return Outcome("failed", message=message, duration_s=duration_s)


class Notes:
    """What was begun and what came of it, one small JSON file that is on disk before ``put`` returns.

    Raises:
        LabError: the file exists and cannot be read: without it nobody knows what was done.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._notes: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
            if not isinstance(self._notes, dict):
                raise ValueError("not an object")
        except (OSError, ValueError) as error:
            raise LabError(f"cannot read {path} ({error}); restore it, or reconcile and remove it") from None

    def get(self, command_id: str) -> dict[str, Any] | None:
        """The facts noted of a command, or None."""
        return self._notes.get(command_id)

    def outcome(self, command_id: str) -> Outcome | None:
        """The noted outcome of a command that was completed, or None."""
        outcome = (self._notes.get(command_id) or {}).get("outcome")
        return Outcome(**outcome) if outcome else None

    def put(self, command_id: str, **facts: Any) -> None:
        """Add facts about a command; durable when this returns."""
        self._notes[command_id] = self._notes.pop(command_id, {}) | facts
        for old in list(self._notes)[:-NOTES_KEPT]:
            del self._notes[old]
        write_whole(self.path, json.dumps(self._notes))


def need(module: str, extra: str) -> Any:
    """Import a library that only this driver uses. Raises LabError that names the extra to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise LabError(f"this driver needs {module} ({error}); install it: pip install 'athanor[{extra}]'") from error


def arguments(job: Job) -> dict[str, Any]:
    """The command's own parameters; those that a candidate carries (nested ``parameters``) are among them."""
    given = {str(k): v for k, v in job.parameters.items() if k not in ("candidate", "parameters")}
    nested = job.parameters.get("parameters")
    return given | ({str(k): v for k, v in nested.items()} if isinstance(nested, Mapping) else {})


def number(given: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """A finite number among the parameters. Raises Refused where it is missing or no number."""
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        raise Refused(f"{name} must be a number, not {value!r:.50}" if name in given else f"{name} is missing")
    return float(value)


def numbers(given: Mapping[str, Any], name: str, default: float | None = None) -> list[float]:
    """One number or a list of them, as a list. Raises Refused where it is missing, empty or holds anything else."""
    value = given.get(name, default)
    if not isinstance(value, list | tuple):
        return [number(given, name, default)]
    found = [number({name: x}, name) for x in value]
    if not found:
        raise Refused(f"{name} is empty")
    return found


def limits_of(settings: Mapping[str, Any]) -> dict[str, Limit]:
    """Parameter name -> Limit from a YAML mapping ``name: [low, high]``. Raises LabError naming a malformed one."""
    found = {}
    for name, pair in settings.items():
        try:
            low, high = map(float, pair)
        except (TypeError, ValueError):
            raise LabError(f"limits: {name} must be [low, high], not {pair!r}") from None
        found[str(name)] = Limit(low, high)
    return found


def load_callable(target: str) -> Callable[..., Any]:
    """Return what ``package.module:name`` or ``file.py:name`` names. Raises LabError."""
    from instruments.drivers.function import _load

    return _load(target)
