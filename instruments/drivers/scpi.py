"""SCPI over raw TCP, serial or VISA: a source meter and an LCR meter."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.drivers.base import RealInstrument, Silent, number, numbers
from instruments.drivers.line import Line
from instruments.errors import InstrumentFault, LabError, Refused

NOT_A_NUMBER = 9.9e37
"""SCPI's infinity; its NaN is 9.91E37."""
ERRORS_READ = 30
COMPLIANCE_BIT = 1 << 3


class ScpiError(InstrumentFault):
    """The instrument put an error into its queue."""


class ScpiInstrument(RealInstrument):
    """What SCPI instruments share: a write is followed by reading the error queue until it is empty.

    Settings:
        address: ``tcp://host:5025``, ``serial:///dev/ttyUSB0?baud=9600`` or ``visa://TCPIP0::host::inst0::INSTR``.
        visa_backend: ``@py`` (PyVISA-py), ``""`` (the vendor's library), ``FILE@sim``.
        timeout_s: for one answer.
        model: text that ``*IDN?`` must contain; checked before the first act, so that a swapped cable is noticed.
    """

    name = "scpi"

    def __init__(
        self, *, workdir: Path, address: str, visa_backend: str = "@py", timeout_s: float = 2.0, model: str = ""
    ) -> None:
        super().__init__(workdir=workdir)
        self.line = Line(address, timeout_s=timeout_s, visa_backend=visa_backend)
        self.model, self.identity = model, ""

    def identify(self) -> None:
        """Ask who is there, and empty the error queue of what others left. Raises Refused where it is another model."""
        with self.wire:
            self.identity = self.line.ask("*IDN?")
            if self.model not in self.identity:
                raise Refused(f"{self.line.address} is {self.identity!r}, not a {self.model}: look at the cables")
            self.errors()

    def tell(self, *commands: str) -> None:
        """Send commands one by one, each followed by the error queue. Raises ScpiError."""
        for command in commands:
            with self.wire:
                self.check_stop()
                self._tell(command)

    def ask(self, question: str) -> str:
        """Ask, then read the error queue. Raises ScpiError."""
        with self.wire:
            self.check_stop()
            answer = self.line.ask(question)
            if found := self.errors():
                raise ScpiError(f"{question} was answered with {'; '.join(found)}")
            return answer

    def errors(self) -> list[str]:
        """Read the error queue until it is empty."""
        found = []
        for _ in range(ERRORS_READ):
            error = self.line.ask("SYST:ERR?")
            code = error.split(",")[0].strip().lstrip("+")
            if not code.lstrip("-").isdigit():
                self.line.close()
                raise Silent(f"{self.line.address}: {error!r} is no answer to SYST:ERR?; the line was closed")
            if int(code) == 0:
                return found
            found.append(error)
        raise ScpiError(f"the error queue does not end: {found[0]}")

    def close(self) -> None:
        """Close the line."""
        self.line.close()

    def facts(self) -> dict[str, Any]:
        """Who is there."""
        if self.state == "idle":
            with self.wire:
                self.identity = self.line.ask("*IDN?")
        return {"identity": self.identity}

    def _tell(self, command: str) -> None:
        self.line.tell(command)
        if found := self.errors():
            raise ScpiError(f"{command} was answered with {'; '.join(found)}")


