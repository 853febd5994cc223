"""Arrays and settings on disk without pickle: one ``.npz`` that holds only plain arrays, and JSON inside it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import DataError

_HEADER = "athanor.json"


def save(path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
    """Write atomically: a kill leaves the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_HEADER, json.dumps(dict(header), sort_keys=True))
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what ``save`` wrote. Nothing in the file is executed.

    Raises:
        DataError: not such a file, or damaged.
    """
    try:
        arrays = {}
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read(_HEADER))
            for name in archive.namelist():
                if name.endswith(".npy"):
                    raw = io.BytesIO(archive.read(name))
                    arrays[name[:-4]] = np.lib.format.read_array(raw, allow_pickle=False)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a checkpoint of a model ({error}); train it again") from error
    return arrays, header


def nested(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays under ``prefix/``, without it."""
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(f"{prefix}/")}
