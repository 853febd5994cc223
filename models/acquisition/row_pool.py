"""The rows of an array as a campaign's pool, and a campaign's acquisition as a planner over such rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.candidate import Candidate
from models.errors import UnknownNameError
from models.observation import Objective, Observation
from models.registry import resolve


class RowPool:
    """Candidates ``row-0``, ``row-1``, ... with features of shape (n, d)."""

    def __init__(self, X: np.ndarray, feature_names: Sequence[str]) -> None:
        self.features, self.feature_names = X, tuple(feature_names)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Candidate:
        return Candidate(id=f"row-{index}")

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Features of some of the candidates, shape (k, d)."""
        return self.features[[row_of(c) for c in candidates]]

    def computed(self, name: str) -> np.ndarray:
        """Raise UnknownNameError: nothing is computed here."""
        raise UnknownNameError(f"{name} must be measured: nothing is computed here")


def row_of(candidate: Candidate) -> int:
    """Row of a candidate of a ``RowPool``."""
    return int(candidate.id.removeprefix("row-"))


class AskedAcquisition:
    """A campaign's acquisition over the rows of an array.

    Args:
        name: of the acquisition, as in a campaign file.
        objectives: measured ones.
        X, feature_names: of the rows, (n, d).
    """

    def __init__(self, name: str, objectives: Sequence[Objective], X: np.ndarray, feature_names: Sequence[str]) -> None:
        self._pool, self._names = RowPool(X, feature_names), [o.name for o in objectives]
        self._acquisition = resolve("acquisitions", name)(objectives, initial=1)

    def rows(self, observed: Sequence[int], Y: np.ndarray, pending: Sequence[int], q: int, seed: int) -> list[int]:
        """Return the next ``q`` rows, after (k, m) values ``Y`` were measured at ``observed``."""
        seen = [
            Observation(
                experiment=f"E{k}",
                candidate=self._pool[row],
                values=dict(zip(self._names, map(float, y), strict=True)),
                outcome="measured",
            )
            for k, (row, y) in enumerate(zip(observed, Y, strict=True))
        ]
        waiting = [self._pool[row] for row in pending]
        return [row_of(c.candidate) for c in self._acquisition.choose(self._pool, seen, waiting, q, seed=seed)]


class ParetoPlanner:
    """What campaigns choose by unless told otherwise, ``acquisition: {name: pareto}``, with its defaults."""

    name = "pareto"

    def __init__(self, X: np.ndarray, feature_names: list[str], seed: int) -> None:
        self._asked, self._seed = AskedAcquisition(self.name, [Objective(name="y")], X, feature_names), seed

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Return the acquisition's choice."""
        seed = 1000 * self._seed + len(observed)
        return self._asked.rows(observed, np.asarray(y, dtype=float).reshape(-1, 1), pending, 1, seed)[0]


class TopPlanner(ParetoPlanner):
    """``acquisition: {name: top}``."""

    name = "top"
