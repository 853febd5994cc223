"""Drivers whose capabilities are written down in the lab file: what to write, call, wait for and read, by address."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.drivers.base import RealInstrument, limits_of, number
from instruments.errors import InstrumentFault, LabError

KEYS = {"write", "call", "arguments", "results", "wait", "read", "limits", "bounds", "idempotent"}


@dataclass(frozen=True)
class MappedCapability:
    """One capability as the lab file maps it."""

    capability: Capability
    write: dict[str, str] = field(default_factory=dict)
    call: str = ""
    arguments: Any = ()
    results: dict[str, Any] = field(default_factory=dict)
    wait: dict[str, Any] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)


class MappedInstrument(RealInstrument):
    """Base of the OPC UA, SiLA 2 and Bluesky drivers. A subclass gives ``read_value``, ``write_value`` and ``invoke``.

    Each capability of the settings maps, in the order in which it is carried out:
        write: parameter -> address; what can be read back is read back and compared.
        call: address of a method, command or trigger, with ``arguments`` (a list of parameters, or argument name ->
            parameter) and ``results`` (reading -> position or name of what it returns).
        wait: ``{address, equals, timeout_s, poll_s, settle_s}``: until it reads that; a time-out is a fault. Where a
            device says that it is busy a little late, ``settle_s`` is how long not to believe it.
        read: reading -> address.
    and besides ``limits`` (parameter -> [low, high]), ``bounds`` (reading -> [low, high]) and ``idempotent``.

    Settings:
        capabilities: as above.
        stop: ``{write: {address: value}, call: address}``, the safe state.
        tag: address of a text that the device keeps; the command's id is written there first, so that after a crash a
            device with another id proves that nothing was done.
    """

    name = "device"

    def __init__(
        self,
        *,
        workdir: Path,
        capabilities: Mapping[str, Mapping[str, Any]],
        stop: Mapping[str, Any] | None = None,
        tag: str = "",
    ) -> None:
        super().__init__(workdir=workdir)
        self.maps = {name: _mapping(name, spec) for name, spec in capabilities.items()}
        self.stop_map, self.tag = dict(stop or {}), tag
        if not self.maps:
            raise LabError(f"{self.name}: give at least one capability")
        if unknown := set(self.stop_map) - {"write", "call"}:
            raise LabError(f"{self.name}: stop has write and call, not {', '.join(sorted(unknown))}")

    def read_value(self, address: str) -> Any:
        """Value at an address. Raises InstrumentFault where nobody answers."""
        raise NotImplementedError

    def write_value(self, address: str, value: Any) -> None:
        """Set it. Raises Refused where the device forbids it."""
        raise NotImplementedError

    def invoke(self, address: str, arguments: Any, progress: Progress) -> Any:
        """Call a method, command or trigger, and return what it returns (a sequence or a mapping)."""
        raise NotImplementedError

    def readable(self, address: str) -> bool:
        """True where what was written can be compared with what is read."""
        return True

    def capabilities(self) -> list[Capability]:
        """As the settings say."""
        return [m.capability for m in self.maps.values()]

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """Write, call, wait, read."""
        m, begun = self.maps[job.capability], time.monotonic()
        named = m.arguments.values() if isinstance(m.arguments, Mapping) else m.arguments
        wanted = {name: _scalar(given, name) for name in [*m.write, *named]}
        if not m.capability.idempotent:
            if self.tag:
                self._write(self.tag, job.command_id)
            self.notes.put(job.command_id, phase="acting")
        for name, address in m.write.items():
            self._write(address, wanted[name])
            progress(0.1, f"{name} = {wanted[name]}")
        readings: dict[str, float] = {}
        if m.call:
            self.check_stop()
            arguments: Any = (
                {key: wanted[name] for key, name in m.arguments.items()}
                if isinstance(m.arguments, Mapping)
                else [wanted[name] for name in m.arguments]
            )
            answer = self.invoke(m.call, arguments, progress)
            readings |= {name: _number(_pick(answer, key), name) for name, key in m.results.items()}
        if m.wait:
            self._wait_for(m.wait, progress)
        readings |= {name: _number(self._read(address), name) for name, address in m.read.items()}
        return Outcome("ok", readings, duration_s=time.monotonic() - begun)

    def safe(self) -> None:
        """What the settings call ``stop``."""
        with self.wire:
            for address, value in self.stop_map.get("write", {}).items():
                self.write_value(address, value)
            if call := self.stop_map.get("call"):
                self.invoke(call, (), lambda fraction, message: None)

    def look(self, job: Job, note: Mapping[str, Any]) -> Outcome | None:
        """Untouched where it was never begun or the device's tag names another command."""
        if note["phase"] == "begun" and not self.tag:
            return Outcome("untouched", message="nothing was written yet")
        if self.tag and str(self._read(self.tag)) != job.command_id:
            return Outcome("untouched", message="the device's tag names another command")
        return None

    def facts(self) -> dict[str, Any]:
        """Everything that the capabilities read."""
        addresses = {name: address for m in self.maps.values() for name, address in m.read.items()}
        return {name: self._read(address) for name, address in list(addresses.items())[:20]}

    def _read(self, address: str) -> Any:
        with self.wire:
            return self.read_value(address)

    def _write(self, address: str, value: Any) -> None:
        with self.wire:
            self.check_stop()
            self.write_value(address, value)
            if not self.readable(address):
                return
            found = self.read_value(address)
        same = found == value
        if isinstance(value, int | float) and isinstance(found, int | float):
            same = math.isclose(found, value, rel_tol=1e-5, abs_tol=1e-9)
        if not same:
            raise InstrumentFault(f"{address}: wrote {value!r}, it holds {found!r}")

    def _wait_for(self, what: Mapping[str, Any], progress: Progress) -> None:
        timeout_s, poll_s = float(what.get("timeout_s", 3600.0)), float(what.get("poll_s", 0.5))
        begun = time.monotonic()
        self.wait(float(what.get("settle_s", 0.0)))
        while (found := self._read(what["address"])) != what["equals"]:
            waited_s = time.monotonic() - begun
            if waited_s > timeout_s:
                raise InstrumentFault(
                    f"{what['address']} is {found!r}, not {what['equals']!r}, after {timeout_s:g} s: look at the device"
                )
            progress(min(0.95, waited_s / timeout_s), f"waiting: {found!r}")
            self.wait(poll_s)


