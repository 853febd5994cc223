"""Features of many candidates: a growing array in memory that moves to a memory-mapped file when it gets large."""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.errors import DataError

SPILL_BYTES = 128 * 2**20
_STRETCH = 16_384  # rows of the file that are mapped at a time


class FeatureStore:
    """Rows of float64 features, shape (n, columns); rows are added at the end and never change.

    Args:
        columns: features a row.
        spill_bytes: size from which the rows lie in a file in the folder for temporary files (``TMPDIR``), which is
            deleted with the store.
    """

    def __init__(self, columns: int, spill_bytes: int = SPILL_BYTES) -> None:
        self._columns, self._spill_bytes, self._rows = columns, spill_bytes, 0
        self._buffer = np.zeros((0, columns))
        self._path: str | None = None
        self._map: np.ndarray | None = None
        self._hash, self._hashed = hashlib.sha256(), 0

    def __len__(self) -> int:
        return self._rows

    def append(self, block: np.ndarray) -> None:
        """Add (k, columns) rows. Raises DataError where the file cannot grow."""
        block = np.ascontiguousarray(block, dtype=float)
        rows = self._rows + len(block)
        if self._path is None and rows * self._columns * 8 > self._spill_bytes:
            self._move_to_file()
        if self._path is not None:
            self._write(block)
        else:
            if rows > len(self._buffer):
                grown = np.empty((max(rows, 2 * len(self._buffer)), self._columns))
                grown[: self._rows] = self._buffer[: self._rows]
                self._buffer = grown
            self._buffer[self._rows : rows] = block
        self._rows, self._map = rows, None

    def _move_to_file(self) -> None:
        handle, self._path = tempfile.mkstemp(prefix="athanor-pool-", suffix=".f64")
        os.close(handle)
        weakref.finalize(self, Path(self._path).unlink, missing_ok=True)
        self._write(self._buffer[: self._rows])
        self._buffer = np.zeros((0, self._columns))

    def _write(self, block: np.ndarray) -> None:
        try:
            with open(str(self._path), "ab") as file:
                file.write(np.ascontiguousarray(block).data.cast("B") if block.size else b"")
        except OSError as error:
            raise DataError(
                f"the pool's features do not fit on the disk ({error}): free space, set TMPDIR, or shrink the space"
            ) from error

    @property
    def array(self) -> np.ndarray:
        """All rows: an array in memory, or a read-only memory map."""
        if self._map is None:
            whole = self._path is not None and self._columns > 0
            self._map = self._stretch(0, self._rows) if whole else self._buffer[: self._rows]
        return self._map

    def stretches(self) -> Iterator[tuple[int, np.ndarray]]:
        """Where each stretch begins, and its rows: of a file, no more than one stretch is resident."""
        for start in range(0, self._rows, _STRETCH):
            yield start, self._stretch(start, min(start + _STRETCH, self._rows))

    def _stretch(self, start: int, stop: int) -> np.ndarray:
        if self._path is None:
            return self._buffer[start:stop]
        shape = (stop - start, self._columns)
        return np.memmap(self._path, np.float64, mode="r", offset=start * self._columns * 8, shape=shape)

    def take(self, rows: np.ndarray) -> FeatureStore:
        """Return a store of some rows, (k,) rising."""
        out = FeatureStore(self._columns, self._spill_bytes)
        for start, block in self.stretches():
            low, high = np.searchsorted(rows, [start, start + len(block)])
            out.append(block[rows[low:high] - start])
        return out

    def digest(self) -> str:
        """SHA-256 of the rows' bytes; rows hashed once are not hashed again."""
        for start, block in self.stretches():
            if start + len(block) > self._hashed:
                self._hash.update(np.ascontiguousarray(block[max(0, self._hashed - start) :]).data)
        self._hashed = self._rows
        return self._hash.hexdigest()
