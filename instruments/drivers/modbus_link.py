"""Holding registers over Modbus TCP or RTU, and the count of writes that wear a controller's memory out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from instruments.drivers.base import Silent, need
from instruments.errors import InstrumentFault, LabError, Refused
from instruments.files import write_whole

READ_TRIES = 3


class ModbusLink:
    """One controller on a Modbus line. Opens when first used and again after every silence.

    A read is asked ``READ_TRIES`` times. A write is sent once and never repeated here: ``put`` reads back and decides.

    Args:
        host: of a Modbus TCP device, or
        serial_port: of a Modbus RTU line (``/dev/ttyUSB0``), with ``baud`` and ``parity``.
        port: TCP port.
        unit: device id on the line.
        timeout_s: of one exchange.

    Raises:
        LabError: pymodbus is not installed, or neither or both of host and serial port are given.
    """

    def __init__(
        self,
        *,
        host: str = "",
        serial_port: str = "",
        port: int = 502,
        unit: int = 1,
        timeout_s: float = 1.0,
        baud: int = 9600,
        parity: str = "N",
    ):
        if bool(host) == bool(serial_port):
            raise LabError("give either host (Modbus TCP) or serial_port (Modbus RTU)")
        library = need("pymodbus.client", "modbus")
        self.where = f"{host}:{port}" if host else serial_port
        self._unit = unit
        self._errors: type[Exception] = need("pymodbus.exceptions", "modbus").ModbusException
        if host:
            self._client: Any = library.ModbusTcpClient(host, port=port, timeout=timeout_s, retries=0)
        else:
            self._client = library.ModbusSerialClient(
                serial_port, baudrate=baud, parity=parity, timeout=timeout_s, retries=0
            )
        self._one = threading.RLock()

    def read(self, address: int, count: int = 1) -> list[int]:
        """Signed 16-bit words. Raises InstrumentFault where the device is silent or answers an exception."""
        for left in reversed(range(READ_TRIES)):
            try:
                answer = self._exchange("read", address, self._client.read_holding_registers, address, count=count)
                if len(answer.registers) == count:
                    return [word - 0x10000 if word > 0x7FFF else word for word in answer.registers]
                self.close()
                raise Silent(f"{self.where}: {len(answer.registers)} registers at {address} instead of {count}")
            except Silent:
                if not left:
                    raise
        raise Silent(f"{self.where}: register {address} cannot be read")

    def write(self, address: int, value: int) -> None:
        """Write one signed word, once. Raises Refused where the device forbids it, Silent where it does not answer."""
        self._exchange("write", address, self._client.write_register, address, value & 0xFFFF)

    def put(self, address: int, value: int, before: Callable[[int], None] = lambda address: None) -> None:
        """Make a register hold ``value``: nothing is written where it does, and a lost answer is settled by reading.

        ``before`` is called with the address ahead of every write (a write budget counts there).
        """
        for left in reversed(range(READ_TRIES)):
            if self.read(address)[0] == value:
                return
            before(address)
            try:
                return self.write(address, value)
            except Silent:
                if not left:
                    raise

    def close(self) -> None:
        """Close the connection; the next exchange opens a new one, so that no late answer is taken for another."""
        with self._one:
            self._client.close()

    def _exchange(self, verb: str, address: int, call: Any, *arguments: Any, **options: Any) -> Any:
        with self._one:
            try:
                if not self._client.connected and not self._client.connect():
                    raise Silent(f"no Modbus device answers at {self.where}; look at its power and its cable")
                answer = call(*arguments, device_id=self._unit, **options)
            except (self._errors, OSError) as error:
                self.close()
                raise Silent(f"{self.where}: no answer to a {verb} of register {address} ({error})") from None
            if answer.isError():  # pymodbus returns errors
                code: Any = getattr(answer, "exception_code", "?")
                meaning = {1: "illegal function", 2: "no such register", 3: "illegal value"}.get(code, "exception")
                kind = Refused if verb == "write" and code == 3 else InstrumentFault
                raise kind(f"{self.where}: {verb} of register {address} answered exception {code} ({meaning})")
            return answer


class WriteBudget:
    """Counts writes to each register for the life of the device; the count is on disk before the write is sent.

    Args:
        path: the file; keep it for as long as the device lives.
        lifetime: writes that one register bears (Eurotherm 3200: about 100,000 to addresses 2, 24 and 25).
        reserve: of these kept for the safe state.

    Raises:
        LabError: the file exists and cannot be read.
    """

    def __init__(self, path: Path, *, lifetime: int = 100_000, reserve: int = 1_000):
        self.path, self.lifetime, self.reserve = path, lifetime, reserve
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
            self._used = {int(address): int(count) for address, count in found.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise LabError(f"cannot read the write budget {path} ({error}); restore it from a backup") from None

    def left(self) -> int:
        """Writes left of the most used register, without the reserve."""
        return self.lifetime - self.reserve - max(self._used.values(), default=0)

    def used(self, address: int) -> int:
        """Writes of one register so far."""
        return self._used.get(address, 0)

    def check(self, writes: int) -> None:
        """Raise Refused where so many writes to one register would exceed what it bears."""
        if writes > self.left():
            raise Refused(
                f"{writes} setpoint writes needed and {max(0, self.left())} left of {self.lifetime}: the controller's "
                "memory is worn; use ramp: remote, or replace the controller and remove " + str(self.path)
            )

    def spend(self, address: int) -> None:
        """Count one write; call it before the write."""
        self._used[address] = self.used(address) + 1
        write_whole(self.path, json.dumps({str(k): v for k, v in self._used.items()}))
