"""Crystal graphs that know neighbours by rank alone: decorations of one prototype share them, and so do like atoms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.blocks.graphs import GraphSet, graph_set
from models.blocks.materials import Cell
from models.blocks.neighbors import CLOSEST_A, bonds
from models.errors import DataError

_VOLUME_A3 = 16.0  # an atom, of the cell in which neighbours are looked for
_DIGITS = 9  # of a lattice and of coordinates: cells that agree so far have one shape
_ROUNDS = 50


def ranked_graphs(cells: Sequence[Cell], *, neighbors: int = 24, shared: bool = True) -> GraphSet:
    """Graphs whose edges have the rank of the neighbour's shell and nothing else, in their smallest form.

    Ranks do not change when a cell is scaled, so all decorations of a prototype have the same edges: they are searched
    for once. Atoms that no sum over neighbours can tell apart (the same element, and the same neighbours at the same
    ranks, however far one looks) are one node, with a ``count``; so are bonds of one rank between the same two nodes.
    Both are exact for a network that sees ``number``, ``shell`` and the counts.

    Args:
        cells: n crystals.
        neighbors: nearest ones; the last one's whole shell is taken.
        shared: search once a shape; otherwise once a cell, to the same end.

    Raises:
        DataError: atoms that overlap or float; the message says which row.
    """
    shape, first = _shapes(cells) if shared else (np.arange(len(cells)), np.arange(len(cells)))
    unit = [cells[i].scaled(_scale(cells[i])) for i in first.tolist()]
    try:
        found = bonds(unit, neighbors)
    except DataError:
        bonds(cells, 1)  # names the row
        raise
    edges, begin = np.diff(found.offsets), found.offsets[:-1]
    nearest = np.minimum.reduceat(found.distance_A, begin) if len(begin) else np.zeros(0)
    nearest = nearest[shape] / [_scale(cell) for cell in cells]
    if (nearest < CLOSEST_A).any():
        row = int(np.argmax(nearest < CLOSEST_A))
        raise DataError(f"row {row}: two atoms are {nearest[row]:.2f} angstrom apart; no crystal has that")
    sizes = np.array([len(cell.numbers) for cell in cells], dtype=np.int64)
    graph, node_at = np.repeat(np.arange(len(cells)), sizes), np.cumsum(sizes) - sizes
    many = edges[shape]
    edge = np.arange(many.sum()) + np.repeat(begin[shape] - (np.cumsum(many) - many), many)
    target, source = (part[edge] + np.repeat(node_at, many) for part in (found.centre, found.other))
    numbers = np.concatenate([cell.numbers for cell in cells]) if len(cells) else np.zeros(0, dtype=np.int64)
    return _smallest(numbers, graph, target, source, found.shell[edge], len(cells))


def _scale(cell: Cell) -> float:
    """Factor on the cell's lengths that makes it ``_VOLUME_A3`` an atom."""
    return float(np.cbrt(_VOLUME_A3 * len(cell.numbers) / cell.volume_A3))


def _shapes(cells: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray]:
    """Shape of each cell (n,), and the first cell of each shape: equal coordinates, equal lattice but for its scale."""
    known: dict[tuple[bytes, bytes], int] = {}
    shape, first = np.empty(len(cells), dtype=np.int64), []
    for i, cell in enumerate(cells):
        lattice = np.round(cell.lattice * _scale(cell), _DIGITS) + 0.0  # no negative zeros
        key = (lattice.tobytes(), cell.frac.tobytes())
        shape[i] = known.setdefault(key, len(known))
        if shape[i] == len(first):
            first.append(i)
    return shape, np.array(first, dtype=np.int64)


def _smallest(
    numbers: np.ndarray, graph: np.ndarray, target: np.ndarray, source: np.ndarray, shell: np.ndarray, n: int
) -> GraphSet:
    """The quotient of each graph by its coarsest equitable partition (Weisfeiler and Leman 1968), by 64-bit hashes."""
    colour = _mix(graph.astype(np.uint64) << np.uint64(8) | numbers.astype(np.uint64))
    kind, classes = np.unique(colour, return_inverse=True)[1], 0
    rank = _mix(shell.astype(np.uint64) + np.uint64(1))
    while (found := int(kind.max(initial=-1)) + 1) > classes:
        classes = found
        total = np.zeros(len(colour), dtype=np.uint64)
        np.add.at(total, target, _mix(colour[source] ^ rank))
        colour = _mix(colour + total)
        kind = np.unique(colour, return_inverse=True)[1]
    # Classes in the order of their first atoms, which is also that of the graphs.
    _, first, kind = np.unique(kind, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    first, kind = first[order], place[kind]
    ours = first[kind[target]] == target  # the edges of one atom a class
    code = (kind[target[ours]] * classes + kind[source[ours]]) * (int(shell.max(initial=0)) + 1) + shell[ours]
    code, count = np.unique(code, return_counts=True)
    rest, ranks = np.divmod(code, int(shell.max(initial=0)) + 1)
    to, of = np.divmod(rest, max(classes, 1))
    own, weight = graph[first], np.ones(classes)
    start = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=n))])
    edge = {"count": count.astype(np.float32), "shell": ranks}
    node = {"count": np.bincount(kind, minlength=classes).astype(np.float32)}
    to, of, place = to - start[own[to]], of - start[own[of]], own[to]
    return graph_set(numbers[first], weight, of, to, start, place, edge, node)


def _mix(x: np.ndarray) -> np.ndarray:
    """A 64-bit finaliser (splitmix64); wraps on purpose."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
