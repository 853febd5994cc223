"""Lattice match: the smallest patch on which a face of one crystal fits a face of another.

Citation: Zur, McGill, J. Appl. Phys. 55, 378 (1984), doi:10.1063/1.333084.
"""

from __future__ import annotations

import itertools

import numpy as np

LARGEST_A2 = 200.0
"""Patches are sought up to this area; a pair of crystals without one does not match."""
_LENGTH, _ANGLE_DEG = 0.05, 3.0
"""How much the sides (relative) and the angle of two patches may differ."""


def faces(lattice: np.ndarray) -> np.ndarray:
    """Return the two shortest vectors (k, 2, 3) of each low-index face of a lattice (3, 3), Miller indices up to 1."""
    numbers = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))
    numbers = numbers[np.abs(numbers).sum(axis=1) > 0]
    out = []
    for miller in itertools.product((-1, 0, 1), repeat=3):
        if miller <= (0, 0, 0):
            continue  # of each pair of opposite faces one
        inside = numbers[numbers @ np.array(miller) == 0]
        vectors = inside @ lattice
        order = np.argsort(np.linalg.norm(vectors, axis=1), kind="stable")
        first = vectors[order[0]]
        for i in order[1:]:
            # Integer vectors of a face are a basis of it where their cross product is the face's normal itself.
            if (np.abs(np.cross(inside[order[0]], inside[i])) == np.abs(miller)).all():
                out.append((first, vectors[i]))
                break
    return np.array(out)


def patches(lattice: np.ndarray, largest_A2: float = LARGEST_A2) -> np.ndarray:
    """Return every patch (k, 3) of the low-index faces: long side, short side (A), angle (degrees, at most 90).

    All supercells of a face up to an area, in their reduced (shortest) setting; equal ones once.
    """
    found = []
    for first, second in faces(lattice):
        area = float(np.linalg.norm(np.cross(first, second)))
        for n in range(1, int(largest_A2 / max(area, 1.0)) + 1):
            for a in (a for a in range(1, n + 1) if n % a == 0):
                shifts = np.arange(n // a)
                long = np.repeat((a * first)[None], len(shifts), axis=0)
                # Hermite normal form of determinant n: rows (a, 0), (shift, n / a).
                found.append(np.stack([long, shifts[:, None] * first + (n // a) * second], axis=1))
    if not found:
        return np.zeros((0, 3))
    return np.unique(np.round(_reduced(np.concatenate(found)), 2), axis=0)


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