def _mapping(name: str, spec: Mapping[str, Any]) -> MappedCapability:
    if unknown := set(spec) - KEYS:
        raise LabError(f"capability {name}: {', '.join(sorted(unknown))} unknown; it has {', '.join(sorted(KEYS))}")
    wait = dict(spec.get("wait", {}))
    if wait and not {"address", "equals"} <= set(wait):
        raise LabError(f"capability {name}: wait needs address and equals")
    if not spec.get("call") and (spec.get("arguments") or spec.get("results")):
        raise LabError(f"capability {name}: arguments and results belong to a call")
    bounds = limits_of(spec.get("bounds", {}))
    readings = [*spec.get("results", {}), *spec.get("read", {})]
    quantities = {reading: bounds.get(reading, Limit()) for reading in readings}
    capability = Capability(name, limits_of(spec.get("limits", {})), quantities, bool(spec.get("idempotent")))
    return MappedCapability(
        capability,
        dict(spec.get("write", {})),
        str(spec.get("call", "")),
        spec.get("arguments", ()),
        dict(spec.get("results", {})),
        wait,
        dict(spec.get("read", {})),
    )


def _scalar(given: Mapping[str, Any], name: str) -> Any:
    value = given.get(name)
    return value if isinstance(value, bool | str) else number(given, name)


def _pick(answer: Any, key: Any) -> Any:
    try:
        return answer[key] if isinstance(answer, Mapping) or isinstance(key, int) else getattr(answer, key)
    except (KeyError, IndexError, AttributeError, TypeError):
        raise InstrumentFault(f"the device returned {answer!r:.200}, which has no {key!r}") from None


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InstrumentFault(f"{name}: the device answered {value!r:.100}, which is no number") from None
