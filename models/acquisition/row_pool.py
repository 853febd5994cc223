"""The rows of an array as a campaign's pool, and a campaign's acquisition as a planner over such rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.candidate import Candidate
from models.errors import UnknownNameError
from models.observation import Objective, Observation
from models.roles import Acquisition


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


class _CampaignPlanner:
    """An acquisition with its defaults, asked for one row at a time."""

    def __init__(self, X: np.ndarray, feature_names: list[str], seed: int) -> None:
        self._pool, self._seed, self._acquisition = RowPool(X, feature_names), seed, self.acquisition()

    def acquisition(self) -> Acquisition:
        """The one to ask, which maximises ``y``."""
        raise NotImplementedError

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Return the acquisition's choice."""
        seen = [
            Observation(experiment=f"E{k}", candidate=self._pool[row], values={"y": float(value)}, outcome="measured")
            for k, (row, value) in enumerate(zip(observed, y, strict=True))
        ]
        waiting = [self._pool[row] for row in pending]
        (choice,) = self._acquisition.choose(self._pool, seen, waiting, 1, seed=1000 * self._seed + len(seen))
        return row_of(choice.candidate)


class ParetoPlanner(_CampaignPlanner):
    """What campaigns choose by unless told otherwise: ``acquisition: {name: pareto}``."""

    def acquisition(self) -> Acquisition:
        """Expected improvement."""
        from models.acquisition.bayes import BayesAcquisition

        return BayesAcquisition([Objective(name="y")], initial=1)


class TopPlanner(_CampaignPlanner):
    """``acquisition: {name: top}`` of a campaign."""

    def acquisition(self) -> Acquisition:
        """Probability to be among the best 5 %."""
        from models.acquisition.top import TopAcquisition

        return TopAcquisition([Objective(name="y")], initial=1)
