"""Crystals of known phases: of each composition the one nearest the hull."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models import elements
from models.blocks.materials import Cell
from models.errors import DataError
from models.thermo import entries, formulas

_SYMBOL = re.compile(r"[A-Z][a-z]?")
_TABLES = ("mp20.parquet", "mpts52.parquet")
_COLUMNS = ("formula", "e_above_hull_eV_per_atom", "lattice_matrix_ang", "species", "frac_coords")
_ENTRIES = "mp_computed_entries.jsonl.gz"


@lru_cache(maxsize=4096)
def crystal(formula: str) -> Cell | None:
    """Return the crystal of a composition, of several the one nearest the hull; None where no table has it.

    Raises:
        DataError: ``ATHANOR_DATA`` is not set.
    """
    folder = str(entries.thermo_folder())
    wanted = formulas.key(formula)
    chemsys = "-".join(sorted(el for el, _ in wanted))
    best: tuple[float, Cell] | None = None
    for table, row in _rows(folder).get(chemsys, ()):
        columns = _table(folder, table)
        if _key(columns["formula"][row].as_py()) == wanted:
            height = columns["e_above_hull_eV_per_atom"][row].as_py()
            height = np.inf if height is None else height
            if best is None or height < best[0]:
                best = (height, _cell(*(columns[name][row].as_py() for name in _COLUMNS[2:])))
    for line in _lines(folder).get(chemsys, ()):
        entry = json.loads(line)
        if _key(entry["formula"]) == wanted:
            height = entry["e_above_hull"] if entry["e_above_hull"] is not None else np.inf
            if best is None or height < best[0]:
                best = (height, _cell(entry["lattice"], entry["species"], entry["frac_coords"]))
    return None if best is None else best[1]


def all_oxides(n: int, seed: int) -> list[tuple[str, Cell]]:
    """Return ``n`` oxides of the tables with their crystals, drawn at random, to measure what is usual."""
    folder = str(entries.thermo_folder())
    found = [where for chemsys, rows in sorted(_rows(folder).items()) if "O" in chemsys.split("-") for where in rows]
    drawn = np.random.default_rng(seed).choice(len(found), size=n, replace=False)
    out = []
    for i in drawn:
        table, row = found[i]
        columns = _table(folder, table)
        out.append((columns["formula"][row].as_py(), _cell(*(columns[name][row].as_py() for name in _COLUMNS[2:]))))
    return out


def _key(formula: str) -> formulas.Key | None:
    try:
        return formulas.key(formula)
    except DataError:
        return None


def _cell(lattice: Iterable, species: list[str], frac: Iterable) -> Cell:
    numbers = elements.values("Z", species).astype(int)
    return Cell(np.reshape(np.array(lattice, float), (3, 3)), numbers, np.reshape(np.array(frac, float), (-1, 3)))


@cache
def _table(folder: str, name: str) -> pa.Table | dict[str, list]:
    file = Path(folder).parent / "structures" / name
    if not file.is_file():
        return {column: [] for column in _COLUMNS}
    return pq.read_table(file, columns=list(_COLUMNS)).combine_chunks()


@cache
def _rows(folder: str) -> Mapping[str, list[tuple[str, int]]]:
    out: dict[str, list[tuple[str, int]]] = {}
    for name in _TABLES:
        column = _table(folder, name)["formula"]
        for row, formula in enumerate(column if isinstance(column, list) else column.to_pylist()):
            out.setdefault("-".join(sorted(set(_SYMBOL.findall(formula)))), []).append((name, row))
    return out


@cache
def _lines(folder: str) -> Mapping[str, list[str]]:
    """Return chemical system -> lines of the computed entries that have structures, to be parsed when asked for."""
    file = Path(folder) / _ENTRIES
    out: dict[str, list[str]] = {}
    if file.is_file():
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            for line in stream:
                formula = line.split('"formula":"', 1)[1].split('"', 1)[0]
                out.setdefault("-".join(sorted(set(_SYMBOL.findall(formula)))), []).append(line)
    return out
