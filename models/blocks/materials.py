"""A table of materials: a formula a row, a crystal where the file has one, and numbers beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.blocks.composition import Compositions, compositions, element_numbers, parse
from models.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from models.candidate import Candidate

_LATTICE, _SPECIES, _POSITIONS = "lattice_matrix_ang", "species", "frac_coords"
_FORMULA_COLUMNS = ("formula", "composition", "reduced_formula")
_GAPS = ["", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None", "-nan", "<NA>", "#N/A"]
_SMALLEST_A3, _LARGEST_A3 = 2.0, 400.0  # volume an atom that a crystal can have


@dataclass(frozen=True)
class Cell:
    """A crystal as arrays: lattice (3, 3) in angstrom, rows are vectors; numbers (N,); frac (N, 3)."""

    lattice: np.ndarray
    numbers: np.ndarray
    frac: np.ndarray

    @property
    def volume_A3(self) -> float:
        """Volume of the cell."""
        a, b, c = self.lattice.tolist()
        cross = (b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0])
        return abs(a[0] * cross[0] + a[1] * cross[1] + a[2] * cross[2])

    def scaled(self, factor: float) -> Cell:
        """The same crystal with all lengths times ``factor``."""
        return Cell(self.lattice * factor, self.numbers, self.frac)


@dataclass
class Materials:
    """n materials.

    Attributes:
        formulas: as written; the order of the elements may say which site they are on.
        compositions: arrays of the same (rows that cannot be read hold hydrogen, and are flagged).
        cells: crystals, ``None`` for a row without one.
        columns: other columns of the file by name, (n,) each.
        flags: why a row cannot be used, ``""`` where it can.
    """

    formulas: list[str]
    compositions: Compositions
    cells: list[Cell | None]
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.formulas)

    def take(self, rows: np.ndarray) -> Materials:
        """Some rows, (m,) integers."""
        return Materials(
            [self.formulas[i] for i in rows],
            self.compositions.take(rows),
            [self.cells[i] for i in rows],
            {name: column[rows] for name, column in self.columns.items()},
            [self.flags[i] for i in rows],
        )

    def usable(self, *, structure: bool) -> np.ndarray:
        """(n,) True where a model that needs a composition, or a structure, can judge the row."""
        fine = np.array([not flag for flag in self.flags], dtype=bool)
        if structure:
            fine &= np.array([cell is not None for cell in self.cells], dtype=bool)
        return fine

    def numbers_of(self, name: str) -> np.ndarray:
        """A column as float64 (n,), nan where it is no number. Raises DataError where the file has no such column."""
        import pandas as pd

        if name not in self.columns:
            raise DataError(f"no column {name!r}; the file has: {', '.join(self.columns)}")
        column = np.asarray(pd.to_numeric(pd.Series(self.columns[name]), errors="coerce"), dtype=float)
        return np.where(np.isfinite(column), column, np.nan)

    @property
    def groups(self) -> np.ndarray:
        """(n,) number of the row's composition: rows with equal fractions have equal numbers."""
        dense = np.round(self.compositions.dense(), 5)
        return np.unique(dense, axis=0, return_inverse=True)[1].reshape(-1)

    @classmethod
    def from_candidates(cls, candidates: Sequence[Candidate]) -> Materials:
        """Materials of a campaign's candidates."""
        cells: list[Cell | None] = [
            cell_of(c.crystal.lattice_A, c.crystal.species, c.crystal.frac_coords) if c.crystal else None
            for c in candidates
        ]
        return cls.build([c.formula for c in candidates], cells)

    @classmethod
    def build(
        cls,
        formulas: Sequence[str],
        cells: Sequence[Cell | None] | None = None,
        columns: dict[str, np.ndarray] | None = None,
        flags: Sequence[str] | None = None,
    ) -> Materials:
        """Read the formulas and look the crystals over; what cannot be used is flagged, not dropped."""
        crystals: list[Cell | None] = list(cells) if cells is not None else [None] * len(formulas)
        notes = list(flags) if flags is not None else [""] * len(formulas)
        amounts = []
        for i, formula in enumerate(formulas):
            try:
                amounts.append(parse(formula))
            except DataError as error:
                amounts.append({"H": 1.0})
                notes[i] = notes[i] or str(error)
            cell = crystals[i]
            if cell is not None:
                notes[i] = notes[i] or absurdity(cell)
        return cls(list(formulas), compositions(amounts), crystals, columns or {}, notes)


def cell_of(lattice: Any, species: Sequence[str], frac: Any) -> Cell:
    """A crystal from its lattice (9 numbers), symbols (N) and fractional coordinates (3 N). Raises DataError."""
    lattice, frac = np.asarray(lattice, dtype=float), np.asarray(frac, dtype=float)
    if lattice.size != 9 or frac.size != 3 * len(species) or not len(species):
        raise DataError(f"a lattice needs 9 numbers and {len(species)} atoms {3 * len(species)} coordinates")
    try:
        numbers = np.array([element_numbers()[str(symbol)] for symbol in species], dtype=np.int64)
    except KeyError as error:
        raise DataError(f"{error.args[0]!r} is no element from H to Pu (a disordered site?)") from error
    return Cell(lattice.reshape(3, 3), numbers, frac.reshape(-1, 3))


