"""A campaign's pool as materials: decorations of prototypes come as arrays, without making the candidates."""

from __future__ import annotations

import numpy as np

from models.blocks.composition import Compositions, element_numbers
from models.blocks.materials import Cell, Materials, absurdity
from models.roles import Pool
from models.spaces.prototype import PrototypeSpace


def pool_materials(pool: Pool, rows: np.ndarray) -> Materials:
    """Materials of some candidates of a pool, (n,) positions; the same as ``Materials.from_candidates`` of them.

    Of a space of prototypes the candidates are never made: its decorations share their coordinates, from which a model
    that knows neighbours by rank sees that they have one graph (``models.blocks.ranked``).
    """
    space, indices = getattr(pool, "space", None), getattr(pool, "indices", None)
    if not isinstance(space, PrototypeSpace) or indices is None or not set(space.elements) <= set(element_numbers()):
        return Materials.from_candidates([pool[int(i)] for i in rows])
    return _decorated(space, indices[rows])


def _decorated(space: PrototypeSpace, indices: np.ndarray) -> Materials:
    symbols = np.array(space.elements)
    number = np.array([element_numbers()[symbol] for symbol in space.elements], dtype=np.int64)
    formulas = [""] * len(indices)
    cells: list[Cell | None] = [None] * len(indices)
    for template, at, rows in space.decorations_at(indices):
        counts = [f"{n}" if n != 1 else "" for n in template.counts.tolist()]
        alike = (np.diff(np.sort(rows, axis=1), axis=1) == 0).any(axis=1)
        numbers, scales = number[rows][:, template.site_labels], template.scales(rows, space.elements)
        lattices = template.lattice_A[None] * scales[:, None, None]
        for k, (i, decoration) in enumerate(zip(at.tolist(), symbols[rows].tolist(), strict=True)):
            formulas[i] = "".join(el + n for el, n in zip(decoration, counts, strict=True))
            cells[i] = Cell(lattices[k], numbers[k], template.frac_coords)
        for k in np.flatnonzero(alike):
            formulas[at[k]] = space[int(indices[at[k]])].formula
    flags = [absurdity(cell) if cell is not None else "" for cell in cells]
    return Materials(formulas, _compositions(space.amounts_at(indices), number), cells, {}, flags)


def _compositions(amounts: np.ndarray, number: np.ndarray) -> Compositions:
    """Padded arrays of amounts (n, elements), columns in rising atomic number."""
    width = int((amounts > 0).sum(axis=1).max(initial=1))
    order = np.argsort(amounts <= 0, axis=1, kind="stable")[:, :width]
    amount = np.take_along_axis(amounts, order, axis=1)
    return Compositions(np.where(amount > 0, number[order], 0), amount / amount.sum(axis=1, keepdims=True))
