"""A balance that answers MT-SICS levels 0 and 1."""

from __future__ import annotations

import math
import time

from instruments.simulators.dial import FaultDial
from instruments.simulators.server import split_line


class Balance:
    """A pan that comes to rest ``settle_s`` after ``put``. On the dial, ``nan`` is a pan that never rests (``S I``)."""

    def __init__(
        self,
        dial: FaultDial | None = None,
        *,
        max_g: float = 220.0,
        settle_s: float = 0.0,
        serial_number: str = "B021002593",
    ):
        self.dial = dial or FaultDial()
        self.max_g, self.settle_s, self.serial_number = max_g, settle_s, serial_number
        self.load_g, self.zero_g, self.tare_g = 0.0, 0.0, 0.0
        self.acted: list[str] = []
        self._moved = -math.inf

    def put(self, load_g: float) -> None:
        """Put a load on the pan."""
        self.load_g, self._moved = load_g, time.monotonic()

    def split(self, buffer: bytes) -> tuple[bytes | None, bytes]:
        """One line."""
        return split_line(buffer)

    def acts(self, request: bytes) -> bool:
        """Zero, tare, reset."""
        return request.strip() in (b"Z", b"T", b"@")

    def respond(self, request: bytes) -> bytes:
        """``S SI Z T TA I4 @``; the rest is ``ES``."""
        return (self._answer(request.decode("ascii", "replace").strip()) + "\r\n").encode()

    def _answer(self, command: str) -> str:
        if command in ("I4", "@"):
            return f'I4 A "{self.serial_number}"'
        if command == "TA":
            return f"TA A {self.tare_g:10.4f} g"
        if command not in ("S", "SI", "Z", "T"):
            return "ES"
        gross_g = self.dial.reading(self.load_g - self.zero_g, "mass")
        letter = "S" if command == "SI" else command
        if math.isnan(gross_g):
            return f"{letter} I"
        if not -1 <= gross_g <= self.max_g:
            return f"{letter} {'+' if gross_g > 0 else '-'}"
        resting = time.monotonic() - self._moved >= self.settle_s
        if command == "SI":
            return f"S {'S' if resting else 'D'} {gross_g - self.tare_g:10.4f} g"
        if not resting:
            return f"{letter} I"
        if command == "S":
            return f"S S {gross_g - self.tare_g:10.4f} g"
        self.acted.append(command)
        if command == "Z":
            self.zero_g, self.tare_g = self.load_g, 0.0
            return "Z A"
        self.tare_g = gross_g
        return f"T S {self.tare_g:10.4f} g"
