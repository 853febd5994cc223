"""A balance that speaks MT-SICS (Mettler-Toledo and others) over TCP or serial."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.drivers.base import RealInstrument, Silent
from instruments.drivers.line import Line
from instruments.errors import InstrumentFault, LabError, Refused

GRAMS = {"g": 1.0, "mg": 1e-3, "kg": 1e3, "ug": 1e-6, "µg": 1e-6}
REASONS = {
    "I": "the balance is busy or the pan does not come to rest",
    "+": "too heavy for the balance",
    "-": "lighter than an empty pan: is the pan on it?",
    "L": "the balance does not know a parameter of the command",
}


class MtSicsBalance(RealInstrument):
    """Capabilities ``weigh`` (reading ``mass_g``, once the pan is at rest), ``tare`` and ``zero``.

    A weighing asks ``SI`` until the balance calls the value stable: unlike ``S`` that never leaves a question open, so
    a stop comes through at once.

    Settings:
        address: ``tcp://host:4305`` or ``serial:///dev/ttyUSB0?baud=9600``.
        max_mass_g: what the balance may report.
        serial_number: what ``I4`` must answer; checked before each command, so that a swapped cable is noticed.
        rest_s: how long to wait for the pan to come to rest; then the measurement has failed.
        poll_s: between two questions. timeout_s: for one answer.
    """

    name = "balance"

    def __init__(
        self,
        *,
        workdir: Path,
        address: str,
        max_mass_g: float = 220.0,
        serial_number: str = "",
        rest_s: float = 30.0,
        poll_s: float = 0.2,
        timeout_s: float = 2.0,
    ) -> None:
        super().__init__(workdir=workdir)
        if address.startswith("visa"):
            raise LabError(f"address {address!r}: a balance speaks tcp:// or serial://")
        self.line = Line(address, end="\r\n", timeout_s=timeout_s)
        self.max_mass_g, self.serial_number = max_mass_g, serial_number
        self.rest_s, self.poll_s = rest_s, poll_s

    def capabilities(self) -> list[Capability]:
        """``weigh`` is idempotent; taring and zeroing change what later weighings mean."""
        mass = {"mass_g": Limit(-self.max_mass_g, self.max_mass_g)}
        return [
            Capability("weigh", quantities=mass, idempotent=True),
            Capability("tare", quantities={"tare_g": Limit(-self.max_mass_g, self.max_mass_g)}),
            Capability("zero"),
        ]

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """Check who is there, then weigh, tare or zero."""
        begun = time.monotonic()
        if self.serial_number and self.serial_number != (found := self._serial_number()):
            raise Refused(f"{self.line.address} is balance {found}, not {self.serial_number}: look at the cables")
        if job.capability == "weigh":
            readings = {"mass_g": self._rest(progress)}
        else:
            self._rest(progress)
            self.notes.put(job.command_id, phase="acting", tare_before_g=self._tare_memory())
            self.check_stop()
            if job.capability == "tare":
                readings = {"tare_g": self._mass("T", self._ask("T"))[1]}
            else:
                readings = {}
                answer = self._ask("Z")
                if answer[:2] != ["Z", "A"]:
                    raise Refused(f"Z was answered {' '.join(answer)}: {_reason(answer)}")
        return Outcome("ok", readings, duration_s=time.monotonic() - begun)

    def look(self, job: Job, note: Mapping[str, Any]) -> Outcome | None:
        """A tare memory that has changed proves a taring; one that has not proves nothing."""
        if note["phase"] == "begun":
            return Outcome("untouched", message="the balance was not yet tared or zeroed")
        now_g = self._tare_memory()
        if job.capability == "tare" and now_g != note["tare_before_g"]:
            return Outcome("ok", {"tare_g": now_g}, message="the balance's tare memory has changed")
        return None

    def close(self) -> None:
        """Close the line."""
        self.line.close()

    def facts(self) -> dict[str, Any]:
        """What is on the pan now."""
        stable, mass_g = self._mass("SI", self._ask("SI"))
        return {"mass_g": mass_g, "stable": stable}

    def _rest(self, progress: Progress) -> float:
        """The mass in grams once it is stable."""
        end = time.monotonic() + self.rest_s
        while True:
            self.check_stop()
            answer = self._ask("SI")
            busy = answer[:2] == ["S", "I"]
            stable, mass_g = (False, math.nan) if busy else self._mass("SI", answer)
            if stable:
                return mass_g
            if time.monotonic() > end:
                raise Refused(f"the pan did not come to rest in {self.rest_s:g} s: draught, vibration, static charge?")
            progress(0.5, "busy" if busy else f"{mass_g:.4f} g, moving")
            self.wait(self.poll_s)

    def _tare_memory(self) -> float:
        return self._mass("TA", self._ask("TA"))[1]

    def _serial_number(self) -> str:
        return " ".join(self._ask("I4")[2:]).strip('"')

    def _ask(self, command: str) -> list[str]:
        with self.wire:
            answer = self.line.ask(command).split()
            # Every answer begins with its command (SI's with S): one that does not belongs to an earlier question.
            if not answer or answer[0] not in (command, command[:1], "ES", "ET", "EL"):
                self.line.close()
                raise Silent(f"{command} was answered {' '.join(answer)!r}; the line was closed, ask again")
        if answer[0] in ("ES", "ET", "EL"):
            kind = {"ES": "does not know it", "ET": "did not understand it", "EL": "cannot do it now"}[answer[0]]
            raise InstrumentFault(f"{command} was answered {answer[0]}: the balance {kind}")
        return answer

    def _mass(self, command: str, answer: list[str]) -> tuple[bool, float]:
        """``(stable, grams)`` of ``S S 1.2345 g``. Raises Refused for overload and the like."""
        if len(answer) == 2 and answer[1] in REASONS:
            raise Refused(f"{command} was answered {' '.join(answer)}: {_reason(answer)}")
        try:
            _, state, value, unit = answer
            return state in ("S", "A"), float(value) * GRAMS[unit]
        except (ValueError, KeyError):
            self.line.close()
            raise InstrumentFault(f"{command} was answered {' '.join(answer)!r}, which is no weight in grams") from None


def _reason(answer: list[str]) -> str:
    return REASONS.get(answer[1] if len(answer) > 1 else "", "the balance did not do it")