def absurdity(cell: Cell) -> str:
    """Why no crystal looks like this, or ``""``: a model must not put a number on it."""
    if not (np.isfinite(cell.lattice).all() and np.isfinite(cell.frac).all()):
        return "the cell holds numbers that are not finite"
    volume = cell.volume_A3 / len(cell.numbers)
    if not _SMALLEST_A3 <= volume <= _LARGEST_A3:
        return f"absurd cell: {volume:.3g} cubic angstrom an atom (crystals have {_SMALLEST_A3:g} to {_LARGEST_A3:g})"
    return ""


def read_materials(path: Path, *, where: Sequence[str] = ()) -> Materials:
    """Read Parquet, CSV (also ``.gz``), a CIF or POSCAR file, or a folder of them.

    A crystal comes from the columns ``lattice_matrix_ang`` (9 numbers), ``species``, ``frac_coords``, or from a column
    ``cif``; without a column ``formula`` the formula is the crystal's. ``where`` keeps rows by ``COLUMN=VALUE``.

    Raises:
        DataError: no such file, no formula and no crystal in it, no row left.
    """
    import pandas as pd

    if not path.exists():
        raise DataError(f"{path} does not exist; give a Parquet or CSV file, or a folder of CIF or POSCAR files")
    if path.is_dir() or path.suffix.lower() in (".cif", ".vasp") or path.name.upper().startswith("POSCAR"):
        files = sorted(f for f in path.iterdir() if f.is_file() and _is_crystal(f)) if path.is_dir() else [path]
        frame = pd.DataFrame({"file": [f.name for f in files], "cif": [f.read_text(errors="replace") for f in files]})
    else:
        try:
            frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
        except (ValueError, OSError) as error:
            raise DataError(f"{path} cannot be read as a table: {error}") from error
    for condition in where:
        column, sign, value = condition.partition("=")
        if not sign or column not in frame:
            raise DataError(f"--where {condition}: write COLUMN=VALUE with a column of {', '.join(frame.columns)}")
        frame = frame.loc[[str(x) == value for x in frame[column]], :]
    if not len(frame):
        raise DataError(f"{path} has no rows" + (f" where {' and '.join(where)}" if where else ""))
    return _from_frame(frame.reset_index(drop=True))


def _read_csv(path: Path) -> pd.DataFrame:
    """A table in which the formula NaN is sodium with nitrogen, and everywhere else a gap."""
    import pandas as pd

    head = pd.read_csv(path, nrows=0)
    texts = [c for c in head.columns if c in (*_FORMULA_COLUMNS, "cif")]
    gaps = {c: _GAPS for c in head.columns if c not in texts}
    return pd.read_csv(path, dtype=dict.fromkeys(texts, object), keep_default_na=False, na_values=gaps)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of all files of a folder in order of name."""
    total = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            total.update(file.read_bytes())
    return total.hexdigest()


def _is_crystal(file: Path) -> bool:
    return file.suffix.lower() in (".cif", ".vasp", ".poscar") or file.name.upper().startswith(("POSCAR", "CONTCAR"))


def _from_frame(frame: pd.DataFrame) -> Materials:
    n = len(frame)
    cells: list[Cell | None] = [None] * n
    flags = [""] * n
    with_cells = {_LATTICE, _SPECIES, _POSITIONS} <= set(frame.columns)
    if with_cells:
        rows = zip(frame[_LATTICE], frame[_SPECIES], frame[_POSITIONS], strict=True)
        for i, (lattice, species, frac) in enumerate(rows):
            try:
                cells[i] = cell_of(_numbers(lattice), _words(species), _numbers(frac))
            except DataError as error:
                flags[i] = str(error)
    elif "cif" in frame:
        for i, text in enumerate(frame["cif"]):
            cells[i], flags[i] = _parse_crystal(str(text))
    named = next((c for c in _FORMULA_COLUMNS if c in frame), None)
    if named is None and not with_cells and "cif" not in frame:
        raise DataError(f"no formula and no crystal among the columns {', '.join(map(str, frame.columns))}")
    formulas = [str(x) for x in frame[named]] if named else [_formula_of(cell) for cell in cells]
    heavy = {_LATTICE, _SPECIES, _POSITIONS, "cif"}
    columns = {str(c): frame[c].to_numpy() for c in frame.columns if c not in heavy}
    return Materials.build(formulas, cells, columns, flags)


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, str):
        return np.array([float(x) for x in re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", value)])
    return np.asarray(value, dtype=float).reshape(-1)


def _words(value: Any) -> list[str]:
    return re.findall(r"[A-Z][a-z]?", value) if isinstance(value, str) else [str(x) for x in value]


def _formula_of(cell: Cell | None) -> str:
    if cell is None:
        return ""
    symbols = {number: symbol for symbol, number in element_numbers().items()}
    counts: dict[str, int] = {}
    for number in cell.numbers.tolist():
        counts[symbols[number]] = counts.get(symbols[number], 0) + 1
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in counts.items())


def _parse_crystal(text: str) -> tuple[Cell | None, str]:
    """A crystal from CIF or POSCAR text, or why there is none."""
    import warnings

    from pymatgen.core import Structure

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = "cif" if "_cell_length_a" in text else "poscar"
            found = Structure.from_str(text, fmt=kind)
    except Exception as error:  # a parser fails in many ways; the row is flagged with the reason
        return None, f"the crystal cannot be read: {str(error)[:120] or type(error).__name__}"
    if not found.is_ordered:
        return None, ""  # partial occupancy: no structure model can judge it, composition models can
    try:
        return cell_of(found.lattice.matrix, [site.specie.symbol for site in found], found.frac_coords), ""
    except (DataError, AttributeError) as error:
        return None, str(error)
