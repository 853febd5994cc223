"""What was computed of crystals, on disk: graphs and arrays made once, by the same settings of the same crystals."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.blocks import checkpoint
from models.blocks.graphs import GraphSet, crystal_graphs, fingerprint
from models.blocks.materials import Cell, Materials
from models.errors import DataError

log = logging.getLogger(__name__)

FEWEST = 2000
"""Fewer crystals are sooner made again than looked up."""
MOST_BYTES = 2 * 2**30
"""What all sets together may take; those that were not used for longest go first."""
_FORMAT = 1
_FLAT = [field.name for field in fields(GraphSet) if field.name not in ("edge", "node", "extra")]


def folder() -> Path | None:
    """Where sets are kept: ``ATHANOR_CACHE`` (empty: nowhere), else ``athanor/graphs`` in the user's cache folder."""
    given = os.environ.get("ATHANOR_CACHE")
    if given is not None:
        return Path(given) / "graphs" if given else None
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "athanor" / "graphs"


def cached(make: Callable[..., GraphSet], cells: Sequence[Cell], **settings: Any) -> GraphSet:
    """``make(cells, **settings)``, or the same from disk.

    Args:
        make: ``crystal_graphs``, ``metal_graphs``.
        cells: n crystals; fewer than ``FEWEST`` are not kept.
        settings: of ``make``; with the crystals they are the set's fingerprint.

    Raises:
        DataError: what ``make`` raises. A file that is damaged or a disk that is full only costs time.
    """
    if len(cells) < FEWEST:
        return make(cells, **settings)
    found = arrays_of(make.__name__, cells, lambda: _to_arrays(make(cells, **settings)), **settings)
    return _from_arrays(found)


def arrays_of(
    name: str, cells: Sequence[Cell], make: Callable[[], dict[str, np.ndarray]], **settings: Any
) -> dict[str, np.ndarray]:
    """``make()``, or the same from disk.

    Args:
        name: of what is made; with the crystals and the settings it is the fingerprint.
        cells: n crystals.
        make: computes it.
        settings: of ``make``.

    Raises:
        DataError: what ``make`` raises. A file that is damaged or a disk that is full only costs time.
    """
    where = folder()
    if where is None:
        return make()
    key = fingerprint({"make": name, "format": _FORMAT, **settings}, cells)
    path = where / f"{key}.npz"
    if path.is_file():
        try:
            arrays = _read(path, key)
            os.utime(path)
            return arrays
        except (DataError, KeyError, TypeError, OSError) as error:
            log.warning("%s is made again: %s", path, error)
    arrays = make()
    try:
        checkpoint.save(path, arrays, {"fingerprint": key})
        _bound(where)
    except OSError as error:
        log.warning("what was made could not be kept in %s: %s", where, error)
    return arrays


def graphs_of(materials: Materials, make: Callable[..., GraphSet] = crystal_graphs, **settings: Any) -> GraphSet:
    """Graphs of all materials that have a crystal, kept where they are many."""
    return cached(make, [cell for cell in materials.cells if cell is not None], **settings)


def _to_arrays(graphs: GraphSet) -> dict[str, np.ndarray]:
    arrays = {key: getattr(graphs, key).numpy() for key in _FLAT}
    for part in ("edge", "node"):
        arrays |= {f"{part}/{key}": value.numpy() for key, value in getattr(graphs, part).items()}
    if graphs.extra is not None:
        arrays["extra"] = graphs.extra.numpy()
    return arrays


def _from_arrays(arrays: dict[str, np.ndarray]) -> GraphSet:
    tensors: dict[str, Tensor] = {key: torch.from_numpy(array) for key, array in arrays.items()}
    edge, node = (
        {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{part}/")}
        for part in ("edge", "node")
    )
    return GraphSet(**{key: tensors[key] for key in _FLAT}, edge=edge, node=node, extra=tensors.get("extra"))


def _read(path: Path, key: str) -> dict[str, np.ndarray]:
    arrays, header = checkpoint.load(path)
    if header.get("fingerprint") != key:
        raise DataError(f"it is of {header.get('fingerprint')}")
    return arrays


def _bound(where: Path) -> None:
    """Delete the least recently used until the rest fits."""
    files = sorted(((file.stat(), file) for file in where.glob("*.npz")), key=lambda row: row[0].st_mtime)
    total = sum(stat.st_size for stat, _ in files)
    for stat, file in files[:-1]:
        if total <= MOST_BYTES:
            break
        file.unlink(missing_ok=True)
        total -= stat.st_size
