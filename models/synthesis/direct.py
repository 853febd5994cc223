"""No chemistry at all: the candidate's parameters, and its crystal, go to one instrument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.candidate import Candidate
from models.route import Operation, Route


class DirectPlanner:
    """One operation that sets the dials and measures: tables, functions, flow reactors with their own controller.

    A candidate with a crystal brings it as ``target``: an atomistic calculator measures it like any sample.
    """

    def __init__(self, capability: str = "measure", quantities: Sequence[str] = ()):
        self.capability = capability
        self.quantities = tuple(quantities)

    def plan(self, candidate: Candidate) -> list[Route]:
        """Return the one route; ``parameters`` of its operation nests the candidate's own."""
        told: dict[str, Any] = {"candidate": candidate.id, "parameters": dict(candidate.parameters)}
        if candidate.crystal is not None:
            told["target"] = {"formula": candidate.formula, **candidate.crystal.model_dump(mode="json")}
        operation = Operation(capability=self.capability, parameters=told, quantities=self.quantities)
        settings = ", ".join(f"{name} = {value}" for name, value in candidate.parameters.items())
        return [
            Route(candidate=candidate.id, operations=(operation,), reason=f"set {settings or candidate.id} and measure")
        ]
