"""Voronoi cells of the atoms of a crystal: one tessellation that all attributes share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.blocks.materials import Cell
from models.errors import DataError

_POINTS = 24  # neighbours an atom's polyhedron is first built from, at the crystal's mean density
_LONGEST_A = 40.0


@dataclass(frozen=True)
class Faces:
    """Faces of the Voronoi polyhedra of N atoms, sorted by atom.

    Attributes:
        centre, other: (F,) the two atoms that a face lies between, as indices in the cell.
        area_A2: (F,).
        distance_A: (F,) between the two atoms.
        volume_A3: (N,) of each polyhedron.
    """

    centre: np.ndarray
    other: np.ndarray
    area_A2: np.ndarray
    distance_A: np.ndarray
    volume_A3: np.ndarray


def voronoi_faces(cell: Cell) -> Faces:
    """Tessellate a crystal.

    The images in a sphere around the cell are tessellated together. The sphere grows until the polyhedra of the cell
    fill its volume to 1e-6, which is the proof that no image is missing.

    Raises:
        DataError: the polyhedra do not close.
    """
    from scipy.spatial import QhullError, Voronoi

    n, volume = len(cell.numbers), cell.volume_A3
    frac = cell.frac - np.floor(cell.frac)
    radius = float(np.cbrt(3 * _POINTS * volume / n / (4 * np.pi))) + 1.0
    while radius < _LONGEST_A:
        points, atom = _images(cell.lattice, frac, radius)
        try:
            found = Voronoi(points)
        except QhullError as error:
            raise DataError(f"the Voronoi polyhedra do not close ({str(error).splitlines()[0][:80]})") from error
        faces = _faces(found, points, atom, n)
        if faces is not None and abs(faces.volume_A3.sum() - volume) < 1e-6 * volume:
            return faces
        radius *= 1.5
    raise DataError("the Voronoi polyhedra do not close; two atoms may share a place")


def _images(lattice: np.ndarray, frac: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Points within ``radius`` of any atom of the cell, the cell's own atoms first, and whose images they are."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    reach = np.ceil(radius / heights).astype(int)
    axes = [np.arange(-r, r + 1) for r in reach]
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    shifts = shifts[np.argsort(np.abs(shifts).sum(axis=1), kind="stable")]  # (0, 0, 0) first
    own = frac @ lattice
    points = (shifts @ lattice)[:, None, :] + own[None]
    from scipy.spatial import KDTree

    flat = points.reshape(-1, 3)
    near = KDTree(own).query(flat, distance_upper_bound=radius)[0] < np.inf
    return flat[near], np.tile(np.arange(len(own)), len(shifts))[near]


def _faces(found: object, points: np.ndarray, atom: np.ndarray, n: int) -> Faces | None:
    """Faces of the first n points' polyhedra; None where one of them is open."""
    pairs: np.ndarray = found.ridge_points  # type: ignore[attr-defined]
    corners: list[list[int]] = found.ridge_vertices  # type: ignore[attr-defined]
    wanted = np.flatnonzero((pairs < n).any(axis=1))
    sizes = np.array([len(corners[i]) for i in wanted])
    flat = np.array([v for i in wanted for v in corners[i]])
    if not len(flat) or (flat < 0).any():
        return None
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    face = np.repeat(np.arange(len(wanted)), sizes)
    following = np.arange(1, len(flat) + 1)
    following[start + sizes - 1] = start
    vertex: np.ndarray = found.vertices[flat]  # type: ignore[attr-defined]
    relative = vertex - vertex[start][face]
    twice = np.add.reduceat(np.cross(relative, relative[following]), start, axis=0)
    area = 0.5 * np.linalg.norm(twice, axis=1)
    a, b = pairs[wanted, 0], pairs[wanted, 1]
    distance = np.linalg.norm(points[a] - points[b], axis=1)
    centre = np.concatenate([a[a < n], b[b < n]])
    other = np.concatenate([atom[b[a < n]], atom[a[b < n]]])
    areas, distances = np.concatenate([area[a < n], area[b < n]]), np.concatenate([distance[a < n], distance[b < n]])
    volume = np.bincount(centre, weights=areas * distances / 6.0, minlength=n)
    order = np.argsort(centre, kind="stable")
    return Faces(centre[order], other[order], areas[order], distances[order], volume)
