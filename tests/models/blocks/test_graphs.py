"""Neighbours, crystal graphs, line graphs, coarse graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.blocks.composition import parse_all
from models.blocks.graphs import composition_graphs, crystal_graphs, fingerprint, metal_graphs
from models.blocks.materials import Cell
from models.blocks.neighbors import bonds, faults
from models.blocks.segments import ranges, segment_softmax
from models.errors import DataError
from tests.models.tables import cubic_perovskite, rock_salt, supercell, turned

SALT, PEROVSKITE = rock_salt("Na", "Cl", 5.64), cubic_perovskite("Sr", "Ti", "O", 3.9)


def test_a_shell_is_taken_whole():
    found = bonds([PEROVSKITE], 12)
    strontium = found.centre == 0
    assert strontium.sum() == 12  # oxygens
    assert found.distance_A[strontium] == pytest.approx(3.9 / np.sqrt(2))
    oxygen = found.centre == 2  # 2 Ti, then 4 Sr and 8 O at one distance: the twelfth lies among them
    assert oxygen.sum() == 14
    assert sorted(set(found.shell[oxygen])) == [0, 1]


def test_neighbours_agree_with_an_independent_search():
    from pymatgen.core import Lattice, Structure

    found = bonds([PEROVSKITE], 12)
    structure = Structure(Lattice(PEROVSKITE.lattice), [int(z) for z in PEROVSKITE.numbers], PEROVSKITE.frac)
    for atom in range(5):
        near = sorted(n.nn_distance for n in structure.get_neighbors(structure[atom], 5.0))
        mine = found.distance_A[found.centre == atom]
        assert mine == pytest.approx(near[: len(mine)], abs=1e-6)


def test_vectors_have_the_distances_as_lengths():
    found = bonds([turned(PEROVSKITE)], 12)
    assert np.linalg.norm(found.vector_A, axis=1) == pytest.approx(found.distance_A)


@pytest.mark.parametrize("cell", [SALT, PEROVSKITE])
def test_another_description_of_a_crystal_has_the_same_bonds(cell):
    def shape(c: Cell) -> list[tuple[int, int, float]]:
        found = bonds([c], 12)
        kinds = zip(c.numbers[found.centre], c.numbers[found.other], found.distance_A.round(5), strict=True)
        return sorted((int(a), int(b), float(d)) for a, b, d in kinds)

    assert shape(turned(cell)) == shape(cell)
    assert shape(supercell(cell, (2, 1, 1))) == sorted(shape(cell) * 2)


def test_merged_bonds_count_what_was_merged():
    apart, merged = crystal_graphs([PEROVSKITE], merge=False), crystal_graphs([PEROVSKITE])
    assert len(merged.source) < len(apart.source) / 2
    assert merged.edge["count"].sum() == len(apart.source)


def test_a_batch_is_its_graphs_side_by_side():
    graphs = crystal_graphs([SALT, PEROVSKITE, SALT])
    batch = graphs.batch(torch.tensor([1, 2]))
    assert batch.number.tolist() == [*PEROVSKITE.numbers, *SALT.numbers]
    assert batch.graph.tolist() == [0] * 5 + [1] * 2
    assert (batch.graph[batch.source] == batch.graph[batch.target]).all()
    assert (batch.target.diff() >= 0).all()


def test_angles_of_rock_salt_are_right_angles_and_straight_lines():
    batch = crystal_graphs([SALT], neighbors=6, merge=False).batch(torch.tensor([0]))
    first, second, cosine = batch.angles()
    assert len(cosine) == 2 * 6 * 5
    assert (batch.target[first] == batch.target[second]).all()
    values, counts = cosine.round(decimals=4).unique(return_counts=True)
    assert dict(zip(values.abs().tolist(), counts.tolist(), strict=True)) == {1.0: 12, 0.0: 48}


def test_compositions_are_complete_graphs():
    graphs = composition_graphs(parse_all(["Fe", "SrTiO3"]))
    one, three = graphs.batch(torch.tensor([0])), graphs.batch(torch.tensor([1]))
    assert (one.source.tolist(), one.target.tolist()) == ([0], [0])
    assert len(three.source) == 6
    assert three.weight.sum() == pytest.approx(1.0)


def test_the_coarse_graph_of_a_square_net_has_four_links_a_metal():
    # Metals on a square of 5 angstrom, layers 12 apart, joined through C in the middle of each link.
    frac = np.array([[0, 0, 0.5], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    net = Cell(np.diag([5.0, 5.0, 12.0]), np.array([26, 6, 6]), frac)
    graphs = metal_graphs([net])
    assert len(graphs.number) == 1
    near = graphs.edge["distance"] < 6.0
    assert graphs.edge["count"][near].sum() == 4


def test_the_coarse_graph_of_a_kagome_net_has_three_metals_with_four_links_each():
    lattice = np.array([[6.0, 0, 0], [-3.0, 3 * np.sqrt(3), 0], [0, 0, 15.0]])
    frac = np.array([[0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0.5]])
    graphs = metal_graphs([Cell(lattice, np.array([28, 28, 28, 6]), frac)])
    assert len(graphs.number) == 3
    near = (graphs.edge["distance"] - 3.0).abs() < 0.01
    assert graphs.edge["count"][near].sum() == 12


def test_atoms_that_overlap_are_refused_with_their_row():
    crowded = Cell(4.0 * np.eye(3), np.array([3, 8]), np.array([[0, 0, 0], [0.01, 0, 0]]))
    with pytest.raises(DataError, match="row 1: two atoms"):
        bonds([SALT, crowded])
    assert faults([SALT, crowded])[0] == ""
    assert "two atoms" in faults([SALT, crowded])[1]


def test_a_fingerprint_changes_with_the_settings_and_the_crystals():
    same = fingerprint({"neighbors": 12}, [SALT])
    assert same == fingerprint({"neighbors": 12}, [rock_salt("Na", "Cl", 5.64)])
    assert same != fingerprint({"neighbors": 8}, [SALT])
    assert same != fingerprint({"neighbors": 12}, [PEROVSKITE])


def test_a_softmax_over_segments_counts_merged_edges():
    index, logits = torch.tensor([0, 0, 1]), torch.tensor([[1000.0], [1000.0], [3.0]])
    share = segment_softmax(logits, index, 2, torch.tensor([3.0, 1.0, 1.0]))
    assert share[:, 0].tolist() == pytest.approx([0.75, 0.25, 1.0])


def test_ranges_are_concatenated():
    assert ranges(torch.tensor([5, 0, 9]), torch.tensor([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
