"""Many graphs as flat tensors, and batches of them: crystals, compositions, coarse graphs of metals."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from models.blocks.composition import Compositions
from models.blocks.materials import Cell
from models.blocks.neighbors import bonds
from models.blocks.segments import ranges
from models.elements import NONMETALS

MERGE_A = 0.005
"""Bonds between the same two atoms whose lengths differ by less are one edge with a count."""


@dataclass
class Batch:
    """Some graphs, ready for a network.

    Attributes:
        number: (N,) atomic number of each node.
        weight: (N,) how much a node counts in its graph's mean (1, or its atomic fraction).
        graph: (N,) which graph of the batch it belongs to.
        source, target: (E,) nodes of each edge; messages go from source to target. Sorted by target.
        edge: what is known of an edge: ``distance`` (E,), ``count`` (E,), ``shell`` (E,), ``vector`` (E, 3).
        extra: (size, d) numbers that belong to a whole graph; d may be 0.
        size: how many graphs.
        node: what else is known of a node, (N, ...) each.
    """

    number: Tensor
    weight: Tensor
    graph: Tensor
    source: Tensor
    target: Tensor
    edge: dict[str, Tensor]
    extra: Tensor
    size: int
    node: dict[str, Tensor] = field(default_factory=dict)

    def angles(self) -> tuple[Tensor, Tensor, Tensor]:
        """The line graph: pairs of different bonds at one atom, (first, second) edge indices, cosine of their angle."""
        n, degree = len(self.target), torch.bincount(self.target, minlength=len(self.number))
        start = torch.cumsum(degree, 0) - degree
        first = torch.repeat_interleave(torch.arange(n, device=self.target.device), degree[self.target])
        second = ranges(start[self.target], degree[self.target])
        other = first != second
        first, second = first[other], second[other]
        unit = self.edge["vector"] / self.edge["distance"][:, None]
        return first, second, (unit[first] * unit[second]).sum(dim=1).clamp(-1.0, 1.0)


@dataclass
class GraphSet:
    """n graphs as flat tensors; ``batch`` gathers some of them without a Python loop, on the tensors' own device."""

    number: Tensor
    weight: Tensor
    source: Tensor
    target: Tensor
    node_at: Tensor
    edge_at: Tensor
    edge: dict[str, Tensor] = field(default_factory=dict)
    extra: Tensor | None = None
    node: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.node_at) - 1

    def to(self, device: str | torch.device) -> GraphSet:
        """The same on another device."""
        extra = None if self.extra is None else self.extra.to(device)
        number, weight, source, target, node_at, edge_at = (
            t.to(device) for t in (self.number, self.weight, self.source, self.target, self.node_at, self.edge_at)
        )
        edge, node = ({k: v.to(device) for k, v in part.items()} for part in (self.edge, self.node))
        return GraphSet(number, weight, source, target, node_at, edge_at, edge, extra, node)

    def batch(self, rows: Tensor) -> Batch:
        """The graphs of ``rows`` (b,), in that order."""
        nodes, edges = self.node_at[rows + 1] - self.node_at[rows], self.edge_at[rows + 1] - self.edge_at[rows]
        node, edge = ranges(self.node_at[rows], nodes), ranges(self.edge_at[rows], edges)
        shift = torch.repeat_interleave(torch.cumsum(nodes, 0) - nodes, edges)
        graph = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), nodes)
        extra = torch.zeros((len(rows), 0), device=rows.device) if self.extra is None else self.extra[rows]
        return Batch(
            self.number[node].long(),
            self.weight[node],
            graph,
            self.source[edge].long() + shift,
            self.target[edge].long() + shift,
            {name: value[edge] for name, value in self.edge.items()},
            extra,
            len(rows),
            {name: value[node] for name, value in self.node.items()},
        )


