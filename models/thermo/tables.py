"""Columns of Parquet files, without pandas, whose import costs more than all the reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a table, or some columns of it. Raises OSError."""
    with pq.ParquetFile(file) as source:
        return source.read(columns=None if columns is None else list(columns))
