"""A furnace behind a Eurotherm 3200 temperature controller (Modbus TCP or RTU)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.drivers.base import RealInstrument, Stopped, number, numbers
from instruments.drivers.modbus_link import ModbusLink, Silent, WriteBudget
from instruments.errors import InstrumentFault, LabError, Refused

PV, TARGET, WORKING = 1, 2, 5
SP_SELECT, PROGRAM, SP1, REMOTE, RATE, STATUS, REMOTE_SELECT = 15, 23, 24, 26, 35, 75, 276
WEARING = (TARGET, SP1, RATE, SP_SELECT)
"""Addresses kept in memory that bears about 100,000 writes. (The rate and the selection are counted to be on the safe
side; the remote setpoint is not kept and may be written every second.)"""
SENSOR_BREAK, LOOP_BREAK, OVER_RANGE = 1 << 5, 1 << 6, 1 << 10
PROFILE_ROWS = 2_000


class ModbusFurnace(RealInstrument):
    """Capability ``heat``: a programme of segments, each a ramp and a hold.

    ``temperature_C``, ``ramp_C_per_min`` and ``hold_min`` are one number or a list with one number a segment; a hold
    counts while the furnace is within ``band_C`` of the setpoint (guaranteed soak). ``unload_below_C``, where given,
    waits at the end until the furnace has cooled so far.

    Readings: ``max_temperature_C``, ``hold_temperature_C`` (mean over the last hold), ``hold_spread_C`` (its standard
    deviation), ``final_temperature_C``, ``programme_min``; array ``profile``: time in s, measured and set temperature.

    Settings:
        host, port, unit: of Modbus TCP; or serial_port, baud, parity of Modbus RTU.
        ramp: ``remote`` writes the remote setpoint (26) at every poll, which wears nothing, and the controller falls
            back to its local setpoint, which is kept at ``safe_temperature_C``, if this computer dies. ``internal``
            sets the rate limit (35) and the target (2) once a segment: smoother, but **the furnace goes on heating** if
            this computer dies, and each write counts against ``write_budget``.
        decimals: decimal places of the controller's display: registers are integers in that unit.
        max_temperature_C, max_ramp_C_per_min, max_hold_min, max_segments: limits.
        safe_temperature_C: setpoint of the safe state.
        band_C: how near is reached; settle_min: how long it may be away from the setpoint before that is a fault.
        overshoot_C: above the highest setpoint so far plus this, the run ends as a fault.
        poll_s: between two readings. timeout_s: of one exchange. patience_s: of silence, then the run ends as a fault.
        write_budget: writes that one register bears in its life.

    Register addresses: Eurotherm 3200 engineering handbook HA028651, section 15.5.
    """

    name = "furnace"

    def __init__(
        self,
        *,
        workdir: Path,
        host: str = "",
        port: int = 502,
        unit: int = 1,
        serial_port: str = "",
        baud: int = 9600,
        parity: str = "N",
        ramp: Literal["remote", "internal"] = "remote",
        decimals: int = 0,
        max_temperature_C: float = 1100.0,
        max_ramp_C_per_min: float = 20.0,
        max_hold_min: float = 6_000.0,
        max_segments: int = 32,
        safe_temperature_C: float = 20.0,
        band_C: float = 10.0,
        settle_min: float = 30.0,
        overshoot_C: float = 25.0,
        poll_s: float = 1.0,
        timeout_s: float = 1.0,
        patience_s: float = 20.0,
        write_budget: int = 100_000,
    ) -> None:
        super().__init__(workdir=workdir)
        if ramp not in ("remote", "internal"):
            raise LabError(f"ramp must be 'remote' or 'internal', not {ramp!r}")
        positive = (poll_s, timeout_s, patience_s, band_C, settle_min, overshoot_C)
        if min(positive) <= 0 or safe_temperature_C > max_temperature_C:
            raise LabError(f"{self.name}: times, band and overshoot must be positive and the safe temperature allowed")
        self.link = ModbusLink(
            host=host, serial_port=serial_port, port=port, unit=unit, timeout_s=timeout_s, baud=baud, parity=parity
        )
        self.budget = WriteBudget(self.workdir / "write_budget.json", lifetime=write_budget)
        self.ramp, self.scale = ramp, 10**decimals
        self.limits = {
            "temperature_C": Limit(0.0, max_temperature_C),
            "ramp_C_per_min": Limit(1 / self.scale if ramp == "internal" else 0.01, max_ramp_C_per_min),
            "hold_min": Limit(0.0, max_hold_min),
            "unload_below_C": Limit(safe_temperature_C, max_temperature_C),
        }
        self.max_segments = max_segments
        self.safe_C, self.band_C, self.overshoot_C = safe_temperature_C, band_C, overshoot_C
        self.poll_s, self.settle_s, self.patience_s = poll_s, 60 * settle_min, patience_s

    def capabilities(self) -> list[Capability]:
        """``heat``, with limits that hold for every segment."""
        hot = Limit(-50.0, self.limits["temperature_C"].high + 2 * self.overshoot_C)
        quantities = dict.fromkeys(("max_temperature_C", "hold_temperature_C", "final_temperature_C"), hot)
        return [
            Capability(
                "heat",
                dict(self.limits),
                quantities | {"hold_spread_C": Limit(0.0, 1_000.0), "programme_min": Limit(0.0)},
            )
        ]

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """Run the programme, then go to the safe setpoint."""
        segments = self._segments(given)
        unload_C = number(given, "unload_below_C") if "unload_below_C" in given else None
        self.budget.check(len(segments) + 2 if self.ramp == "internal" else 1)
        seen = self._look()
        if self._read(PROGRAM) == 1:
            raise Refused("a programme runs on the controller's own panel; reset it there first")
        self._set(SP_SELECT, 0)
        starts = [seen.pv_C, *(segment.temperature_C for segment in segments)]
        total_s = sum(
            segment.ramp_s(start) + 60 * segment.hold_min for segment, start in zip(segments, starts, strict=False)
        )
        run = _Run(progress, setpoint_C=seen.pv_C, total_s=total_s)
        self._set_temperature(SP1, self.safe_C)
        self.notes.put(job.command_id, phase="heating")
        try:
            if self.ramp == "remote":
                with self.wire:
                    self.check_stop()
                    self._write(REMOTE, min(seen.pv_C, self.limits["temperature_C"].high))
                    self._set(REMOTE_SELECT, 1)
            for number_, segment in enumerate(segments, start=1):
                self._segment(run, segment, f"segment {number_} of {len(segments)}")
        except Stopped:
            raise Stopped(
                f"after {run.elapsed_s / 60:.1f} min at {run.last_C:.0f} C; it was heated, to {run.hottest_C:.0f} C"
            ) from None
        self.safe()
        readings = run.readings()
        run.heating, run.setpoint_C = False, self.safe_C
        self.notes.put(job.command_id, phase="cooling", readings=readings, duration_s=run.elapsed_s)
        while unload_C is not None and run.last_C > unload_C:
            self._poll(run, f"cooling to {unload_C:g} C")
        readings["final_temperature_C"] = run.last_C
        return Outcome("ok", readings, {"profile": run.thinned()}, duration_s=run.elapsed_s)

    def safe(self) -> None:
        """Local setpoint at the safe temperature, programme reset. Wears nothing where it is so already."""
        with self.wire:
            errors = []
            # Each on its own: a register that fails must not keep the others hot.
            for act in (
                lambda: self._set(REMOTE_SELECT, 0),
                lambda: self._set(PROGRAM, 0),
                lambda: self._set(SP_SELECT, 0),
                lambda: self._set(RATE, 0) if self.ramp == "internal" else None,
                lambda: self._set_temperature(SP1, self.safe_C),
            ):
                try:
                    act()
                except Silent as error:  # nobody is there: the rest would only take time
                    errors.append(str(error))
                    break
                except (InstrumentFault, Refused) as error:
                    errors.append(str(error))
            if errors:
                raise InstrumentFault("; ".join(errors))

    def look(self, job: Job, note: Mapping[str, Any]) -> Outcome | None:
        """Begun but never heated; all holds done; or nobody can tell. Whatever it was, it ends in the safe state."""
        try:
            self.safe()
            now_C = self._look().pv_C
        except InstrumentFault:
            now_C = None
        if note["phase"] == "begun":
            return Outcome("untouched", message="the programme was checked and never begun")
        if note["phase"] == "cooling" and now_C is not None:
            readings = {**note["readings"], "final_temperature_C": now_C}
            message = "the host ended while the furnace cooled, after the last hold; the profile is lost"
            return Outcome("ok", readings, duration_s=note["duration_s"], message=message)
        return None

    def close(self) -> None:
        """Close the line."""
        self.link.close()

    def facts(self) -> dict[str, Any]:
        """Temperatures and how many setpoint writes the controller has left."""
        seen = self._look()
        return {
            "temperature_C": seen.pv_C,
            "setpoint_C": seen.setpoint_C,
            "setpoint_writes_left": self.budget.left(),
        }

    # The programme

    def _segments(self, given: Mapping[str, Any]) -> list[_Segment]:
        targets = numbers(given, "temperature_C")
        columns = [numbers(given, "ramp_C_per_min"), numbers(given, "hold_min", 0.0)]
        if len(targets) > self.max_segments:
            raise Refused(f"{len(targets)} segments; at most {self.max_segments}")
        for index, (name, column) in enumerate(zip(("ramp_C_per_min", "hold_min"), columns, strict=True)):
            if len(column) == 1:
                columns[index] = column * len(targets)
            elif len(column) != len(targets):
                raise Refused(f"{name} has {len(column)} values for {len(targets)} segments")
        return [_Segment(*row) for row in zip(targets, *columns, strict=True)]

    def _segment(self, run: _Run, segment: _Segment, where: str) -> None:
        start_C, begun = run.setpoint_C, time.monotonic()
        ramp_s = segment.ramp_s(start_C)
        if self.ramp == "internal":
            with self.wire:
                self.check_stop()
                self._set(RATE, max(1, round(segment.ramp_C_per_min * self.scale)))
                self._set_temperature(TARGET, segment.temperature_C)
        held_s, away_since, previous = 0.0, time.monotonic(), time.monotonic()
        run.held.clear()
        while True:
            if self.ramp == "remote":
                part = min(1.0, (time.monotonic() - begun) / ramp_s) if ramp_s > 0 else 1.0
                run.setpoint_C = start_C + part * (segment.temperature_C - start_C)
            seen = self._poll(run, where)
            now = time.monotonic()
            arrived = abs(run.setpoint_C - segment.temperature_C) < 1 / self.scale
            if abs(seen.pv_C - run.setpoint_C) <= self.band_C:
                away_since = now
            elif now - away_since > self.settle_s:
                raise InstrumentFault(
                    f"{where}: {seen.pv_C:.0f} C and not within {self.band_C:g} C of {run.setpoint_C:.0f} C for "
                    f"{self.settle_s / 60:.1f} min: look at the heater, the thermocouple and the ramp rate"
                )
            if arrived and abs(seen.pv_C - segment.temperature_C) <= self.band_C:
                run.held.append(seen.pv_C)
                if held_s >= 60 * segment.hold_min:
                    return
                held_s += now - previous if len(run.held) > 1 else 0.0
            previous = now

    def _poll(self, run: _Run, where: str) -> _Seen:
        """Wait, keep the remote setpoint alive, read, check, record. A short silence of the line is borne."""
        self.wait(self.poll_s)
        silent_since = time.monotonic()
        while True:
            try:
                with self.wire:
                    self.check_stop()  # not after a stop has made it safe
                    if self.ramp == "remote" and run.heating:
                        self._write(REMOTE, run.setpoint_C)
                    seen = self._look()
                break
            except SensorFault:
                raise
            except InstrumentFault as error:
                self.last_error = str(error)
                if time.monotonic() - silent_since > self.patience_s:
                    raise
                self.wait(min(self.poll_s, 0.5))
        if self.ramp == "internal" and run.heating:
            run.setpoint_C = seen.setpoint_C
        run.record(seen)
        if seen.pv_C > run.allowed_C + self.overshoot_C:
            raise InstrumentFault(f"{where}: {seen.pv_C:.0f} C, more than {self.overshoot_C:g} C above every setpoint")
        run.progress(min(0.99, run.elapsed_s / max(run.total_s, 1e-9)), f"{where}: {seen.pv_C:.0f} C")
        return seen

    # The registers

    def _look(self) -> _Seen:
        with self.wire:
            pv, _, _, _, working = self.link.read(PV, 5)
            status = self.link.read(STATUS)[0] & 0xFFFF
        seen = _Seen(pv / self.scale, working / self.scale, status)
        for bit, words in ((SENSOR_BREAK, "the thermocouple is broken"), (LOOP_BREAK, "the control loop is broken"),
                           (OVER_RANGE, "the temperature is over range")):  # fmt: skip
            if status & bit:
                raise SensorFault(f"status word {status:#06x}: {words}")
        return seen

    def _read(self, address: int) -> int:
        with self.wire:
            return self.link.read(address)[0]

    def _set(self, address: int, word: int) -> None:
        """Write a word where it is not so already; count it where it wears."""
        with self.wire:
            self.link.put(address, word, before=self._count)

    def _count(self, address: int) -> None:
        if address in WEARING:
            self.budget.spend(address)

    def _set_temperature(self, address: int, temperature_C: float) -> None:
        self._set(address, round(temperature_C * self.scale))

    def _write(self, address: int, temperature_C: float) -> None:
        self.link.write(address, round(temperature_C * self.scale))


class SensorFault(InstrumentFault):
    """The controller itself reports a broken sensor or loop: no second look is worth waiting for."""


@dataclass(frozen=True)
class _Segment:
    temperature_C: float
    ramp_C_per_min: float
    hold_min: float

    def ramp_s(self, start_C: float) -> float:
        return 60 * abs(self.temperature_C - start_C) / self.ramp_C_per_min


@dataclass(frozen=True)
class _Seen:
    pv_C: float
    setpoint_C: float
    status: int


@dataclass
class _Run:
    """One programme under way."""

    progress: Progress
    setpoint_C: float
    total_s: float
    heating: bool = True
    last_C: float = 0.0
    hottest_C: float = -273.15
    held: list[float] = field(default_factory=list)
    profile: list[list[float]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.allowed_C = self.last_C = self.setpoint_C

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.begun

    def record(self, seen: _Seen) -> None:
        self.last_C, self.hottest_C = seen.pv_C, max(self.hottest_C, seen.pv_C)
        self.allowed_C = max(self.allowed_C, self.setpoint_C)
        self.profile.append([round(self.elapsed_s, 3), seen.pv_C, self.setpoint_C])

    def thinned(self) -> list[list[float]]:
        step = max(1, -(-len(self.profile) // PROFILE_ROWS))
        return self.profile[::step]

    def readings(self) -> dict[str, float]:
        return {
            "max_temperature_C": self.hottest_C,
            "hold_temperature_C": statistics.fmean(self.held),
            "hold_spread_C": statistics.pstdev(self.held),
            "final_temperature_C": self.last_C,
            "programme_min": self.elapsed_s / 60,
        }
