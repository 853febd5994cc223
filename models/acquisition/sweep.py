"""One pass over a pool in blocks: what every candidate is worth at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from models.acquisition.ceiling import Ceiling
from models.acquisition.unit_features import BLOCK_ROWS, Features

_ROWS = 2048  # at a time on a processor: what is in work stays in its cache
_ROWS_ELSEWHERE = 65_536  # at a time on another device


class Sweep(Protocol):
    """Passes over a pool, wherever that is done."""

    def __call__(
        self, X: Features, exact: Mapping[str, np.ndarray], ceiling: Ceiling, bounds: np.ndarray, least: float
    ) -> np.ndarray:
        """Bound anew every candidate whose bound is ``least`` or more.

        Args:
            X: (n, d) features in the unit cube.
            exact: exactly known objectives of the pool, (n,) each.
            ceiling: gives the bounds.
            bounds: (n,) float32, valid before; minus infinity for candidates that are out of the question.
            least: bounds below it are left as they are.

        Returns:
            (n,) float32.
        """
        ...


def sweep(
    X: Features,
    exact: Mapping[str, np.ndarray],
    ceiling: Ceiling,
    bounds: np.ndarray,
    least: float,
    *,
    device: torch.device | None = None,
) -> np.ndarray:
    """Pass over a pool in this process (``Sweep``), holding one block of features however large it is.

    Uses a GPU where torch knows one, unless told otherwise: that bounds differ there in their last digits changes no
    choice.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() and ceiling.portable else "cpu")
    ceiling = ceiling.to(device)
    at_once = _ROWS if device.type == "cpu" else _ROWS_ELSEWHERE
    bounds = bounds.copy()
    wanted = (bounds >= np.float32(least)) & (bounds > -np.inf)
    for begin in range(0, len(X), max(at_once, BLOCK_ROWS)):
        stop = min(begin + max(at_once, BLOCK_ROWS), len(X))
        places = np.flatnonzero(wanted[begin:stop])
        if not len(places):
            continue
        block = X[begin:stop]
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            whole = some[-1] - some[0] + 1 == len(some)
            part = block[some[0] : some[-1] + 1] if whole else block[some]
            known = {name: torch.from_numpy(values[begin + some]).to(device) for name, values in exact.items()}
            with torch.no_grad():
                bound = ceiling(torch.from_numpy(part).to(device), known).cpu().numpy()
            bounds[begin + some] = _rounded_up(bound)
    return bounds


def _rounded_up(bounds: np.ndarray) -> np.ndarray:
    """As float32, never less, and finite: minus infinity is kept for what is out of the question."""
    single = np.clip(bounds, -3e38, 3e38).astype(np.float32)
    return np.nextafter(single, np.float32(np.inf))
