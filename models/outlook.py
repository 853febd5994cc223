"""What a choice is told of the laboratory: which instruments are free when, and what is left of the budget."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field


class Bench(BaseModel):
    """One instrument in service: what it can do, and in how many hours it is expected to be free; 0: it is idle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    capabilities: tuple[str, ...]
    free_in_h: float = Field(default=0.0, ge=0)


class Outlook(BaseModel):
    """The laboratory at the moment of a choice.

    Attributes:
        instruments: those in service, by name.
        budget_left: share of the scarcest budget (experiments, hours) that is not used, 0..1.
        hours_left: lab hours that are left; ``None``: no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    instruments: dict[str, Bench] = Field(default_factory=dict)
    budget_left: float = Field(default=1.0, ge=0, le=1)
    hours_left: float | None = None

    @property
    def idle(self) -> tuple[str, ...]:
        """Names of the instruments that have nothing to do."""
        return tuple(name for name, bench in self.instruments.items() if bench.free_in_h == 0)

    def wait_h(self, capability: str) -> float:
        """Hours until somebody who offers a capability is free; 0 where nobody is known to offer it."""
        waits = [bench.free_in_h for bench in self.instruments.values() if capability in bench.capabilities]
        return min(waits, default=0.0) if waits else 0.0

    def fits(self, hours: float) -> bool:
        """True where something of this length can end within the budget."""
        return hours <= (math.inf if self.hours_left is None else self.hours_left)
