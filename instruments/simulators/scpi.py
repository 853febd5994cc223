"""A source meter with a resistor on it and an LCR meter with a capacitor, in SCPI."""

from __future__ import annotations

import math
from collections import deque

from instruments.simulators.dial import FaultDial
from instruments.simulators.server import split_line

QUEUE = 10


class _Scpi:
    """Identity, error queue, and headers to methods."""

    identity = ""

    def __init__(self, dial: FaultDial | None):
        self.dial = dial or FaultDial()
        self.queue: deque[str] = deque()
        self.heard: list[str] = []

    def split(self, buffer: bytes) -> tuple[bytes | None, bytes]:
        """One line."""
        return split_line(buffer)

    def acts(self, request: bytes) -> bool:
        """What is no question changes something."""
        return b"?" not in request

    def respond(self, request: bytes) -> bytes | None:
        """One command or question."""
        text = request.decode("ascii", "replace").strip()
        self.heard.append(text)
        header, _, argument = text.partition(" ")
        header = header.upper().removeprefix(":")
        if header == "SYST:ERR?":
            return (self.queue.popleft() if self.queue else '0,"No error"').encode() + b"\n"
        if header == "*IDN?":
            return self.identity.encode() + b"\n"
        if header == "*CLS":
            self.queue.clear()
            return None
        try:
            answer = self.command(header, argument.strip())
        except KeyError:
            return self.error('-113,"Undefined header"')
        except ValueError:
            return self.error('-104,"Data type error"')
        except OverflowError:
            return self.error('-222,"Data out of range"')
        return None if answer is None else answer.encode() + b"\n"

    def error(self, text: str) -> None:
        """Put an error into the queue, which overflows as SCPI says."""
        if len(self.queue) >= QUEUE:
            self.queue[-1] = '-350,"Queue overflow"'
        else:
            self.queue.append(text)

    def command(self, header: str, argument: str) -> str | None:
        """Raises KeyError for an unknown header, ValueError for a wrong type, OverflowError out of range."""
        raise NotImplementedError


class SourceMeter(_Scpi):
    """Keithley 2400: ``:READ?`` answers volts, amperes, ohms, seconds, status (bit 3: in compliance)."""

    identity = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30"

    def __init__(self, dial: FaultDial | None = None, *, resistance_ohm: float = 1_000.0, range_V: float = 210.0):
        super().__init__(dial)
        self.resistance_ohm, self.range_V = resistance_ohm, range_V
        self.volt, self.compliance_A, self.on, self.times_on = 0.0, 1e-4, False, 0

    def command(self, header: str, argument: str) -> str | None:
        """The few commands that a sweep needs."""
        if header == "SOUR:VOLT":
            self.volt = _within(float(argument), -self.range_V, self.range_V)
        elif header == "SENS:CURR:PROT":
            self.compliance_A = _within(float(argument), 1e-9, 1.05)
        elif header == "OUTP":
            on = argument.upper() in ("ON", "1")
            self.times_on += on and not self.on
            self.on = on
        elif header == "OUTP?":
            return str(int(self.on))
        elif header == "READ?":
            return self._read()
        elif header not in ("SOUR:FUNC", "SENS:FUNC", "*RST"):
            raise KeyError(header)
        return None

    def _read(self) -> str:
        if not self.on:
            self.error('+803,"Not permitted with OUTPUT off"')
            return "+9.910000E+37,+9.910000E+37,+9.910000E+37,+0.000000E+00,0"
        wanted = self.volt / self.resistance_ohm
        limited = abs(wanted) > self.compliance_A
        current = self.dial.reading(math.copysign(self.compliance_A, wanted) if limited else wanted, "current")
        shown = 9.91e37 if math.isnan(current) else current
        volt = current * self.resistance_ohm if limited else self.volt
        return f"{volt:+.6E},{shown:+.6E},+9.910000E+37,+1.000000E+00,{8 if limited else 0}"


class LcrMeter(_Scpi):
    """Keysight E4980A: ``*TRG`` answers capacitance, dissipation, status; a ceramic capacitor with a little loss."""

    identity = "Keysight Technologies,E4980A,MY46000000,A.06.15"

    def __init__(self, dial: FaultDial | None = None, *, capacitance_F: float = 1e-9, dissipation: float = 0.02):
        super().__init__(dial)
        self.capacitance_F, self.dissipation = capacitance_F, dissipation
        self.frequency_Hz, self.level_V = 1_000.0, 1.0

    def command(self, header: str, argument: str) -> str | None:
        """The few commands that a spectrum needs."""
        if header == "FREQ":
            self.frequency_Hz = _within(float(argument), 20, 2e6)
        elif header == "VOLT":
            self.level_V = _within(float(argument), 0.0, 2.0)
        elif header == "*TRG":
            value = self.dial.reading(self.capacitance_F / 1e-9, "capacitance") * 1e-9
            if math.isnan(value):
                return "+9.900000E+37,+9.900000E+37,+1"
            return f"{value * (1 - 0.01 * math.log10(self.frequency_Hz / 1e3)):+.6E},{self.dissipation:+.6E},+0"
        elif header not in ("FUNC:IMP", "TRIG:SOUR", "INIT:CONT", "*RST"):
            raise KeyError(header)
        return None


def _within(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise OverflowError
    return value
