"""A furnace behind a Eurotherm 3200 temperature controller, in Modbus TCP and RTU."""

from __future__ import annotations

import math
import struct
import time
from collections import Counter

from instruments.simulators.dial import FaultDial

PV, TARGET, OUTPUT, WORKING = 1, 2, 4, 5
SP_SELECT, TIMER, SP1, SP2, REMOTE, RATE, STATUS, REMOTE_SELECT = 15, 23, 24, 25, 26, 35, 75, 276
SENSOR_BREAK, REMOTE_FAIL = 1 << 5, 1 << 14
WRITABLE = {TARGET, SP_SELECT, TIMER, SP1, SP2, REMOTE, RATE, REMOTE_SELECT}
REGISTERS = 600


class EurothermFurnace:
    """The controller's registers and a furnace that follows its working setpoint with one time constant.

    A remote setpoint that is not written for ``remote_timeout_s`` is given up for the local one, with the bit *remote
    setpoint fail* of the status word. A thermocouple that reads NaN on the dial is a sensor break.

    Args:
        dial: noise, drift, nan and stuck act on the measured temperature.
        tau_s: the furnace reaches 63 % of a step in this time.
        highest_C: a setpoint above it is refused with exception 3.
        remote_timeout_s: see above.
        decimals: registers hold tenths (1) or whole degrees (0).
        ambient_C: where it starts.
    """

    def __init__(
        self,
        dial: FaultDial | None = None,
        *,
        tau_s: float = 60.0,
        highest_C: float = 1500.0,
        remote_timeout_s: float = 5.0,
        decimals: int = 0,
        ambient_C: float = 20.0,
    ):
        self.dial = dial or FaultDial()
        self.tau_s, self.highest_C, self.remote_timeout_s = tau_s, highest_C, remote_timeout_s
        self.scale = 10**decimals
        self.temperature_C, self.working_C = ambient_C, ambient_C
        self.hottest_C = ambient_C
        self.broken_heater = False
        self.writes: Counter[int] = Counter()
        self._r = {TARGET: ambient_C, SP1: ambient_C, SP2: ambient_C, REMOTE: ambient_C, RATE: 0.0}
        self._words = {SP_SELECT: 0, TIMER: 0, REMOTE_SELECT: 0}
        self._time = self._remote_time = time.monotonic()

    def split(self, buffer: bytes) -> tuple[bytes | None, bytes]:
        """One MBAP frame."""
        if len(buffer) < 6:
            return None, buffer
        length = 6 + struct.unpack(">H", buffer[4:6])[0]
        return (buffer[:length], buffer[length:]) if len(buffer) >= length else (None, buffer)

    def acts(self, request: bytes) -> bool:
        """Function codes 6 and 16 write."""
        return request[7:8] in (b"\x06", b"\x10")

    def respond(self, request: bytes) -> bytes | None:
        """Function codes 3, 4, 6 and 16."""
        if len(request) < 12:
            return None
        transaction, _, _, unit = struct.unpack(">HHHB", request[:7])
        body = self.answer(request[7:])
        return struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body

    def answer(self, pdu: bytes) -> bytes:
        """The answer to one request without its framing: function code and what follows."""
        code, address, value = struct.unpack(">BHH", pdu[:5])
        if code in (3, 4):
            return self._read(code, address, value)
        if code == 6:
            failed = self._write(address, [value])
        elif code == 16:
            failed = self._write(address, list(struct.unpack(f">{value}H", pdu[6 : 6 + 2 * value])))
        else:
            failed = b"\x01"
        return bytes([code | 0x80]) + failed if failed else pdu[:5]

    @property
    def remote(self) -> bool:
        """True while the remote setpoint is selected and fresh."""
        return bool(self._words[REMOTE_SELECT]) and time.monotonic() - self._remote_time <= self.remote_timeout_s

    @property
    def setpoint_C(self) -> float:
        """Where the controller is heading."""
        return self._r[REMOTE] if self.remote else self._r[SP2 if self._words[SP_SELECT] else SP1]

    def _read(self, code: int, address: int, count: int) -> bytes:
        if not 1 <= count <= 125 or address + count > REGISTERS:
            return bytes([code | 0x80, 2])
        self._pass_time()
        measured = self.dial.reading(self.temperature_C, "pv")
        status = (SENSOR_BREAK if math.isnan(measured) else 0) | (
            REMOTE_FAIL if self._words[REMOTE_SELECT] and not self.remote else 0
        )
        known = self._r | {
            PV: 0.0 if math.isnan(measured) else measured,
            TARGET: self.setpoint_C,
            WORKING: self.working_C,
        }
        words = []
        for register in range(address, address + count):
            if register == STATUS:
                words.append(status)
            elif register in self._words:
                words.append(self._words[register])
            else:
                words.append(round(known.get(register, 0.0) * self.scale) & 0xFFFF)
        return struct.pack(f">BB{count}H", code, 2 * count, *words)

    def _write(self, address: int, words: list[int]) -> bytes:
        """Exception code as one byte, or ``b""``."""
        self._pass_time()
        for register, word in enumerate(words, start=address):
            if register not in WRITABLE:
                return b"\x02"
            value = (word - 0x10000 if word > 0x7FFF else word) / self.scale
            if register in (TARGET, SP1, SP2, REMOTE) and not 0 <= value <= self.highest_C:
                return b"\x03"
            self.writes[register] += 1
            if register in self._words:
                self._words[register] = word
                self._remote_time = time.monotonic()
                continue
            self._r[register] = value
            if register == TARGET:
                self._r[SP2 if self._words[SP_SELECT] else SP1] = value
            if register == REMOTE:
                self._remote_time = time.monotonic()
        return b""

    def _pass_time(self) -> None:
        now = time.monotonic()
        longest = max(self.tau_s / 20, (now - self._time) / 1000)
        while self._time < now:
            dt = min(now - self._time, longest)
            self._time += dt
            goal, rate = self.setpoint_C, self._r[RATE]
            step = math.inf if self.remote or rate <= 0 else rate / 60 * dt
            self.working_C += max(-step, min(step, goal - self.working_C))
            heading = 20.0 if self.broken_heater else self.working_C
            self.temperature_C += (heading - self.temperature_C) * (1 - math.exp(-dt / self.tau_s))
        self.hottest_C = max(self.hottest_C, self.temperature_C)


