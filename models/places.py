"""Where numbers stand in a growing list, without a Python object for each."""

from __future__ import annotations

import numpy as np


class Places:
    """Maps distinct non-negative numbers to the order in which they were added.

    Sorted runs, merged when a later one has grown to half an earlier one: a look-up is a few binary searches, adding n
    numbers in blocks costs O(n log n) in all, and a number takes 16 bytes, a tenth of an entry of a dict.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, numbers: np.ndarray) -> np.ndarray:
        """Add what is new, in order, and return it; what is there or comes twice is left out."""
        numbers = np.asarray(numbers, dtype=np.int64)
        _, first = np.unique(numbers, return_index=True)
        fresh = numbers[np.sort(first)]
        fresh = fresh[self.find(fresh) < 0]
        if len(fresh):
            order = np.argsort(fresh, kind="stable")
            self._runs.append((fresh[order], self._count + order))
            self._count += len(fresh)
            while len(self._runs) > 1 and 2 * len(self._runs[-1][0]) >= len(self._runs[-2][0]):
                later, earlier = self._runs.pop(), self._runs.pop()
                keys = np.concatenate([earlier[0], later[0]])
                order = np.argsort(keys, kind="stable")
                self._runs.append((keys[order], np.concatenate([earlier[1], later[1]])[order]))
        return fresh

    def find(self, numbers: np.ndarray) -> np.ndarray:
        """Place of each number, -1 where it is not there."""
        numbers = np.asarray(numbers, dtype=np.int64)
        found = np.full(len(numbers), -1, dtype=np.int64)
        for keys, places in self._runs:
            at = np.searchsorted(keys, numbers).clip(max=len(keys) - 1)
            found = np.where(keys[at] == numbers, places[at], found)
        return found
