"""Graphs that are kept on disk: the same as those that are made, and never more than the room there is."""

from __future__ import annotations

import os

import pytest
import torch

from models.blocks import graph_cache
from models.blocks.graph_cache import cached
from models.blocks.graphs import GraphSet, crystal_graphs, metal_graphs
from tests.models.tables import cubic_perovskite, rock_salt

CELLS = [rock_salt("Na", "Cl", 5.64), cubic_perovskite("Sr", "Ti", "O"), rock_salt("Mg", "O", 4.2)]


@pytest.fixture
def made(monkeypatch, tmp_path) -> list[int]:
    """Counts how often graphs are made; everything is kept in a folder of the test."""
    monkeypatch.setenv("ATHANOR_CACHE", str(tmp_path))
    monkeypatch.setattr(graph_cache, "FEWEST", 1)
    return []


def counting(made: list[int]):
    def crystal_graphs_counted(cells, **settings) -> GraphSet:
        made.append(len(cells))
        return crystal_graphs(cells, **settings)

    return crystal_graphs_counted


def equal(one: GraphSet, two: GraphSet) -> bool:
    names = ("number", "weight", "source", "target", "node_at", "edge_at")
    pairs = [(getattr(one, name), getattr(two, name)) for name in names]
    assert one.edge.keys() == two.edge.keys()
    pairs += [(one.edge[key], two.edge[key]) for key in one.edge]
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("merge", [True, False])
def test_a_set_is_made_once_and_read_again_the_same(made, merge):
    make = counting(made)
    first = cached(make, CELLS, neighbors=8, merge=merge)
    again = cached(make, CELLS, neighbors=8, merge=merge)
    assert made == [3]
    assert equal(first, again)


def test_other_settings_crystals_or_kinds_are_another_set(made):
    make = counting(made)
    cached(make, CELLS, neighbors=8)
    cached(make, CELLS, neighbors=9)
    cached(make, CELLS[:2], neighbors=8)
    cached(make, [*CELLS[:2], rock_salt("Mg", "O", 4.21)], neighbors=8)
    assert made == [3, 3, 2, 3]
    assert not equal(cached(metal_graphs, CELLS), cached(crystal_graphs, CELLS))


def test_a_damaged_file_is_made_again_and_half_of_one_is_never_there(made, tmp_path):
    make = counting(made)
    first = cached(make, CELLS)
    (file,) = (tmp_path / "graphs").iterdir()
    file.write_bytes(file.read_bytes()[:-200])
    assert equal(cached(make, CELLS), first)
    assert equal(cached(make, CELLS), first)
    assert made == [3, 3]


def test_what_was_not_used_for_longest_makes_room(made, tmp_path, monkeypatch):
    make = counting(made)
    for place, neighbors in enumerate((6, 7, 8)):
        cached(make, CELLS, neighbors=neighbors)
        for file in (tmp_path / "graphs").iterdir():
            if file.stat().st_mtime > 1e9:
                os.utime(file, (place, place))
    cached(make, CELLS, neighbors=6)  # used again: now the youngest
    size = max(file.stat().st_size for file in (tmp_path / "graphs").iterdir())
    monkeypatch.setattr(graph_cache, "MOST_BYTES", 3 * size)
    cached(make, CELLS, neighbors=9)
    assert made == [3] * 4
    cached(make, CELLS, neighbors=6)
    assert made == [3] * 4, "the one that was used is still there"
    cached(make, CELLS, neighbors=7)
    assert made == [3] * 5, "the oldest is not"


def test_few_crystals_and_a_user_who_wants_none_leave_no_file(made, tmp_path, monkeypatch):
    monkeypatch.setenv("ATHANOR_CACHE", "")
    cached(counting(made), CELLS)
    monkeypatch.setenv("ATHANOR_CACHE", str(tmp_path))
    monkeypatch.setattr(graph_cache, "FEWEST", 4)
    cached(counting(made), CELLS)
    assert not (tmp_path / "graphs").exists()


def test_a_folder_that_cannot_be_written_costs_only_time(made, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATHANOR_CACHE", str(tmp_path / "file"))
    assert equal(cached(counting(made), CELLS), crystal_graphs(CELLS))
