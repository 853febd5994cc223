"""The candidates at hand: a growing part of a space, as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.candidate import Candidate
from models.errors import DataError
from models.quantities import compute, computed
from models.spaces.base import EnumerableSpace, Space


class CandidatePool:
    """Candidates of one space with their features (``roles.Pool``).

    Of a countable space it keeps numbers, and makes a candidate when it is asked for; of a continuous one it keeps the
    candidates. ``absorb`` adds in order and drops what it already holds.
    """

    def __init__(self, space: Space | EnumerableSpace):
        self.space = space
        self.feature_names: tuple[str, ...] = space.feature_names
        self._countable = space if isinstance(space, EnumerableSpace) else None
        self._indices = np.zeros(0, dtype=np.int64)
        self._candidates: list[Candidate] = []
        self._places: dict[int | str, int] = {}
        self._features = np.zeros((0, len(space.feature_names)))

    def absorb(self, block: np.ndarray | Sequence[Candidate]) -> int:
        """Add numbers (countable space) or candidates; return how many were new.

        Raises:
            DataError: numbers for a space that has none.
        """
        if self._countable is None:
            if isinstance(block, np.ndarray):
                raise DataError("this space is not countable: absorb candidates, not numbers")
            new = [c for c in {c.id: c for c in block}.values() if c.id not in self._places]
            self._places.update({c.id: len(self._candidates) + k for k, c in enumerate(new)})
            self._candidates += new
            self._append(self.space.featurize(new))
            return len(new)
        numbers = (
            np.asarray(block, dtype=np.int64)
            if isinstance(block, np.ndarray)
            else np.array([self._countable.index_of(c) for c in block], dtype=np.int64)
        )
        fresh = np.array([i for i in dict.fromkeys(numbers.tolist()) if i not in self._places], dtype=np.int64)
        self._places.update({i: len(self._indices) + k for k, i in enumerate(fresh.tolist())})
        self._append(self._countable.features_at(fresh))
        self._indices = np.concatenate([self._indices, fresh])
        return len(fresh)

    def _append(self, features: np.ndarray) -> None:
        if len(features):
            self._features = np.concatenate([self._features, features])

    @property
    def features(self) -> np.ndarray:
        """float64 array of shape (n, d), finite."""
        return self._features

    @property
    def indices(self) -> np.ndarray | None:
        """Numbers in the space, (n,), or None where the space is continuous."""
        return self._indices if self._countable is not None else None

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int) -> Candidate:
        if self._countable is not None:
            return self._countable[int(self._indices[index])]
        return self._candidates[index]

    def name_of(self, index: int) -> str:
        """Id of the candidate at ``index`` without making it."""
        if self._countable is not None:
            return self._countable.name_of(int(self._indices[index]))
        return self._candidates[index].id

    def position_of(self, candidate: Candidate) -> int | None:
        """Where a candidate stands in the pool, or None."""
        key = candidate.id if self._countable is None else self._countable.index_of(candidate)
        return self._places.get(key)

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Features of any candidates of the same space, shape (len, d)."""
        return self.space.featurize(candidates)

    def computed(self, name: str) -> np.ndarray:
        """Computed quantity, or numeric process parameter, of every candidate, shape (n,).

        Raises:
            UnknownNameError: the name is neither.
            DataError: the candidates have no composition.
        """
        if self._countable is None:
            return compute(name, self._candidates)
        parameter = self._countable.parameter_at(name, self._indices)
        if parameter is not None:
            return parameter
        function = computed(name)
        if not self._countable.elements:
            raise DataError(f"{name} needs compositions, and this space has none")
        return function(self._countable.amounts_at(self._indices), self._countable.elements)

    def subset(self, mask: np.ndarray) -> CandidatePool:
        """Return the candidates where ``mask`` (n,) is True, as a pool of the same space."""
        out = CandidatePool(self.space)
        kept = np.flatnonzero(np.asarray(mask, dtype=bool))
        out._features = self._features[kept]
        if self._countable is not None:
            out._indices = self._indices[kept]
            out._places = {i: k for k, i in enumerate(out._indices.tolist())}
        else:
            out._candidates = [self._candidates[k] for k in kept]
            out._places = {c.id: k for k, c in enumerate(out._candidates)}
        return out