class ScpiSourceMeter(ScpiInstrument):
    """Capability ``iv_sweep``: source voltages, measure currents (Keithley 2400 family and what follows its commands).

    ``voltage_V`` is a list of points, or ``start_V``, ``stop_V`` and ``points`` give it; ``compliance_A`` limits the
    current; ``delay_s`` waits at each point.

    Readings: ``resistance_ohm`` (least squares through the points not in compliance; NaN where they give none),
    ``max_current_A``, ``points_in_compliance``; array ``iv``: V, A.

    Settings beside those of ``ScpiInstrument``: max_voltage_V, max_current_A, max_points.
    """

    name = "source meter"

    def __init__(
        self,
        *,
        max_voltage_V: float = 20.0,
        max_current_A: float = 0.1,
        max_points: int = 1_000,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        volts = Limit(-max_voltage_V, max_voltage_V)
        self.limits = {
            "voltage_V": volts,
            "start_V": volts,
            "stop_V": volts,
            "points": Limit(2, max_points),
            "compliance_A": Limit(1e-9, max_current_A),
            "delay_s": Limit(0.0, 60.0),
        }
        self.max_points = max_points

    def capabilities(self) -> list[Capability]:
        """``iv_sweep``; not idempotent: a voltage may change a sample."""
        high = self.limits["compliance_A"].high
        quantities = {
            "resistance_ohm": Limit(),
            "max_current_A": Limit(0.0, 1.1 * high),
            "points_in_compliance": Limit(0, self.max_points),
        }
        return [Capability("iv_sweep", dict(self.limits), quantities)]

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """Set up, switch on, measure, switch off."""
        volts = self._points(given)
        compliance_A, delay_s = number(given, "compliance_A"), number(given, "delay_s", 0.0)
        self.identify()
        try:
            self.tell(
                ":OUTP OFF", ":SOUR:FUNC VOLT", ":SENS:FUNC 'CURR'", f":SENS:CURR:PROT {compliance_A:.9g}",
                f":SOUR:VOLT {volts[0]:.9g}",
            )  # fmt: skip
        except ScpiError as error:
            raise Refused(str(error)) from None
        self.notes.put(job.command_id, phase="on")
        begun, rows, limited = time.monotonic(), [], 0
        try:
            self.tell(":OUTP ON")
            for index, volt in enumerate(volts):
                self.tell(f":SOUR:VOLT {volt:.9g}")
                self.wait(delay_s)
                source_V, current_A, status = self._read()
                limited += bool(status & COMPLIANCE_BIT)
                rows.append([source_V, current_A, float(bool(status & COMPLIANCE_BIT))])
                progress((index + 1) / len(volts), f"{source_V:.4g} V, {current_A:.4g} A")
        finally:
            self.safe()
        currents = [abs(row[1]) for row in rows]
        readings = {
            "resistance_ohm": _slope([(i, v) for v, i, bad in rows if not bad]),
            "max_current_A": max(currents) if not any(map(math.isnan, currents)) else math.nan,
            "points_in_compliance": float(limited),
        }
        iv = [row[:2] for row in rows]
        return Outcome("ok", readings, {"iv": iv}, duration_s=time.monotonic() - begun)

    def safe(self) -> None:
        """Output off; asked back, since an instrument that is still on is a danger."""
        with self.wire:
            for last in (False, True):
                try:
                    self.line.tell(":OUTP OFF")
                    state = self.line.ask(":OUTP?").strip()
                    self.errors()
                except Silent:
                    if last:
                        raise
                    continue
                if state in ("0", "OFF"):
                    return
        raise InstrumentFault(f"{self.line.address}: the output is still on: switch it off by hand")

    def look(self, job: Job, note: Mapping[str, Any]) -> Outcome | None:
        """Switch off; what was begun and never switched on is untouched."""
        self.safe()
        return Outcome("untouched", message="set up and never switched on") if note["phase"] == "begun" else None

    def _points(self, given: Mapping[str, Any]) -> list[float]:
        if "voltage_V" in given:
            volts = numbers(given, "voltage_V")
        else:
            start, stop, points = (number(given, key) for key in ("start_V", "stop_V", "points"))
            if points != int(points):
                raise Refused(f"points must be a whole number, not {points}")
            volts = [start + (stop - start) * i / (int(points) - 1) for i in range(int(points))]
        if len(volts) > self.max_points:
            raise Refused(f"{len(volts)} points; at most {self.max_points}")
        return volts

    def _read(self) -> tuple[float, float, int]:
        answer = self.ask(":READ?")
        fields = answer.split(",")
        try:
            volt, current = (_value(x) for x in fields[:2])
            status = int(float(fields[4])) if len(fields) > 4 else 0
        except ValueError:
            self.line.close()
            raise InstrumentFault(f"{answer!r} is no answer to :READ?; expected V,A,ohm,s,status") from None
        return volt, current, status


class ScpiLcrMeter(ScpiInstrument):
    """Capability ``impedance``: parallel capacitance and dissipation at each frequency (Keysight E4980 family).

    ``frequency_Hz`` is one number or a list; ``level_V`` is the oscillator's.

    Readings, at the last frequency: ``capacitance_F``, ``dissipation``; array ``spectrum``: Hz, F, dissipation.
    """

    name = "LCR meter"

    def __init__(
        self,
        *,
        max_frequency_Hz: float = 2e6,
        max_level_V: float = 2.0,
        max_points: int = 1_000,
        timeout_s: float = 5.0,
        **shared: Any,
    ) -> None:
        super().__init__(timeout_s=timeout_s, **shared)
        self.limits = {"frequency_Hz": Limit(20.0, max_frequency_Hz), "level_V": Limit(0.005, max_level_V)}
        self.max_points = max_points
        if max_points < 1:
            raise LabError("max_points must be at least 1")

    def capabilities(self) -> list[Capability]:
        """``impedance``; idempotent: a small signal leaves the sample as it was."""
        quantities = {"capacitance_F": Limit(-1.0, 1.0), "dissipation": Limit(-100.0, 100.0)}
        return [Capability("impedance", dict(self.limits), quantities, idempotent=True)]

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """Set frequency and level, trigger, fetch."""
        frequencies, level_V = numbers(given, "frequency_Hz"), number(given, "level_V", 0.5)
        if len(frequencies) > self.max_points:
            raise Refused(f"{len(frequencies)} frequencies; at most {self.max_points}")
        self.identify()
        begun, rows = time.monotonic(), []
        try:
            self.tell(":FUNC:IMP CPD", ":TRIG:SOUR BUS", ":INIT:CONT ON", f":VOLT {level_V:.6g}")
            for index, frequency in enumerate(frequencies):
                self.tell(f":FREQ {frequency:.9g}")
                answer = self.ask("*TRG")
                capacitance, dissipation, status = (_value(x) for x in answer.split(",")[:3])
                rows.append([frequency, *((math.nan, math.nan) if status else (capacitance, dissipation))])
                progress((index + 1) / len(frequencies), f"{frequency:g} Hz")
        except ScpiError as error:
            raise Refused(str(error)) from None
        except ValueError:
            self.line.close()
            raise InstrumentFault("the answer to *TRG is not capacitance,dissipation,status") from None
        readings = {"capacitance_F": rows[-1][1], "dissipation": rows[-1][2]}
        return Outcome("ok", readings, {"spectrum": rows}, duration_s=time.monotonic() - begun)


def _value(text: str) -> float:
    value = float(text)
    return math.nan if abs(value) >= NOT_A_NUMBER else value


def _slope(pairs: list[tuple[float, float]]) -> float:
    """Least-squares slope of the second against the first; NaN where there is none."""
    if len(pairs) < 2 or any(math.isnan(x) or math.isnan(y) for x, y in pairs):
        return math.nan
    mean_x, mean_y = (math.fsum(column) / len(pairs) for column in zip(*pairs, strict=True))
    spread = math.fsum((x - mean_x) ** 2 for x, _ in pairs)
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread if spread > 0 else math.nan
