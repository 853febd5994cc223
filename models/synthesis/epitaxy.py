"""Lattice match: the smallest patch on which a face of one crystal fits a face of another.

Citation: Zur, McGill, J. Appl. Phys. 55, 378 (1984), doi:10.1063/1.333084.
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np

LARGEST_A2 = 200.0
"""Patches are sought up to this area; a pair of crystals without one does not match."""
_MOST_CELLS = 40
_LENGTH, _ANGLE_DEG = 0.05, 3.0
"""How much the sides (relative) and the angle of two patches may differ."""


@cache
def _planes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each low-index face the integer vectors (k, 3) in it, and which pairs (k, k) of them are a basis.

    Two vectors are a basis of a face where their cross product is the face's own Miller indices.
    """
    numbers = np.array([v for v in itertools.product((-2, -1, 0, 1, 2), repeat=3) if any(v)])
    out = []
    for miller in itertools.product((-1, 0, 1), repeat=3):
        if miller > (0, 0, 0):  # of each pair of opposite faces one
            inside = numbers[numbers @ np.array(miller) == 0]
            crossed = np.cross(inside[:, None], inside[None])
            out.append((inside, (np.abs(crossed) == np.abs(miller)).all(axis=2)))
    return out


@cache
def _supercells(n_max: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a, shift, b (k, 3) of the supercells (a, 0), (shift, b) of 1 to n_max cells, and where each size ends."""
    rows = [
        (a, shift, n // a) for n in range(1, n_max + 1) for a in range(1, n + 1) if n % a == 0 for shift in range(a)
    ]
    array = np.array(rows)
    return array, np.searchsorted(array[:, 0] * array[:, 2], np.arange(n_max + 1), side="right")


def faces(lattice: np.ndarray) -> np.ndarray:
    """Return two shortest vectors (k, 2, 3) of each low-index face of a lattice (3, 3), Miller indices up to 1."""
    out = []
    for inside, basis in _planes():
        vectors = inside @ lattice
        lengths = np.einsum("ij,ij->i", vectors, vectors)
        first = int(np.argmin(lengths))
        second = int(np.argmin(np.where(basis[first], lengths, np.inf)))
        if basis[first, second]:
            out.append((vectors[first], vectors[second]))
    return np.array(out)


def patches(lattice: np.ndarray, largest_A2: float = LARGEST_A2) -> np.ndarray:
    """Return every patch (k, 3) of the low-index faces: long side, short side (A), angle (degrees, at most 90).

    All supercells of a face up to an area, in their reduced (shortest) setting; equal ones once.
    """
    found = []
    for first, second in faces(lattice):
        area = float(np.linalg.norm(np.cross(first, second)))
        n = min(_MOST_CELLS, int(largest_A2 / area))
        if n:
            table, ends = _supercells(_MOST_CELLS)
            a, shift, b = table[: ends[n]].T[..., None]
            found.append(np.stack([a * first, shift * first + b * second], axis=1))
    if not found:
        return np.zeros((0, 3))
    sides = np.round(_reduced(np.concatenate(found)), 2)
    return sides[np.unique(sides @ np.array([1e9, 1e4, 1.0]), return_index=True)[1]]


def smallest_match_A2(one: np.ndarray, other: np.ndarray) -> float:
    """Return the smallest area on which patches (k, 3) of two crystals match within 5 % and 3 degrees; inf for none."""
    if not len(one) or not len(other):
        return np.inf
    lengths = np.log(other[None, :, :2]) - np.log(one[:, None, :2])
    fits = (np.abs(lengths) < _LENGTH).all(axis=2) & (np.abs(other[None, :, 2] - one[:, None, 2]) < _ANGLE_DEG)
    areas = one[:, 0] * one[:, 1] * np.sin(np.radians(one[:, 2]))
    matched = areas[fits.any(axis=1)]
    return float(matched.min()) if len(matched) else np.inf


def _reduced(pairs: np.ndarray) -> np.ndarray:
    """Return sides and angle of the shortest basis of each pair of vectors (k, 2, 3), by Gauss' reduction."""
    a, b = pairs[:, 0].copy(), pairs[:, 1].copy()
    for _ in range(20):
        swap = (a**2).sum(1) > (b**2).sum(1)
        a[swap], b[swap] = b[swap], a[swap]
        steps = np.round((a * b).sum(1) / (a**2).sum(1))
        if not steps.any():
            break
        b -= steps[:, None] * a
    short, long = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    cosine = np.abs((a * b).sum(1)) / (short * long)
    return np.column_stack(
        [np.maximum(short, long), np.minimum(short, long), np.degrees(np.arccos(np.clip(cosine, 0, 1)))]
    )