def crystal_graphs(cells: Sequence[Cell], *, neighbors: int = 12, merge: bool = True) -> GraphSet:
    """Crystal graphs: an edge from every neighbour to its atom.

    Args:
        cells: n crystals.
        neighbors: nearest ones; the last one's whole shell is taken.
        merge: make bonds of equal length between the same two atoms (images of each other in small cells) one edge
            with a ``count``. Exact for a network that sees distances only, and a third of the work in small cells;
            a network that sees ``vector`` needs ``merge=False``.

    Raises:
        DataError: atoms that overlap or float.
    """
    found = bonds(cells, neighbors)
    sizes = np.array([len(cell.numbers) for cell in cells], dtype=np.int64)
    node_at = np.concatenate([[0], np.cumsum(sizes)])
    crystal = np.repeat(np.arange(len(cells)), np.diff(found.offsets))
    centre, other, distance, shell = found.centre, found.other, found.distance_A, found.shell
    edge: dict[str, np.ndarray] = {}
    if merge:
        order = np.lexsort((distance, other, centre + node_at[crystal]))
        crystal, centre, other = crystal[order], centre[order], other[order]
        distance, shell = distance[order], shell[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (np.diff(centre + node_at[crystal]) != 0) | (np.diff(other) != 0) | (np.diff(distance) > MERGE_A)
        start = np.flatnonzero(new)
        count = np.diff(np.append(start, len(new)))
        edge["count"] = count.astype(np.float32)
        distance = np.add.reduceat(distance, start) / count if len(start) else distance
        crystal, centre, other, shell = crystal[start], centre[start], other[start], shell[start]
    else:
        edge["count"] = np.ones(len(distance), dtype=np.float32)
        edge["vector"] = found.vector_A.astype(np.float32)
    edge["distance"], edge["shell"] = distance.astype(np.float32), shell
    numbers = np.concatenate([cell.numbers for cell in cells]) if len(cells) else np.zeros(0, dtype=np.int64)
    return graph_set(numbers, np.ones(len(numbers)), other, centre, node_at, crystal, edge)


def composition_graphs(given: Compositions) -> GraphSet:
    """Roost's graphs: a node an element, weighted by its fraction; an edge between every two (or to itself alone)."""
    there = given.fractions > 0
    sizes = there.sum(axis=1)
    node_at = np.concatenate([[0], np.cumsum(sizes)])
    pairs = [np.array([(0, 0)]) if k == 1 else np.array([(i, j) for i in range(k) for j in range(k) if i != j])
             for k in range(1, int(sizes.max(initial=1)) + 1)]  # fmt: skip
    edges = np.concatenate([pairs[k - 1] for k in sizes]) if len(sizes) else np.zeros((0, 2), dtype=np.int64)
    graph = np.repeat(np.arange(len(sizes)), np.maximum(sizes * (sizes - 1), 1))
    return graph_set(given.numbers[there], given.fractions[there], edges[:, 1], edges[:, 0], node_at, graph, {})


def metal_graphs(cells: Sequence[Cell], *, neighbors: int = 6) -> GraphSet:
    """Coarse graphs: the metal atoms of each crystal and their nearest metal neighbours, whatever links them.

    A crystal without metal keeps all its atoms, so that every crystal has a graph.
    """
    metal = np.array([True, *(symbol not in NONMETALS for symbol in _symbols())])
    coarse = []
    for cell in cells:
        keep = metal[cell.numbers] if metal[cell.numbers].any() else np.ones(len(cell.numbers), dtype=bool)
        coarse.append(Cell(cell.lattice, cell.numbers[keep], cell.frac[keep]))
    return crystal_graphs(coarse, neighbors=neighbors)


def fingerprint(settings: dict[str, object], cells: Sequence[Cell]) -> str:
    """SHA-256 (16 digits) of how graphs are made and of which crystals: a cached set is read only where it agrees."""
    total = hashlib.sha256(repr((sorted(settings.items()), MERGE_A, len(cells))).encode())
    for cell in cells:
        for array in (cell.lattice, cell.numbers, cell.frac):
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


def _symbols() -> tuple[str, ...]:
    from models.elements import symbols

    return symbols()


def graph_set(
    numbers: np.ndarray, weight: np.ndarray, source: np.ndarray, target: np.ndarray, node_at: np.ndarray,
    graph: np.ndarray, edge: dict[str, np.ndarray], node: dict[str, np.ndarray] | None = None,
) -> GraphSet:  # fmt: skip
    """Tensors of n graphs from arrays: ``node_at`` (n + 1,) where the nodes begin, ``graph`` (E,) of each edge."""
    edge_at = np.concatenate([[0], np.cumsum(np.bincount(graph, minlength=len(node_at) - 1))])
    return GraphSet(
        torch.from_numpy(numbers.astype(np.int16)),
        torch.from_numpy(weight.astype(np.float32)),
        torch.from_numpy(source.astype(np.int32)),
        torch.from_numpy(target.astype(np.int32)),
        torch.from_numpy(node_at.astype(np.int64)),
        torch.from_numpy(edge_at.astype(np.int64)),
        {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in edge.items()},
        node={name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in (node or {}).items()},
    )
