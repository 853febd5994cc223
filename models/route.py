"""Chemistry's plan: a Route of operations. The planner actor compiles it into a Recipe for a given lab."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Operation(BaseModel):
    """One operation of a route.

    Attributes:
        capability: what an instrument must be able to do (``arc_melt``, ``diffract``, ``magnetometry``, ``measure``).
        parameters: JSON-like arguments with the unit in the key (``anneal_temperature_C``).
        quantities: names of the readings that this operation is expected to report.
        max_wait_h: longest time in hours between the end of this operation and the begin of the next one (a slurry
            that dries, an intermediate that takes up water); ``None``: it keeps.
    """

    model_config = ConfigDict(frozen=True)

    capability: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    quantities: tuple[str, ...] = ()
    max_wait_h: float | None = Field(default=None, ge=0)


class Interval(BaseModel):
    """A believed value between two bounds that hold it nine times of ten."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float


class Hazard(BaseModel):
    """A danger of a route and what follows from it (``models.synthesis.hazards`` finds them).

    Attributes:
        material: what is dangerous, as on the bottle; several where they must not meet.
        verdict: ``refuse``: never; ``ask``: only after a person has approved; ``note``: handle with the usual care.
        words: why, for a person.
        codes: GHS hazard statements.
    """

    model_config = ConfigDict(frozen=True)

    material: str
    verdict: Literal["refuse", "ask", "note"]
    words: str
    codes: tuple[str, ...] = ()


class Route(BaseModel):
    """How to make and measure one candidate.

    Attributes:
        candidate: id of the candidate.
        precursors_g: what is weighed, formula -> grams; empty where nothing is weighed.
        operations: in order.
        reason: why this route, in words and numbers that a chemist can argue with.
        score: higher is better; routes come best first.
        target: reduced formula of what is to be made; empty where no chemistry is planned.
        precursors: reduced formulas of what it is made from (a paper names them without amounts), sorted.
        temperature_C: highest temperature of the synthesis.
        hours: at this temperature.
        atmosphere: ``air``, ``O2``, ``N2``, ``Ar``, ``H2/N2``, ``vacuum``; empty: not known.
        numbers: what speaks for and against the route, the unit in the name (``reaction_energy_eV_per_atom``).
        hazards: what is dangerous about it, as far as its planner has looked.
    """

    model_config = ConfigDict(frozen=True)

    candidate: str
    precursors_g: dict[str, float] = Field(default_factory=dict)
    operations: tuple[Operation, ...]
    reason: str
    score: float = 0.0
    target: str = ""
    precursors: tuple[str, ...] = ()
    temperature_C: Interval | None = None
    hours: Interval | None = None
    atmosphere: str = ""
    numbers: dict[str, float] = Field(default_factory=dict)
    hazards: tuple[Hazard, ...] = ()
