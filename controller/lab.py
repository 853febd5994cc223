"""What a lab is: its instruments, its envelope, its policies. In a file of its own, or in a campaign for a lab of one.

A lab file serves many campaigns; see ``docs/lab.md``. A campaign may be stricter than its lab and never laxer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from controller.errors import CampaignError
from controller.safety import Safety
from controller.source import Source
from instruments.limits import Envelope

FILE = "lab.yaml"
OPERATOR = "operator"
"""Name of the key that every lab has for the people who may stop it."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Instrument(Envelope):
    """One instrument: its driver and the driver's settings; ``limits`` and ``allowed`` are its own, inside the lab's.

    Attributes:
        remote: its host is started by hand on another machine (``athanor lab host-config``).
        slots: samples that may lie in it; ``None``: as many as the largest batch that it announces.
    """

    driver: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    remote: bool = False
    slots: int | None = Field(default=None, ge=1, le=1000)

    @model_validator(mode="after")
    def _driver_is_named(self) -> Instrument:
        if not self.driver and not self.remote:
            raise ValueError("driver is missing: name one, or say remote: true where its host runs elsewhere")
        return self


class Policies(_Section):
    """What is decided without a person.

    Attributes:
        unknown: capability -> verdict on a command of unknown outcome; only for capabilities that the instruments
            announce as idempotent.
    """

    unknown: dict[str, Literal["repeat", "failed", "discard"]] = Field(default_factory=dict)


class Lab(_Section):
    """The instruments and how a campaign uses them.

    Attributes:
        clock: ``simulated`` (instruments report how long they would have taken, and the campaign lives in that time) or
            ``wall``.
        listen: where the controller listens for its hosts; the stop channel has the next port.
        policies: what is decided without a person.
        queue: experiments kept planned and waiting for their first instrument, so that it never waits.
        max_rounds: measurements of one step, when the gate refuses a reading of an idempotent step.
        stop_failed_synthesis: skip the remaining steps once a constraint is measured and violated.
        max_faults: faults in a row after which an instrument is out of service.
        timeout_s: wall seconds without a sign of life from an instrument host before the campaign gives up on it.
        storage: places to put samples down between steps, one for each sample in the lab; ``None``: no limit.
        scheduler: ``plain`` (a rule), ``optimal`` (OR-Tools CP-SAT), or ``auto``: optimal where batches make it pay.
    """

    clock: Literal["simulated", "wall"] = "wall"
    listen: str = Field(default="tcp://127.0.0.1:*", pattern=r"^tcp://.+:(\*|\d+)$")
    instruments: dict[str, Instrument] = Field(min_length=1)
    policies: Policies = Policies()
    queue: int = Field(default=1, ge=1, le=1000)
    max_rounds: int = Field(default=3, ge=1, le=20)
    stop_failed_synthesis: bool = True
    max_faults: int = Field(default=3, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    storage: int | None = Field(default=None, ge=1)
    scheduler: Literal["plain", "optimal", "auto"] = "auto"

    @model_validator(mode="after")
    def _names_are_free(self) -> Lab:
        for name in ("controller", OPERATOR):
            if name in self.instruments:
                raise ValueError(f"instruments: {name!r} is the name of a key of ours; choose another")
        return self


class LabFile(Lab):
    """A whole ``lab.yaml``."""

    athanor_lab: Literal[1] = 1
    name: str = Field(default="lab", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    description: str = ""
    safety: Safety = Safety()

    @model_validator(mode="after")
    def _instruments_are_inside(self) -> LabFile:
        for name, instrument in self.instruments.items():
            try:
                instrument.within(self.safety)
            except ValueError as error:
                raise ValueError(f"instruments.{name} and safety: {error}") from None
        return self


def parse_lab(text: str, where: str) -> LabFile:
    """Check the text of a lab file. Raises CampaignError with one line a problem, each with its line and the fix."""
    return Source(text, where, what="lab").check(LabFile)


def load_lab(path: Path) -> tuple[LabFile, Source]:
    """Read and check a lab file, or the one in a lab's folder. Raises CampaignError."""
    source = Source.read(path / FILE if path.is_dir() else path, what="lab")
    return source.check(LabFile), source


def own_envelope(lab: Lab, safety: Safety, name: str) -> Envelope:
    """What the host of an instrument refuses to exceed: the lab's envelope and the instrument's own.

    Args:
        lab: the lab.
        safety: of the campaign, which counts where the lab is the campaign's own: hosts of a lab file serve others too.
        name: the instrument's.

    Raises:
        CampaignError: the two leave nothing of a parameter.
    """
    around = lab.safety if isinstance(lab, LabFile) else safety
    try:
        return lab.instruments[name].within(around)
    except (ValueError, ValidationError) as error:
        raise CampaignError(f"lab.instruments.{name} and safety: {error}. Let them overlap.") from error
