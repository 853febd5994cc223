"""Neighbours of the atoms of many crystals at once, as arrays: the nearest ``count`` and the rest of the last shell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.blocks.materials import Cell
from models.errors import DataError

_BLOCK = 512
_LONGEST_A = 15.0
CLOSEST_A = 0.4
SHELL = 0.005
"""Relative difference of distances that counts as one shell."""


@dataclass(frozen=True)
class Bonds:
    """Directed bonds of n crystals, sorted by crystal, centre atom, distance.

    Attributes:
        centre, other: (E,) index of the atom in its crystal.
        distance_A: (E,).
        vector_A: (E, 3) from the centre to the neighbour.
        shell: (E,) 0 for the centre's nearest shell, 1 for the next, ...
        offsets: (n + 1,) where each crystal's bonds begin.
    """

    centre: np.ndarray
    other: np.ndarray
    distance_A: np.ndarray
    vector_A: np.ndarray
    shell: np.ndarray
    offsets: np.ndarray


def bonds(cells: Sequence[Cell], count: int = 12) -> Bonds:
    """Bonds from every atom to its ``count`` nearest neighbours and to all others at the last one's distance.

    Whole shells keep the graph the same whichever cell describes the crystal and however its atoms are ordered.

    Raises:
        DataError: two atoms closer than 0.4 angstrom, or an atom without a neighbour within 15: the message says which
            row.
    """
    parts = [_block(cells[start : start + _BLOCK], count, start) for start in range(0, len(cells), _BLOCK)]
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return Bonds(empty, empty, np.zeros(0), np.zeros((0, 3)), empty, np.zeros(1, dtype=np.int64))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(p.offsets) for p in parts]))])
    columns = zip(*((p.centre, p.other, p.distance_A, p.vector_A, p.shell) for p in parts), strict=True)
    centre, other, distance, vector, shell = (np.concatenate(column) for column in columns)
    return Bonds(centre, other, distance, vector, shell, offsets)


def _block(cells: Sequence[Cell], count: int, first_row: int) -> Bonds:
    sizes = np.array([len(cell.numbers) for cell in cells])
    atom_at = np.concatenate([[0], np.cumsum(sizes)])
    radii = np.array([_first_radius(cell, count) for cell in cells])
    found: list[tuple[np.ndarray, ...] | None] = [None] * len(cells)
    waiting = list(range(len(cells)))
    while waiting:
        again = []
        for i in waiting:
            found[i] = _search(cells[i], radii[i], first_row + i)
        centre = np.concatenate([_of(found, i)[0] + atom_at[i] for i in waiting])
        distance = np.concatenate([_of(found, i)[2] for i in waiting])
        order = np.lexsort((distance, centre))
        # The count-th distance of each atom must lie so far inside the radius that its whole shell was seen.
        degree = np.bincount(centre, minlength=atom_at[-1])
        start = np.concatenate([[0], np.cumsum(degree)[:-1]])
        last = np.full(atom_at[-1], np.inf)
        full = degree >= count
        last[full] = distance[order][start[full] + count - 1]
        for i in waiting:
            far = last[atom_at[i] : atom_at[i + 1]].max()
            if far * (1 + 2 * SHELL) > radii[i] and radii[i] < _LONGEST_A:
                radii[i] = min(radii[i] * 1.3, _LONGEST_A) if np.isinf(far) else far * (1 + 3 * SHELL)
                again.append(i)
        waiting = again
    return _trim([_of(found, i) for i in range(len(cells))], atom_at, count, first_row)


def _of(found: list[tuple[np.ndarray, ...] | None], i: int) -> tuple[np.ndarray, ...]:
    one = found[i]
    assert one is not None
    return one


def _first_radius(cell: Cell, count: int) -> float:
    """A sphere that holds about one and a half times the wanted neighbours at the crystal's mean density."""
    return float(np.cbrt(1.5 * count * cell.volume_A3 / len(cell.numbers) / 4.19)) + 0.6


def _search(cell: Cell, radius: float, row: int) -> tuple[np.ndarray, ...]:
    from pymatgen.optimization.neighbors import find_points_in_spheres

    frac = cell.frac - np.floor(cell.frac)
    cartesian = np.ascontiguousarray(frac @ cell.lattice)
    lattice = np.ascontiguousarray(cell.lattice)
    centre, other, image, distance = find_points_in_spheres(
        cartesian, cartesian, r=float(radius), pbc=np.array([1, 1, 1], dtype=np.int64), lattice=lattice, tol=1e-8
    )
    itself = (centre == other) & (distance < 1e-6)
    if itself.any():
        keep = ~itself
        centre, other, image, distance = centre[keep], other[keep], image[keep], distance[keep]
    if len(distance) and distance.min() < CLOSEST_A:
        raise DataError(f"row {row}: two atoms are {distance.min():.2f} angstrom apart; no crystal has that")
    vector = cartesian[other] + image @ lattice - cartesian[centre]
    return centre, other, distance, vector


def _trim(found: list[tuple[np.ndarray, ...]], atom_at: np.ndarray, count: int, first_row: int) -> Bonds:
    crystal = np.repeat(np.arange(len(found)), [len(f[0]) for f in found])
    centre, other, distance, vector = (np.concatenate(column) for column in zip(*found, strict=True))
    atom = centre + atom_at[crystal]
    degree = np.bincount(atom, minlength=atom_at[-1])
    if (degree == 0).any():
        row = np.searchsorted(atom_at, int(np.argmin(degree)), side="right") - 1 + first_row
        raise DataError(f"row {row}: an atom has no neighbour within {_LONGEST_A:g} angstrom; no crystal has that")
    order = np.lexsort((distance, atom))
    crystal, centre, other = crystal[order], centre[order], other[order]
    distance, vector, atom = distance[order], vector[order], atom[order]
    start = np.concatenate([[0], np.cumsum(degree)[:-1]])
    step = np.zeros(len(distance), dtype=np.int64)
    step[1:] = distance[1:] > distance[:-1] * (1 + SHELL)
    step[start] = 0
    total = np.cumsum(step)
    shell = total - total[start][atom]
    last = distance[start + np.minimum(count, degree) - 1]
    keep = distance <= (last * (1 + SHELL))[atom]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(crystal[keep], minlength=len(found)))])
    return Bonds(centre[keep], other[keep], distance[keep], vector[keep], shell[keep], offsets)


def faults(cells: Sequence[Cell]) -> list[str]:
    """Why each crystal cannot have a graph (atoms that overlap or float), ``""`` where it can."""
    out = []
    for cell in cells:
        try:
            bonds([cell], 1)
            out.append("")
        except DataError as error:
            out.append(str(error).partition(": ")[2])
    return out
