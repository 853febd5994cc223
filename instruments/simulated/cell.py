"""Geometry of a unit cell, in plain Python: volume, nearest centring, conventional edge."""

from __future__ import annotations

import math
from collections.abc import Sequence

Matrix = Sequence[Sequence[float]]


def volume_A3(lattice_A: Matrix) -> float:
    """Volume of the cell spanned by three row vectors."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = lattice_A
    return abs(ax * (by * cz - bz * cy) - ay * (bx * cz - bz * cx) + az * (bx * cy - by * cx))


def scaled(lattice_A: Matrix, factor: float) -> list[list[float]]:
    """The cell with every edge times ``factor``."""
    return [[x * factor for x in row] for row in lattice_A]


def lattice_parameter_A(lattice_A: Matrix) -> float:
    """Edge ``a`` of the conventional cell.

    A primitive cell with three equal edges at 60 degrees is face-centred cubic, (4 V)^(1/3); at 109.47 degrees
    body-centred cubic, (2 V)^(1/3). Any other cell gives the length of its first edge.
    """
    edges = [math.sqrt(sum(x * x for x in row)) for row in lattice_A]
    if max(edges) - min(edges) < 1e-4 * edges[0]:
        cosines = [
            sum(x * y for x, y in zip(lattice_A[i], lattice_A[j], strict=True)) / (edges[i] * edges[j])
            for i, j in ((0, 1), (1, 2), (0, 2))
        ]
        for cosine, cells in ((1 / 2, 4), (-1 / 3, 2)):
            if all(abs(c - cosine) < 1e-4 for c in cosines):
                return (cells * volume_A3(lattice_A)) ** (1 / 3)
    return edges[0]
