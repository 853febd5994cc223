"""Errors of the instrument floor. Each carries ids and says what to do next."""

from __future__ import annotations

from typing import Any


class InstrumentError(Exception):
    """Base of every error raised in ``instruments``."""


CANNOT_RECORD = "the ledger cannot record the start"
"""Begins the reason of a refusal that is about the host's disk and not about the command: make room and try again."""


class Refused(InstrumentError):
    """An instrument refused a command before acting; nothing physical happened."""


class Fenced(Refused):
    """A controller with a higher epoch has the lab; this one's commands are refused by every instrument.

    What an instrument had accepted before it still carries out, and reports to whoever has the lab and asks.
    """


class ProtocolError(InstrumentError):
    """A message does not follow the protocol; it was dropped and nothing physical happened."""


class InstrumentFault(InstrumentError):
    """An instrument is broken or stopped; it needs repair before it takes another command."""


class LabError(InstrumentError):
    """The lab files (keys, registry, ledgers) are missing or unusable; the message says which command makes them."""


class OutcomeUnknown(InstrumentError):
    """A command was started and nobody can tell what came of it; quarantine the sample until a person decides.

    Attributes:
        command_id: which command.
        evidence: what is known, in words.
        facts: what the instrument's driver last said of itself.
    """

    def __init__(self, command_id: str, evidence: str, facts: dict[str, Any] | None = None):
        super().__init__(f"outcome of command {command_id} is unknown: {evidence}; the sample needs a person's verdict")
        self.command_id, self.evidence, self.facts = command_id, evidence, facts or {}


class InstrumentLost(InstrumentError):
    """The host of an instrument has been silent for too long; the command may or may not have been executed."""
