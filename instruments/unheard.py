"""The reports of an instrument that the controller has not acknowledged: each is sent again, ever more rarely."""

from __future__ import annotations

import math
from dataclasses import dataclass

from instruments.ledger import Ledger
from instruments.messages import Report

RESEND_S, RESEND_MAX_S = 1.0, 15.0


@dataclass
class _Next:
    due: float = 0.0
    wait_s: float = RESEND_S


class Unheard:
    """Which reports are to be sent, and when. Times are the caller's clock, in s.

    Args:
        ledger: of the instrument; what it has unacknowledged is due at once.
    """

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._next: dict[str, _Next] = {}
        self._unstored: dict[str, Report] = {}
        self.look()

    def look(self) -> None:
        """Take over what the ledger has, besides what is known."""
        for command_id in self._ledger.unacknowledged():
            self._next.setdefault(command_id, _Next())

    def add(self, report: Report, *, stored: bool) -> None:
        """A report has been made. Where the ledger could not store it, it is kept here until it is added again."""
        if stored:
            self._unstored.pop(report.command_id, None)
        else:
            self._unstored[report.command_id] = report
        self._next.setdefault(report.command_id, _Next())

    def acknowledged(self, command_id: str) -> None:
        """The controller has it. One that is not stored yet will be sent, and acknowledged, again when it is."""
        if command_id not in self._unstored:
            self._next.pop(command_id, None)
            self._ledger.acknowledge(command_id)

    def find(self, command_id: str) -> Report | None:
        """Return a command's report, stored or not; None where it has none."""
        return self._unstored.get(command_id) or self._ledger.report(command_id)

    def sent(self, command_id: str, now: float) -> None:
        """It has left, which does not mean that it arrives."""
        if entry := self._next.get(command_id):
            entry.due, entry.wait_s = now + entry.wait_s, min(2 * entry.wait_s, RESEND_MAX_S)

    def due(self, now: float) -> list[str]:
        """Return the commands whose reports are to be sent now."""
        return [command_id for command_id, entry in self._next.items() if now >= entry.due]

    @property
    def next_due(self) -> float:
        """When the next one is to be sent; infinite where there is none."""
        return min((entry.due for entry in self._next.values()), default=math.inf)
