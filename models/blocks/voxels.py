"""Voxel images of crystals: coloured Gaussian splats of the atoms in a cube of space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.blocks.composition import element_table
from models.blocks.materials import Cell

COLOURS = ("column", "row", "electronegativity", "covalent_radius_A")
"""Elemental properties that are the channels of an image, each from 0 to 1, after a channel of plain density."""


def random_rotations(count: int, seed: int) -> np.ndarray:
    """Rotations drawn evenly (Shoemake), float64 (count, 3, 3); equal seeds give equal ones."""
    q = np.random.default_rng(seed).normal(size=(count, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def voxel_images(
    cells: Sequence[Cell], rotations: np.ndarray, *, size: int = 16, edge_A: float = 9.0, width_A: float = 0.6
) -> np.ndarray:
    """Images of crystals, float32 (n, 5, size, size, size), each turned by its rotation (n, 3, 3).

    The cube of ``edge_A`` is centred on the first atom, and the crystal is repeated through it.
    """
    table, names = element_table()
    colour = table[:, [names.index(name) for name in COLOURS]]
    low, high = colour.min(axis=0), colour.max(axis=0)
    colour = np.concatenate([np.ones((len(colour), 1)), (colour - low) / (high - low)], axis=1)
    grid = (np.arange(size) + 0.5) * edge_A / size - edge_A / 2
    out = np.empty((len(cells), colour.shape[1], size, size, size), dtype=np.float32)
    reach = edge_A / 2 + 2.5 * width_A
    for i, (cell, rotation) in enumerate(zip(cells, rotations, strict=True)):
        points, numbers = _repeat(cell, reach)
        points = points @ rotation.T
        splat = [np.exp(-0.5 * ((grid[None] - points[:, a, None]) / width_A) ** 2) for a in range(3)]
        weighted = colour[numbers - 1]
        left = (weighted[:, :, None] * splat[0][:, None, :]).reshape(len(points), -1)
        right = (splat[1][:, :, None] * splat[2][:, None, :]).reshape(len(points), -1)
        out[i] = (left.T @ right).reshape(weighted.shape[1], size, size, size)
    return out


def _repeat(cell: Cell, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (images too) whose distance from the first atom is at most sqrt(3) ``reach``, and their numbers."""
    radius = np.sqrt(3.0) * reach
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell.lattice), axis=0)
    count = np.ceil(radius / heights).astype(int) + 1
    axes = [np.arange(-c, c + 1) for c in count]
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    frac = cell.frac - cell.frac[0]
    points = ((frac - np.floor(frac + 0.5))[None] + shifts).reshape(-1, 3) @ cell.lattice
    near = np.linalg.norm(points, axis=1) <= radius
    return points[near], np.tile(cell.numbers, len(shifts))[near]
