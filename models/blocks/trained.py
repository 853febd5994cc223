"""Models that train themselves at first use: kept in the cache folder under the hash of their data and settings."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.blocks import checkpoint
from models.errors import DataError

Stored = tuple[dict[str, np.ndarray], dict[str, Any]]


def cache_folder() -> Path:
    """``ATHANOR_CACHE``, or ``~/.cache/athanor``."""
    return Path(os.environ.get("ATHANOR_CACHE") or Path.home() / ".cache" / "athanor")


def trained(
    name: str, files: Sequence[Path], settings: Mapping[str, Any], train: Callable[[], Stored], minutes: float
) -> Stored:
    """Return arrays and header of a trained model: from the cache, or from ``train`` (which the cache then keeps).

    Args:
        name: of the model; the file's name begins with it.
        files: what it learns from; when one changes, the model is trained again.
        settings: whatever else changes the model.
        train: makes it.
        minutes: of one CPU core that training takes, to be told.

    Raises:
        DataError: a file is missing.
    """
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
    for file in files:
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise DataError(f"{name} learns from {file}, which cannot be read; set ATHANOR_DATA rightly") from error
    path = cache_folder() / f"{name}-{digest.hexdigest()[:16]}.npz"
    if path.is_file():
        try:
            return checkpoint.load(path)
        except DataError:
            print(f"{path} is damaged: {name} is trained again", file=sys.stderr)
    print(f"training {name} on {files[0].parent} (once, about {minutes:g} minutes of one core) ...", file=sys.stderr)
    began = time.monotonic()
    arrays, header = train()
    try:
        checkpoint.save(path, arrays, header)
        print(f"trained {name} in {time.monotonic() - began:.0f} s; kept as {path}", file=sys.stderr)
    except OSError as error:
        print(f"{name} could not be kept in {path.parent} ({error}); set ATHANOR_CACHE", file=sys.stderr)
    return arrays, header


def prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of one part among those of the whole."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def part(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Undo ``prefixed``."""
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(f"{prefix}.")}
