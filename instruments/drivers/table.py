"""An instrument that replays measured rows of a table."""

from __future__ import annotations

import csv
import gzip
import math
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.errors import LabError


class TableDriver:
    """Answers ``measure`` with the row that has the asked parameters; among replicates the seed draws one.

    Settings:
        file: CSV, CSV.GZ or Parquet with a header row; ``${ATHANOR_DATA}`` and other variables are expanded.
        quantities: columns to report, either names or name -> [low, high] (physical bounds for the result gate).
        parameters: columns that identify a row; left out: all columns but the quantities.
        duration_s: what one measurement would take, in simulated seconds.

    A job carries ``{"candidate": id, "parameters": {column: value}}``. Numbers are compared to 12 significant digits,
    so that ``1``, ``1.0`` and ``"1"`` are the same value. An empty cell of a quantity is reported as NaN.

    Raises:
        LabError: the file or a column does not exist.
    """

    prompt = True

    def __init__(
        self,
        *,
        workdir: Path,
        file: str,
        quantities: Sequence[str] | Mapping[str, Sequence[float]],
        parameters: Sequence[str] | None = None,
        duration_s: float = 3600.0,
    ) -> None:
        self.workdir = Path(workdir)
        self.quantities = bounds_of(quantities)
        self.duration_s = duration_s
        path = expand_path(file)
        rows = _read(path)
        columns = list(rows[0])
        self.parameters = list(parameters) if parameters else [c for c in columns if c not in self.quantities]
        missing = [c for c in [*self.parameters, *self.quantities] if c not in columns]
        if missing:
            raise LabError(f"{path}: no column {', '.join(missing)}; the table has: {', '.join(columns)}")
        self._rows: dict[tuple[str, ...], list[dict[str, float]]] = {}
        for line, row in enumerate(rows, start=2):
            key = tuple(_normal(row[c]) for c in self.parameters)
            self._rows.setdefault(key, []).append({q: _number(row[q], q, line, path) for q in self.quantities})

    def capabilities(self) -> list[Capability]:
        """One capability, ``measure``, idempotent: reading a table twice changes nothing."""
        return [Capability("measure", quantities=dict(self.quantities), idempotent=True)]

    def run(self, job: Job, progress: Progress) -> Outcome:
        """Look the parameters up; ``failed`` with a message where the table has no such row."""
        asked = job.parameters.get("parameters", {})
        missing = [c for c in self.parameters if c not in asked]
        if missing:
            return Outcome("failed", message=f"the command lacks the parameter {', '.join(missing)}")
        replicates = self._rows.get(tuple(_normal(asked[c]) for c in self.parameters))
        if not replicates:
            given = ", ".join(f"{c}={asked[c]}" for c in self.parameters)
            return Outcome("failed", message=f"the table has no row with {given}")
        progress(1.0, "row found")
        return Outcome("ok", readings=dict(random.Random(job.seed).choice(replicates)), duration_s=self.duration_s)

    def stop(self) -> None:
        """Nothing moves: nothing to stop."""

    def health(self) -> dict[str, Any]:
        """Number of different settings and of rows in the table."""
        return {"settings": len(self._rows), "rows": sum(map(len, self._rows.values()))}

    def inspect(self, job: Job) -> Outcome | None:
        """A look-up touches nothing, so an interrupted one may simply be asked again."""
        return Outcome("untouched", message="a table look-up touches nothing")


def bounds_of(quantities: Sequence[str] | Mapping[str, Sequence[float]]) -> dict[str, Limit]:
    """Return quantity name -> Limit from a list of names or from name -> [low, high]."""
    if isinstance(quantities, str):
        raise LabError(f"quantities: expected a list of names, got {quantities!r}; write [{quantities}]")
    if isinstance(quantities, Mapping):
        return {name: Limit(*map(float, pair)) if pair else Limit() for name, pair in quantities.items()}
    return {name: Limit() for name in quantities}


def expand_path(file: str) -> Path:
    """Expand ``${VARIABLE}`` and ``~`` in a path. Raises LabError naming a variable that is not set."""
    text = os.path.expanduser(os.path.expandvars(file))
    if "$" in text:
        raise LabError(f"{file}: the environment variable in this path is not set; export it and start again")
    return Path(text)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise LabError(f"{path}: no such file; give an absolute path or ${{ATHANOR_DATA}}/...")
    if path.suffix in {".parquet", ".pq"}:
        import pandas as pd

        frame = pd.read_parquet(path)
        rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    else:
        with _open(path) as stream:
            reader = csv.DictReader(stream)
            names = list(reader.fieldnames or ())
            if len(set(names)) < len(names):
                raise LabError(f"{path}: a column name stands twice in {names}; rename one")
            rows = list(reader)
    if not rows:
        raise LabError(f"{path}: the table has no rows")
    return rows


def _open(path: Path) -> IO[str]:
    """A text file, plain or gzipped; a byte order mark, as spreadsheets write it, is dropped."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8-sig")
    return path.open(newline="", encoding="utf-8-sig")


def _normal(value: Any) -> str:
    # Parsers differ in the last bit of a float (pandas' fast one, for instance): 12 digits are the value's identity.
    try:
        return f"{float(value) + 0.0:.12g}"
    except (TypeError, ValueError):
        return str(value).strip()


def _number(value: Any, column: str, line: int, path: Path) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        raise LabError(f"{path}, line {line}: column {column} holds {value!r}, not a number") from None
