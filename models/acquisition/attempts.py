"""The next attempt at every target that is not made yet: which to try is settled, how is the planner's affair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from models.acquisition.problem import data_hash
from models.candidate import Candidate
from models.errors import DataError
from models.observation import Choice, Constraint, Objective, Observation
from models.outcome import is_feasible
from models.roles import Pool


class AttemptsAcquisition:
    """Chooses for each target its next attempt, until one has met all constraints or none is left.

    The space has a row an attempt; what is to be made stands in one parameter, the number of the attempt in another. A
    target has one attempt under way at a time, so that each is planned with what the one before has taught; targets
    with fewer attempts come first.

    Args:
        objectives, constraints: of the campaign; a target is made where all are known and hold.
        target: parameter that says what is made.
        attempt: parameter with the number of the attempt.
    """

    waits = True
    """No choice may mean that all targets are under way: it is asked again when one comes back."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        target: str = "target",
        attempt: str = "attempt",
    ) -> None:
        self.objectives, self.constraints = tuple(objectives), tuple(constraints)
        self.target, self.attempt = target, attempt

    def choose(
        self, pool: Pool, observations: Sequence[Observation], pending: Sequence[Candidate], q: int, *, seed: int
    ) -> list[Choice]:
        """Return up to ``q`` attempts, one a target. Raises DataError where a row lacks one of the two parameters."""
        made = {self._named(o.candidate) for o in observations if is_feasible(o, self.objectives, self.constraints)}
        busy = {self._named(candidate) for candidate in pending}
        taken = {o.candidate.id for o in observations} | {candidate.id for candidate in pending}
        done: dict[str, int] = defaultdict(int)
        for observation in observations:
            done[self._named(observation.candidate)] += 1
        left: dict[str, list[tuple[float, int]]] = defaultdict(list)
        rows = [pool[row] for row in range(len(pool))]
        for row, candidate in enumerate(rows):
            if candidate.id not in taken:
                left[self._named(candidate)].append((float(candidate.parameters[self.attempt]), row))
        open_targets = [name for name in left if name not in made and name not in busy]
        # Among equals in the order of the table, whatever order the pool has: ids of rows are numbered.
        first = {name: min((len(rows[row].id), rows[row].id) for _, row in left[name]) for name in open_targets}
        open_targets.sort(key=lambda name: (done[name], first[name]))
        seen = data_hash(pool, observations, pending)
        return [
            Choice(candidate=rows[min(left[name])[1]], value=-float(done[name]), method="next-attempt", data_hash=seen)
            for name in open_targets[:q]
        ]

    def _named(self, candidate: Candidate) -> str:
        missing = [name for name in (self.target, self.attempt) if name not in candidate.parameters]
        if missing:
            raise DataError(
                f"{candidate.id} has no parameter {missing[0]!r}: acquisition 'attempts' needs a table with a row an "
                "attempt; name its columns under target and attempt"
            )
        return str(candidate.parameters[self.target])