class EurothermRtu(EurothermFurnace):
    """The same controller on a serial line: unit, request, CRC; what has a wrong CRC is not heard.

    Args:
        unit: device id on the line. The rest as for ``EurothermFurnace``.
    """

    def __init__(self, dial: FaultDial | None = None, *, unit: int = 1, **settings: float) -> None:
        super().__init__(dial, **settings)  # type: ignore[arg-type]
        self.unit = unit

    def split(self, buffer: bytes) -> tuple[bytes | None, bytes]:
        """One RTU frame. A pseudo-terminal knows no pauses: what does not begin a frame is skipped byte by byte."""
        while len(buffer) >= 8:
            length = 9 + buffer[6] if buffer[1] == 16 else 8
            if len(buffer) < length and buffer[0] == self.unit:
                break
            if crc16(buffer[: length - 2]) == buffer[length - 2 : length]:
                return buffer[:length], buffer[length:]
            buffer = buffer[1:]
        return None, buffer

    def acts(self, request: bytes) -> bool:
        """Function codes 6 and 16 write."""
        return request[1:2] in (b"\x06", b"\x10")

    def respond(self, request: bytes) -> bytes | None:
        """As in Modbus TCP; silence for another unit."""
        if request[0] != self.unit:
            return None
        frame = request[:1] + self.answer(request[1:-2])
        return frame + crc16(frame)


def crc16(frame: bytes) -> bytes:
    """The CRC of Modbus RTU (polynomial 0xA001, start 0xFFFF), low byte first."""
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
    return struct.pack("<H", crc)
