"""The candidates at hand: a growing part of a space, as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.candidate import Candidate
from models.errors import DataError, UnknownNameError
from models.feature_store import FeatureStore
from models.places import Places
from models.quantities import compute, computed
from models.spaces.base import EnumerableSpace, Space


class CandidatePool:
    """Candidates of one space with their features (``roles.Pool``).

    Of a countable space it keeps numbers, and makes a candidate when it is asked for; of a continuous one it keeps the
    candidates. Features of many candidates lie in a memory-mapped file (``FeatureStore``). ``absorb`` adds in order and
    drops what it already holds.
    """

    def __init__(self, space: Space | EnumerableSpace):
        self.space = space
        self.feature_names: tuple[str, ...] = space.feature_names
        self._countable = space if isinstance(space, EnumerableSpace) else None
        self._indices, self._size = np.zeros(0, dtype=np.int64), 0
        self._numbers = Places()
        self._candidates: list[Candidate] = []
        self._ids: dict[str, int] = {}
        self._features = FeatureStore(len(space.feature_names))

    def absorb(self, block: np.ndarray | Sequence[Candidate]) -> int:
        """Add numbers (countable space) or candidates; return how many were new.

        Raises:
            DataError: numbers for a space that has none, or the disk is full.
        """
        if self._countable is None:
            if isinstance(block, np.ndarray):
                raise DataError("this space is not countable: absorb candidates, not numbers")
            new = [c for c in {c.id: c for c in block}.values() if c.id not in self._ids]
            self._ids.update({c.id: len(self._candidates) + k for k, c in enumerate(new)})
            self._candidates += new
            if new:
                self._features.append(self.space.featurize(new))
            return len(new)
        numbers = (
            np.asarray(block, dtype=np.int64)
            if isinstance(block, np.ndarray)
            else np.array([self._countable.index_of(c) for c in block], dtype=np.int64)
        )
        fresh = self._numbers.add(numbers)
        if len(fresh):
            self._features.append(self._countable.features_at(fresh))
            self._append(fresh)
        return len(fresh)

    def _append(self, numbers: np.ndarray) -> None:
        size = self._size + len(numbers)
        if size > len(self._indices):
            grown = np.empty(max(size, 2 * len(self._indices)), dtype=np.int64)
            grown[: self._size] = self._indices[: self._size]
            self._indices = grown
        self._indices[self._size : size] = numbers
        self._size = size

    @property
    def features(self) -> np.ndarray:
        """float64 array of shape (n, d), finite; a read-only memory map where the pool is large."""
        return self._features.array

    def features_digest(self) -> str:
        """SHA-256 of the features' bytes; what was hashed before is not read again."""
        return self._features.digest()

    @property
    def indices(self) -> np.ndarray | None:
        """Numbers in the space, (n,), or None where the space is continuous."""
        return self._indices[: self._size] if self._countable is not None else None

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
        if self._countable is None:
            return self._ids.get(candidate.id)
        try:
            place = int(self._numbers.find(np.array([self._countable.index_of(candidate)]))[0])
        except UnknownNameError:
            return None
        return place if place >= 0 else None

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
        parameter = self._countable.parameter_at(name, self._indices[: self._size])
        if parameter is not None:
            return parameter
        function = computed(name)
        if not self._countable.elements:
            raise DataError(f"{name} needs compositions, and this space has none")
        return function(self._countable.amounts_at(self._indices[: self._size]), self._countable.elements)

    def subset(self, mask: np.ndarray) -> CandidatePool:
        """Return the candidates where ``mask`` (n,) is True, as a pool of the same space."""
        out = CandidatePool(self.space)
        kept = np.flatnonzero(np.asarray(mask, dtype=bool))
        out._features = self._features.take(kept)
        if self._countable is not None:
            out._append(self._indices[kept])
            out._numbers.add(self._indices[kept])
        else:
            out._candidates = [self._candidates[k] for k in kept]
            out._ids = {c.id: k for k, c in enumerate(out._candidates)}
        return out
