"""The rows of a table as candidates: what was measured already, played again."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models import elements
from models.candidate import Candidate, Value
from models.errors import DataError, UnknownNameError
from models.features import composition_features
from models.spaces.base import EnumerableSpace
from models.spaces.spec import TableSpec

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 200
"""More distinct texts than this in one column are names, not categories."""
_MOST_FRACTIONS = 20


class TableSpace(EnumerableSpace):
    """One candidate for every different setting of the parameters in a table.

    Rows with equal parameters are replicates of one candidate, whose id is ``row-<first row>`` (rows count from 0
    below the header). Features: numeric columns as they are, text columns one-hot, and, for a formula column,
    the statistics of ``models.features`` with the atomic fractions (up to 20 elements).
    """

    def __init__(self, spec: TableSpec, base_dir: Path = Path(), outcomes: Sequence[str] = ()):
        """Read the file. Raises DataError naming the column or row, and what there is instead."""
        import pandas as pd

        self.spec = spec
        self.path = table_path(spec.file, base_dir)
        frame = read_table(self.path)
        self.columns = _parameter_columns(spec, [str(c) for c in frame.columns], outcomes, self.path)
        for name in outcomes if spec.results else ():
            if name not in frame.columns:
                raise DataError(
                    f"{self.path.name} has no column {name!r} for an objective or constraint; "
                    f"its columns are {list(frame.columns)}"
                )
            _require_numbers(frame[name], name, self.path)
        table = frame.loc[:, self.columns]
        missing = table.isna() | table.isin([np.inf, -np.inf])
        if missing.to_numpy().any():
            row, column = map(int, np.argwhere(missing.to_numpy())[0])
            raise DataError(
                f"{self.path.name}: row {row} (line {row + 2}) has no finite value in parameter "
                f"{self.columns[column]!r}; fill it in, remove the row, or leave the column out of 'parameters'"
            )
        first = ~table.duplicated()
        self._first_rows = np.flatnonzero(first.to_numpy())
        self._table = table.iloc[self._first_rows].reset_index(drop=True)
        self._numeric = [c for c in self.columns if pd.api.types.is_numeric_dtype(self._table[c].dtype)]
        self._compositions: list[dict[str, float]] = []
        if spec.composition is not None:
            self._compositions = [
                _formula(str(text), int(row), spec.composition, self.path)
                for text, row in zip(self._table[spec.composition], self._first_rows, strict=True)
            ]
        present = {el for c in self._compositions for el in c}
        self._symbols = tuple(el for el in elements.symbols() if el in present)
        self._features, self._feature_names = self._make_features()
        self._index = {f"row-{row}": i for i, row in enumerate(self._first_rows.tolist())}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return self._feature_names

    @property
    def size(self) -> int:
        """How many different settings there are."""
        return len(self._first_rows)

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements of the formula column, by atomic number; empty without one."""
        return self._symbols

    def __getitem__(self, index: int) -> Candidate:
        if not 0 <= index < self.size:
            raise IndexError(f"candidate {index} of a table with {self.size}")
        return Candidate(
            id=self.name_of(index),
            composition=self._compositions[index] if self._compositions else {},
            parameters={c: _plain(self._table[c].iat[index]) for c in self.columns},
        )

    def name_of(self, index: int) -> str:
        """Id of candidate number ``index``."""
        return f"row-{int(self._first_rows[index])}"

    def index_of(self, candidate: Candidate | str) -> int:
        """Number of a candidate or id. Raises UnknownNameError where the table has no such row."""
        name = candidate if isinstance(candidate, str) else candidate.id
        if name not in self._index:
            raise UnknownNameError(f"{name!r} is no candidate of {self.path.name}: not the first row of a setting")
        return self._index[name]

    def features_at(self, indices: np.ndarray) -> np.ndarray:
        """Features of candidates by number, shape (len(indices), d)."""
        return self._features[np.asarray(indices, dtype=np.int64)]

    def amounts_at(self, indices: np.ndarray) -> np.ndarray:
        """Atoms per formula unit, shape (len(indices), len(self.elements))."""
        if not self._compositions:
            return np.zeros((len(indices), 0))
        return elements.amounts([self._compositions[int(i)] for i in indices], self._symbols)

    def parameter_at(self, name: str, indices: np.ndarray) -> np.ndarray | None:
        """A numeric parameter column, (len(indices),), or None where there is none of that name."""
        if name not in self._numeric:
            return None
        return self._table[name].to_numpy(dtype=float)[np.asarray(indices, dtype=np.int64)]

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Features of rows of the table, or of candidates from elsewhere with the same parameters, shape (len, d).

        Raises:
            DataError: a candidate lacks a parameter, or has an element or a word that the table does not have.
        """
        known = [self._index.get(candidate.id, -1) for candidate in candidates]
        out = self._features[np.array(known, dtype=np.int64)] if len(known) else np.zeros((0, len(self._feature_names)))
        for place in [k for k, index in enumerate(known) if index < 0]:
            out[place] = self._foreign(candidates[place])
        return out

    def _foreign(self, candidate: Candidate) -> np.ndarray:
        parts: list[np.ndarray] = []
        for c in self.columns:
            said = candidate.parameters.get(c)
            if c == self.spec.composition:
                continue
            if said is None:
                raise DataError(f"{candidate.id}: no parameter {c!r}, which {self.path.name} has")
            if c in self._numeric:
                parts.append(np.array([float(said)]))
                continue
            levels = [n.partition("=")[2] for n in self._feature_names if n.startswith(f"{c}=")]
            if str(said) not in levels:
                raise DataError(f"{candidate.id}: {c} = {said!r} is none of {levels} in {self.path.name}")
            parts.append(np.array([float(str(said) == level) for level in levels]))
        if self._compositions:
            text = candidate.parameters.get(self.spec.composition or "")
            composition = candidate.composition or elements.parse_formula(str(text))
            strange = sorted(set(composition) - set(self._symbols))
            if strange:
                raise DataError(f"{candidate.id}: {self.path.name} has no {', '.join(strange)}")
            amounts = elements.amounts([composition], self._symbols)
            parts.append(composition_features(amounts, self._symbols)[0][0])
            if len(self._symbols) <= _MOST_FRACTIONS:
                parts.append((amounts / amounts.sum())[0])
        return np.concatenate(parts)

    def _make_features(self) -> tuple[np.ndarray, tuple[str, ...]]:
        columns: list[np.ndarray] = []
        names: list[str] = []
        for c in self.columns:
            if c == self.spec.composition:
                continue
            if c in self._numeric:
                columns.append(self._table[c].to_numpy(dtype=float)[:, None])
                names.append(c)
                continue
            texts = np.array([str(value) for value in self._table[c]])
            levels, inverse = np.unique(texts, return_inverse=True)
            if len(levels) > MOST_CATEGORIES:
                raise DataError(
                    f"{self.path.name}: parameter {c!r} has {len(levels)} different texts, too many to learn from; "
                    f"leave it out of 'parameters', or name it as 'composition' if it holds formulas"
                )
            columns.append(np.eye(len(levels))[inverse])
            names += [f"{c}={level}" for level in levels]
        if self._compositions:
            amounts = elements.amounts(self._compositions, self._symbols)
            statistics, statistic_names = composition_features(amounts, self._symbols)
            columns.append(statistics)
            names += statistic_names
            if len(self._symbols) <= _MOST_FRACTIONS:
                columns.append(amounts / amounts.sum(axis=1, keepdims=True))
                names += [f"fraction_{el}" for el in self._symbols]
        return np.hstack(columns), tuple(names)


def table_path(file: str, base_dir: Path) -> Path:
    """Return where a table lies: ``${VARIABLE}`` filled in, relative to ``base_dir``.

    Raises:
        DataError: the variable is not set, or there is no such file.
    """

    def fill(match: re.Match[str]) -> str:
        value = os.environ.get(match.group(1))
        if not value:
            raise DataError(f"{file}: the environment variable {match.group(1)} is not set; export it, or write a path")
        return value

    path = base_dir / re.sub(r"\$\{(\w+)\}", fill, file)
    if not path.is_file():
        raise DataError(f"there is no table {path}; 'file' is relative to the campaign file")
    return path


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV, CSV.GZ or Parquet file as a DataFrame. Raises DataError where it is not one."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix in (".parquet", ".pq") else pd.read_csv(path)
    except Exception as error:
        raise DataError(f"{path} cannot be read as {'Parquet' if 'par' in path.suffix else 'CSV'}: {error}") from error
    if frame.empty:
        raise DataError(f"{path} has no rows")
    if path.suffix not in (".parquet", ".pq"):
        # pandas renames a repeated column `a` to `a.1` without a word.
        header = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].tolist()
        twice = [name for name in header if header.count(name) > 1]
        if twice:
            raise DataError(f"{path}: the column {twice[0]!r} stands twice in the header; rename one")
    return frame


def _require_numbers(column: Any, name: str, path: Path) -> None:
    """Raise DataError at the first entry that is neither a number nor empty."""
    import pandas as pd

    numbers = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=float)
    bad = np.flatnonzero(np.isnan(numbers) & ~np.asarray(column.isna()))
    if bad.size:
        row = int(bad[0])
        raise DataError(
            f"{path.name}: row {row} (line {row + 2}) has {column.iloc[row]!r} in {name!r}; "
            "an objective or constraint must be a number or empty"
        )


def _parameter_columns(spec: TableSpec, columns: list[str], outcomes: Sequence[str], path: Path) -> list[str]:
    if isinstance(spec.parameters, str):
        wanted = [c for c in columns if c not in outcomes]
        if not wanted:
            raise DataError(f"{path.name} has no column besides the objectives {list(outcomes)}")
    else:
        wanted = list(spec.parameters)
    both = [c for c in wanted if c in outcomes]
    if both:
        raise DataError(f"{both} are objectives or constraints and cannot be parameters too")
    if spec.composition is not None and spec.composition not in wanted:
        wanted.append(spec.composition)
    unknown = [c for c in wanted if c not in columns]
    if unknown:
        raise DataError(f"{path.name} has no column {unknown}; its columns are {columns}")
    return wanted


def _formula(text: str, row: int, column: str, path: Path) -> dict[str, float]:
    try:
        return elements.parse_formula(text)
    except DataError as error:
        raise DataError(f"{path.name}: row {row} (line {row + 2}), column {column!r}: {error}") from error


def _plain(value: object) -> Value:
    """Return a numpy or pandas scalar as a plain Python one."""
    if isinstance(value, np.bool_ | bool):
        return str(bool(value))
    if isinstance(value, np.integer | int):
        return int(value)
    if isinstance(value, np.floating | float):
        return float(value)
    return str(value)
