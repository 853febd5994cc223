"""What every design space offers, and what those with countable candidates share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from models.candidate import Candidate
from models.errors import SpaceError
from models.roles import Condition


class Space(Protocol):
    """A set of candidates with features: a Generator that also describes what it generates."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        ...

    @property
    def size(self) -> int | None:
        """How many candidates there are; ``None`` where the space is continuous."""
        ...

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements that candidates may hold; empty where they have no composition."""
        ...

    def propose(self, n: int, condition: Condition) -> list[Candidate]:
        """Return up to ``n`` new candidates; an empty list says that the space is exhausted."""
        ...

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Features, float64, finite, shape (len(candidates), len(feature_names))."""
        ...


class EnumerableSpace(ABC):
    """A space whose candidates are numbered 0..size-1 and made when asked for."""

    @property
    @abstractmethod
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in order."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many candidates there are."""

    @property
    @abstractmethod
    def elements(self) -> tuple[str, ...]:
        """Elements that candidates may hold; empty where they have no composition."""

    @abstractmethod
    def __getitem__(self, index: int) -> Candidate:
        """Make candidate number ``index``; IndexError outside 0..size-1."""

    @abstractmethod
    def name_of(self, index: int) -> str:
        """Id of candidate number ``index`` without making it."""

    @abstractmethod
    def index_of(self, candidate: Candidate | str) -> int:
        """Number of a candidate or of an id. Raises UnknownNameError where it is not in the space."""

    @abstractmethod
    def features_at(self, indices: np.ndarray) -> np.ndarray:
        """Features of candidates by number, float64, finite, shape (len(indices), d)."""

    @abstractmethod
    def amounts_at(self, indices: np.ndarray) -> np.ndarray:
        """Atoms per formula unit, shape (len(indices), len(self.elements))."""

    def parameter_at(self, name: str, indices: np.ndarray) -> np.ndarray | None:
        """A numeric process parameter of candidates by number, or None where there is none of that name."""
        return None

    def __len__(self) -> int:
        return self.size

    def features_block(self, start: int, stop: int) -> np.ndarray:
        """Features of candidates ``start`` to ``stop - 1``."""
        return self.features_at(np.arange(start, min(stop, self.size)))

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Features of any candidates of this space, shape (len, d)."""
        return self.features_at(np.array([self.index_of(candidate) for candidate in candidates], dtype=np.int64))

    def propose_indices(self, n: int, condition: Condition) -> np.ndarray:
        """Numbers of the next ``n`` candidates in a seeded shuffle of the whole space; shorter at its end."""
        start = min(condition.offset, self.size)
        return shuffled(self.size, condition.seed, start, min(start + n, self.size))

    def propose(self, n: int, condition: Condition) -> list[Candidate]:
        """Return the next ``n`` candidates in a seeded shuffle; every candidate comes exactly once."""
        return [self[int(i)] for i in self.propose_indices(n, condition)]


def shuffled(size: int, seed: int, start: int, stop: int) -> np.ndarray:
    """Return places ``start`` to ``stop - 1`` of a seeded permutation of 0..size-1 without building it.

    A six-round Feistel network on the smallest even number of bits that holds ``size``; results outside the range are
    enciphered again (cycle walking; Black and Rogaway, CT-RSA 2002, 10.1007/3-540-45760-7_9). A million candidates or
    a billion cost the same.

    Raises:
        SpaceError: the range is not inside 0..size.
    """
    if not 0 <= start <= stop <= size:
        raise SpaceError(f"places {start} to {stop} are not inside a space of {size}")
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    keys = np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, size]).integers(1, 2**63, size=6, dtype=np.uint64)

    def encipher(x: np.ndarray) -> np.ndarray:
        left, right = x >> shift, x & mask
        for key in keys:
            left, right = right, left ^ (_mix(right + key) & mask)
        return (left << shift) | right

    out = encipher(np.arange(start, stop, dtype=np.uint64))
    outside = out >= size
    while outside.any():
        out[outside] = encipher(out[outside])
        outside = out >= size
    return out.astype(np.int64)


def _mix(x: np.ndarray) -> np.ndarray:
    """A 64-bit finaliser (splitmix64): every output bit depends on every input bit; wraps on purpose."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
