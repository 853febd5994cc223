"""A planner and an acquisition for fault tests: light, deterministic, and sensitive to every observation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from models.candidate import Candidate, digest
from models.observation import Choice, Constraint, Objective, Observation
from models.roles import Pool
from models.route import Operation, Route


class FireAndGauge:
    """Two steps: fire, then gauge."""

    def plan(self, candidate: Candidate) -> list[Route]:
        parameters = {"x": float(candidate.parameters["x"])}
        fire = Operation(capability="fire", parameters=parameters, quantities=("shrinkage_pct",))
        gauge = Operation(capability="gauge", parameters=parameters, quantities=("strength_MPa",))
        return [Route(candidate=candidate.id, operations=(fire, gauge), reason="fire, then gauge")]


class Butterfly:
    """Chooses by a hash of everything it is told: one lost or different reading and all later choices differ."""

    def __init__(self, objectives: list[Objective], constraints: list[Constraint]) -> None:
        pass

    def choose(
        self, pool: Pool, observations: Sequence[Observation], pending: Sequence[Candidate], q: int, *, seed: int
    ) -> list[Choice]:
        seen = digest([[o.model_dump(mode="json") for o in observations], [c.id for c in pending], seed])
        taken = {o.candidate.id for o in observations} | {c.id for c in pending}
        free = [i for i in range(len(pool)) if pool[i].id not in taken]
        free.sort(key=lambda i: hashlib.sha256(f"{seen}{i}".encode()).digest())
        return [Choice(candidate=pool[i], value=0.0, method="butterfly", data_hash=seen) for i in free[:q]]
