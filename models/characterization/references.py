"""Reference phases of a chemical system: those that ship, and those in a folder of structures."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from models.characterization.crystal import Crystal
from models.elements import check_symbols, electronegativity
from models.errors import DataError

_TABLES = ("mp20", "mpts52", "dielectric", "matbench_phonons", "aflow_elastic_thermal")
_HULL_LIMIT_eV = 0.03
_VOLATILE = frozenset(("H", "He", "N", "O", "F", "Ne", "Cl", "Ar", "Kr", "Xe"))
_SAME_VOLUME = 0.12
_MAX_SITES = 200
_SYMBOL = re.compile("[A-Z][a-z]?")
_COMPOSITION = re.compile(r'"composition": ?\{([^}]*)\}')


def references_of(elements: Iterable[str], folder: str | Path | None = None) -> list[Crystal]:
    """Phases that hold no other elements than these, measured ones first, each polymorph once.

    Args:
        elements: symbols; every phase of a subset of them is a candidate.
        folder: of ``.cif`` files, of JSON lists of pymatgen structures, or of structure tables (as ``ATHANOR_DATA``:
            ``structures/*.parquet``, ``thermo/mp_computed_entries.jsonl.gz``). ``None``: ``ATHANOR_DATA``, where set.
            The table that ships comes in any case.

    Raises:
        DataError: no such folder, or nothing in it that can be read as a structure.
        UnknownNameError: not a symbol of an element.
    """
    wanted = frozenset(elements)
    check_symbols(wanted)
    found = shipped(wanted)
    chosen = Path(folder) if folder is not None else _data_folder()
    if chosen is not None:
        found += _from_folder(chosen, wanted)
    elements_known = {next(iter(c.counts)) for c in found if c.measured and len(c.counts) == 1}
    solid = [c for c in found if c.measured or not (set(c.counts) <= _VOLATILE or _is_one_of(c, elements_known))]
    return _without_twins(solid)


def shipped(wanted: frozenset[str]) -> list[Crystal]:
    """Measured structures of common oxides, carbonates, hydroxides, nitrates, halides and elements that ship."""
    return [_expanded(row) for elements, row in _shipped_rows() if elements <= wanted]


@cache
def _shipped_rows() -> list[tuple[frozenset[str], dict[str, str]]]:
    with (files("models") / "data" / "reference_phases.csv").open() as handle:
        return [(_elements(row["formula"]), row) for row in csv.DictReader(handle)]


def _expanded(row: dict[str, str]) -> Crystal:
    """All atoms of the cell from the sites of the asymmetric unit, ``Ti 0 0 0; O:0.5+F:0.5 1/3 2/3 0.25``."""
    hall = int(row["hall_number"])
    atoms = []
    for site in row["sites"].split(";"):
        who, *where = site.split()
        images = _orbit(hall, np.array([float(Fraction(v)) for v in where]))
        for part in who.split("+"):
            symbol, _, share = part.partition(":")
            atoms += [(symbol, image, float(share or 1)) for image in images]
    cell = [float(row[k]) for k in ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")]
    return Crystal(
        row["formula"],
        row["space_group"],
        int(_quietly("get_spacegroup_type", hall).number),
        cell_matrix(*cell),
        tuple(a[0] for a in atoms),
        np.array([a[1] for a in atoms]),
        np.array([a[2] for a in atoms]),
        name=row["name"],
    )


def cell_matrix(a: float, b: float, c: float, alpha: float, beta: float, gamma: float) -> np.ndarray:
    """Rows are the cell vectors; lengths in Å, angles in degrees."""
    ca, cb, cg = np.cos(np.radians([alpha, beta, gamma]))
    sg = np.sin(np.radians(gamma))
    y = (ca - cb * cg) / sg
    return np.array([[a, 0, 0], [b * cg, b * sg, 0], [c * cb, c * y, c * np.sqrt(1 - cb * cb - y * y)]])


def crystal_of(
    lattice: Any, species: Sequence[str], positions: Any, *, name: str = "", measured: bool
) -> Crystal | None:
    """A crystal in the conventional setting of its space group; ``None``: no symmetry found, or too big."""
    if len(species) > _MAX_SITES:
        return None
    kinds = {s: i for i, s in enumerate(dict.fromkeys(species))}
    cell = (np.asarray(lattice, float), np.asarray(positions, float), [kinds[s] for s in species])
    data = _quietly("get_symmetry_dataset", cell, symprec=0.05 if measured else 0.02)
    if data is None:
        return None
    names = list(kinds)
    symbols = tuple(names[i] for i in data.std_types)
    return Crystal(
        _formula(species),
        str(data.international),
        int(data.number),
        np.array(data.std_lattice),
        symbols,
        np.array(data.std_positions),
        np.ones(len(symbols)),
        name=name,
        measured=measured,
    )


def _is_one_of(crystal: Crystal, elements: set[str]) -> bool:
    return len(crystal.counts) == 1 and next(iter(crystal.counts)) in elements


def _data_folder() -> Path | None:
    given = os.environ.get("ATHANOR_DATA")
    return Path(given) if given and Path(given).is_dir() else None


def _from_folder(folder: Path, wanted: frozenset[str]) -> list[Crystal]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of reference structures.")
    tables = [t for name in _TABLES for t in (folder / f"{name}.parquet", folder / "structures" / f"{name}.parquet")]
    tables = [t for t in tables if t.exists()]
    entries = [
        e
        for e in (folder / "mp_computed_entries.jsonl.gz", folder / "thermo/mp_computed_entries.jsonl.gz")
        if e.exists()
    ]
    cifs = sorted(folder.glob("*.cif"))
    lists = sorted(folder.glob("*.json"))
    if not (tables or entries or cifs or lists):
        raise DataError(f"{folder}: no .cif, .json or structure table in it; give a folder that has some.")
    found = [c for file in cifs for c in _from_cif(file, wanted)]
    found += [c for file in lists for c in _from_json(file, wanted)]
    for file in tables:
        found += _from_table(file, wanted)
    for file in entries:
        found += _from_entries(file, wanted)
    return found


def _from_cif(file: Path, wanted: frozenset[str]) -> list[Crystal]:
    from pymatgen.core import Structure

    try:
        structure = Structure.from_file(file)
    except Exception as error:
        raise DataError(f"{file}: not a crystal structure ({error}).") from error
    return _from_structure(structure, wanted, file.stem)


def _from_json(file: Path, wanted: frozenset[str]) -> list[Crystal]:
    from pymatgen.core import Structure

    try:
        rows = json.loads(file.read_text())
        structures = [Structure.from_dict(row) for row in (rows if isinstance(rows, list) else [rows])]
    except Exception as error:
        raise DataError(f"{file}: not a structure or a list of structures ({error}).") from error
    return [c for s in structures for c in _from_structure(s, wanted, file.stem)]


def _from_structure(structure: Any, wanted: frozenset[str], name: str) -> list[Crystal]:
    if not {e.symbol for e in structure.composition.elements} <= wanted:
        return []
    if structure.is_ordered:
        species = [site.specie.symbol for site in structure]
        crystal = crystal_of(structure.lattice.matrix, species, structure.frac_coords, name=name, measured=True)
        return [crystal] if crystal else []
    atoms = [(s.symbol, site.frac_coords, n) for site in structure for s, n in site.species.items()]
    return [
        Crystal(
            structure.composition.reduced_formula,
            "P1",
            1,
            np.array(structure.lattice.matrix),
            tuple(a[0] for a in atoms),
            np.array([a[1] for a in atoms]),
            np.array([a[2] for a in atoms]),
            name=name,
        )
    ]


def _from_table(file: Path, wanted: frozenset[str]) -> list[Crystal]:
    import pyarrow

    found = []
    table, formulas = _table(file)
    rows = [i for i, f in enumerate(formulas) if f <= wanted]
    for row in table.take(pyarrow.array(rows)).to_pylist() if rows else []:
        if (row.get("e_above_hull_eV_per_atom") or 0.0) > _HULL_LIMIT_eV:
            continue
        species = [str(s) for s in row["species"]]
        lattice = np.reshape(row["lattice_matrix_ang"], (3, 3))
        crystal = crystal_of(lattice, species, np.reshape(row["frac_coords"], (-1, 3)), measured=False)
        if crystal:
            found.append(crystal)
    return found


@lru_cache(maxsize=16)
def _table(file: Path) -> tuple[Any, list[frozenset[str]]]:
    from pyarrow.parquet import ParquetFile

    wanted = ["formula", "species", "lattice_matrix_ang", "frac_coords", "e_above_hull_eV_per_atom"]
    with ParquetFile(file) as opened:
        table = opened.read(columns=[c for c in wanted if c in opened.schema_arrow.names])
    return table, [_elements(f) for f in table["formula"].to_pylist()]


def _from_entries(file: Path, wanted: frozenset[str]) -> list[Crystal]:
    """Entries near the hull, or seen by experiment where no hull is known."""
    found = []
    for elements, line in _entries(file):
        if not elements <= wanted:
            continue
        row = json.loads(line)
        above = row.get("e_above_hull")
        if above > _HULL_LIMIT_eV if above is not None else not row.get("icsd_ids"):
            continue
        lattice, positions = np.reshape(row["lattice"], (3, 3)), np.reshape(row["frac_coords"], (-1, 3))
        crystal = crystal_of(lattice, row["species"], positions, measured=False)
        if crystal:
            found.append(crystal)
    return found


@lru_cache(maxsize=2)
def _entries(file: Path) -> list[tuple[frozenset[str], str]]:
    """Elements and text of each line: reading the text as JSON is what takes long."""
    with gzip.open(file, "rt") as handle:
        matches = ((_COMPOSITION.search(line), line) for line in handle)
        return [(_elements(match.group(1)), line) for match, line in matches if match]


def _known(crystal: Crystal, others: Sequence[Crystal]) -> bool:
    return any(_twins(crystal, other) for other in others)


def _without_twins(crystals: Sequence[Crystal]) -> list[Crystal]:
    kept: list[Crystal] = []
    for crystal in sorted(crystals, key=lambda c: not c.measured):
        if not _known(crystal, kept):
            kept.append(crystal)
    return kept


def _twins(a: Crystal, b: Crystal) -> bool:
    """The same polymorph, but for the error of a calculated cell."""
    if a.number != b.number or a.counts.keys() != b.counts.keys():
        return False
    atoms = [sum(c.counts.values()) for c in (a, b)]
    shares = [abs(n / atoms[0] - b.counts[e] / atoms[1]) for e, n in a.counts.items()]
    return max(shares) < 0.01 and abs(a.volume_A3 / atoms[0] / (b.volume_A3 / atoms[1]) - 1) < _SAME_VOLUME


@cache
def _operations(hall: int) -> tuple[np.ndarray, np.ndarray]:
    found = _quietly("get_symmetry_from_database", hall)
    return found["rotations"], found["translations"]


def _quietly(function: str, *arguments: Any, **more: Any) -> Any:
    """Call spglib, which announces its next manners at every call; ``None`` or an error mean that it found nothing."""
    import spglib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return getattr(spglib, function)(*arguments, **more)
        except getattr(spglib, "SpglibError", ValueError):
            return None


def _orbit(hall: int, point: np.ndarray) -> np.ndarray:
    rotations, translations = _operations(hall)
    images = np.round((rotations @ point + translations) % 1, 6) % 1
    close = np.abs((images[:, None] - images[None] + 0.5) % 1 - 0.5).max(-1) < 1e-3
    return images[close.argmax(1) == np.arange(len(images))]


def _elements(formula: str) -> frozenset[str]:
    return frozenset(_SYMBOL.findall(formula))


def _formula(species: Sequence[str]) -> str:
    """Reduced formula in the order of electronegativity."""
    counts = {s: list(species).count(s) for s in dict.fromkeys(species)}
    divisor = gcd(*counts.values())
    order = sorted(counts, key=lambda e: (electronegativity(e), e))
    return "".join(f"{e}{'' if counts[e] == divisor else counts[e] // divisor}" for e in order)
