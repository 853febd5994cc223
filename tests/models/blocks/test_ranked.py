"""Graphs that know neighbours by rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.blocks import ranked
from models.blocks.graphs import GraphSet, composition_graphs, crystal_graphs
from models.blocks.materials import Cell, Materials
from models.blocks.ranked import ranked_graphs
from models.errors import DataError
from models.predictors.cgat import CGAT
from tests.models.tables import cubic_perovskite, rock_salt, supercell, turned


def decorations() -> list[Cell]:
    """Scaled decorations of two prototypes, one of them with equal atoms on two sites, and a distorted crystal."""
    cells = [
        cubic_perovskite(a, b, "O", edge) for a, b, edge in (("Ca", "Ti", 3.9), ("Ba", "Ti", 4.1), ("Ti", "Ti", 4))
    ]
    cells += [rock_salt("Na", "Cl", 5.64), rock_salt("Mg", "O", 4.2)]
    bent = cubic_perovskite("Sr", "Zr", "O", 4.1)
    return [*cells, Cell(bent.lattice, bent.numbers, bent.frac + np.linspace(0.0, 0.06, 15).reshape(5, 3))]


def same(one: GraphSet, other: GraphSet) -> bool:
    flat = ("number", "source", "target", "node_at", "edge_at")
    return all(torch.equal(getattr(one, k), getattr(other, k)) for k in flat) and all(
        torch.equal(getattr(one, part)[k], getattr(other, part)[k])
        for part, k in (("edge", "shell"), ("edge", "count"), ("node", "count"))
    )


def test_decorations_that_share_a_search_have_the_graphs_of_a_search_each(monkeypatch):
    cells = decorations()
    searched = []
    search = ranked.bonds
    monkeypatch.setattr(ranked, "bonds", lambda some, count: searched.append(len(some)) or search(some, count))
    shared = ranked_graphs(cells)
    assert searched == [3]  # two prototypes and the distorted crystal
    assert same(shared, ranked_graphs(cells, shared=False))
    assert searched == [3, 6]


def test_like_atoms_are_one_node_and_nothing_is_lost():
    graphs = ranked_graphs([cubic_perovskite("Ca", "Ti", "O", 3.9), decorations()[-1]], neighbors=12)
    assert graphs.node["count"][:3].tolist() == [1.0, 1.0, 3.0]
    assert np.diff(graphs.node_at.numpy()).tolist() == [3, 5]  # nothing is alike in the distorted one
    first = graphs.batch(torch.tensor([0]))
    degree = torch.zeros(3).index_add(0, first.target, first.edge["count"])
    whole = crystal_graphs([cubic_perovskite("Ca", "Ti", "O", 3.9)], neighbors=12)
    full = torch.zeros(5).index_add(0, whole.target.long(), whole.edge["count"])
    assert sorted(degree.tolist()) == sorted(full[:3].tolist())


def test_a_network_says_the_same_of_the_smallest_graph_and_of_all_atoms():
    cells = decorations()
    materials = Materials.build(["CaTiO3", "BaTiO3", "Ti2O3", "NaCl", "MgO", "SrZrO3"], cells)
    torch.manual_seed(0)
    network = CGAT().network().eval()
    rows, compositions = torch.arange(len(cells)), composition_graphs(materials.compositions)
    with torch.no_grad():
        small, whole = (
            network((graphs.batch(rows), compositions.batch(rows)))
            for graphs in (ranked_graphs(cells), crystal_graphs(cells, neighbors=24))
        )
    assert small.numpy() == pytest.approx(whole.numpy(), abs=2e-6)
    assert float(small.std(dim=0).min()) > 1e-3


def test_a_graph_does_not_depend_on_the_cell_that_describes_the_crystal():
    cell = decorations()[-1]
    one, turn, twice = ranked_graphs([cell, turned(cell, 1), supercell(cell, (2, 1, 1))]).node_at.diff().tolist()
    assert one == turn == twice  # the images in a larger cell are alike


def test_atoms_that_overlap_are_named_also_where_the_search_is_shared():
    fine = rock_salt("Na", "Cl", 5.64)
    with pytest.raises(DataError, match=r"row 1: two atoms are 0\.28"):
        ranked_graphs([fine, fine.scaled(0.1)])
