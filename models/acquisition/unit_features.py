"""Features of a pool in the unit cube: of an array at once, of a memory map block by block as they are read."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, Protocol, TypeGuard

import numpy as np

BLOCK_ROWS = 16_384  # rows of a memory map that are held at a time


class Features(Protocol):
    """What is read of an (n, d) array of features in the unit cube; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """Features of one row (d,), or of a slice or an array of rows (k, d)."""
        ...


class UnitFeatures:
    """Features of a memory-mapped pool, scaled as they are read, so that the pool is never in memory.

    A stretch is mapped, scaled and unmapped again: what has been read does not stay resident. Single rows are read from
    the file, since mapping one brings its neighbours along. It holds the file's name, not its data, so that sending it
    to another process costs nothing.

    Args:
        raw: memory map of shape (n, d), as ``numpy.memmap`` opens it, not a view of one.
        scaling: from its units to the unit cube; None where it lies there already.
    """

    def __init__(self, raw: np.memmap, scaling: FeatureScaling | None = None) -> None:
        self._path, self._offset, self._dtype = os.fspath(str(raw.filename)), int(raw.offset), raw.dtype
        self._rows, self._columns = raw.shape
        self._scaling = scaling

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d), without the columns that the scaling drops."""
        return self._rows, self._columns if self._scaling is None else self._scaling.columns

    def __len__(self) -> int:
        return self._rows

    def stretch(self, start: int, stop: int) -> UnitFeatures:
        """The rows from ``start`` up to ``stop`` by themselves."""
        part = copy(self)
        part._offset = self._offset + start * self._columns * self._dtype.itemsize
        part._rows = max(0, min(stop, self._rows) - start)
        return part

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """Features of one row (d,), or of a slice of step 1 or an array of rows (k, d)."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self._rows)
            return self._scaled(self._mapped(start, stop))
        wanted = np.asarray(rows, dtype=np.int64)
        found = self._scaled(self._read(wanted.reshape(-1)))
        return found.reshape(*wanted.shape, found.shape[1])

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        return np.array(raw) if self._scaling is None else self._scaling(raw)

    def _mapped(self, start: int, stop: int) -> np.ndarray:
        if stop <= start:
            return np.empty((0, self._columns), self._dtype)
        at = self._offset + start * self._columns * self._dtype.itemsize
        return np.memmap(self._path, self._dtype, mode="r", offset=at, shape=(stop - start, self._columns))

    def _read(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), self._columns), self._dtype)
        width = self._columns * self._dtype.itemsize
        with open(self._path, "rb", buffering=0) as file:
            for place, row in zip(out, rows.tolist()):
                file.seek(self._offset + (row % self._rows) * width)
                file.readinto(place.data.cast("B"))
        return out


class FeatureScaling:
    """Maps features to the unit cube of the pool; constant columns are dropped, outliers drawn in but kept apart."""

    def __init__(self, pool: np.ndarray) -> None:
        largest, low, high = np.zeros(pool.shape[1]), np.full(pool.shape[1], np.inf), np.full(pool.shape[1], -np.inf)
        for block in blocks(pool):
            largest = np.maximum(largest, np.abs(block).max(axis=0))
            low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        largest[largest == 0] = 1.0  # dividing by it keeps the square of 1e300 finite
        mean, std = _mean_std(pool, largest)
        self._kept = np.flatnonzero(std > 1e-9)
        self._factor = (largest * np.maximum(std, 1e-9))[self._kept]
        self._shift = (mean / np.maximum(std, 1e-9))[self._kept]
        self._low = np.zeros(0)
        if len(self._kept):  # drawing in keeps the order, so the extremes stay the extremes
            self._low, top = self._drawn_in(np.stack([low, high]))
            self._range = top - self._low

    @property
    def columns(self) -> int:
        """How many columns there are in the unit cube."""
        return max(1, len(self._kept))

    def names(self, feature_names: Sequence[str]) -> tuple[str, ...]:
        """Names of the columns in the unit cube, of those of the raw features."""
        return tuple(feature_names[int(k)] for k in self._kept) if len(self._kept) else ("",)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, d) raw features -> (n, columns) in the unit cube; points beyond the pool may lie outside, not far.

        Where every column is constant, one column of zeros is left.
        """
        if not len(self._kept):
            return np.zeros((len(features), 1))
        unit = self._drawn_in(np.nan_to_num(features))
        unit -= self._low
        unit /= self._range
        return np.clip(unit, -1.0, 2.0, out=unit)

    def _drawn_in(self, features: np.ndarray) -> np.ndarray:
        z = (features if len(self._kept) == features.shape[1] else features[:, self._kept]) / self._factor
        z -= self._shift
        # Beyond four standard deviations distances grow logarithmically: an outlier must not squeeze all others.
        far = np.abs(z) > 4
        if far.any():
            z[far] = np.sign(z[far]) * (4 + np.log1p(np.abs(z[far]) - 4))
        return z


def blocks(pool: np.ndarray) -> Iterator[np.ndarray]:
    """Finite stretches of a pool: all of an array, a memory map a block at a time."""
    if is_mapped(pool):
        mapped = UnitFeatures(pool)
        for start in range(0, len(pool), BLOCK_ROWS):
            yield np.nan_to_num(mapped[start : start + BLOCK_ROWS].astype(float))
    elif len(pool):
        yield np.nan_to_num(pool)


def is_mapped(pool: np.ndarray) -> TypeGuard[np.memmap]:
    """True where an array is a memory map of a file, from its beginning and row by row."""
    if not isinstance(pool, np.memmap) or not isinstance(pool.base, mmap.mmap):
        return False
    return pool.ndim == 2 and pool.flags.c_contiguous and bool(pool.filename)


def _mean_std(pool: np.ndarray, largest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the columns over ``largest``; blocks are joined after Chan et al. (1983)."""
    count, mean, squares = 0, np.zeros(len(largest)), np.zeros(len(largest))
    for block in blocks(pool):
        relative = block / largest
        size, centre = len(block), relative.mean(axis=0)
        gap = centre - mean
        squares = squares + relative.std(axis=0) ** 2 * size + gap**2 * (count * size / (count + size))
        mean = mean + gap * (size / (count + size))
        count += size
    return mean, np.sqrt(squares / max(count, 1))
