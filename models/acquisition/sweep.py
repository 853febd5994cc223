"""One pass over a pool in blocks: the candidates that may win, and a bound on all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from models.acquisition.ceiling import Ceiling
from models.acquisition.unit_features import BLOCK_ROWS, Features

_ROWS = 2048  # at a time on a processor: what is in work stays in its cache
_ROWS_ELSEWHERE = 65_536  # at a time on another device


@dataclass(frozen=True)
class Kept:
    """Candidates with the highest bounds.

    Attributes:
        rows: (k,) of the pool, by falling bound, equal ones by row.
        bounds: (k,) what each is worth at most.
        dropped: the highest bound of an eligible candidate that is not among them; None where there is none.
    """

    rows: np.ndarray
    bounds: np.ndarray
    dropped: float | None

    @classmethod
    def of(cls, rows: np.ndarray, bounds: np.ndarray, keep: int, dropped: float | None = None) -> Kept:
        """Keep the best ``keep``."""
        if len(rows) > 4 * keep:  # sorting is dear: first what is surely not among them
            least = np.partition(bounds, len(bounds) - keep)[len(bounds) - keep]
            lost = bounds < least
            dropped = _highest(dropped, bounds[lost])
            rows, bounds = rows[~lost], bounds[~lost]
        order = np.lexsort((rows, -bounds))
        rows, bounds = rows[order], bounds[order]
        return cls(rows[:keep], bounds[:keep], _highest(dropped, bounds[keep:]))

    @classmethod
    def together(cls, parts: Sequence[Kept], keep: int) -> Kept:
        """The best of several stretches of one pool."""
        dropped = [p.dropped for p in parts if p.dropped is not None]
        rows, bounds = np.concatenate([p.rows for p in parts]), np.concatenate([p.bounds for p in parts])
        return cls.of(rows, bounds, keep, max(dropped, default=None))


class Sweep(Protocol):
    """Passes over a pool, wherever that is done."""

    def __call__(
        self, X: Features, eligible: np.ndarray, exact: Mapping[str, np.ndarray], ceiling: Ceiling, keep: int
    ) -> Kept:
        """Return the ``keep`` eligible candidates with the highest bounds; the same wherever it is done.

        Args:
            X: (n, d) features in the unit cube.
            eligible: (n,) True where a candidate may be kept.
            exact: exactly known objectives of the pool, (n,) each.
            ceiling: gives the bounds.
            keep: at least 1.
        """
        ...


def sweep(
    X: Features,
    eligible: np.ndarray,
    exact: Mapping[str, np.ndarray],
    ceiling: Ceiling,
    keep: int,
    *,
    start: int = 0,
    stop: int | None = None,
    device: torch.device | None = None,
) -> Kept:
    """Pass over the rows from ``start`` up to ``stop`` in this process (``Sweep``); the other arguments cover the pool.

    Holds a block of features and ``keep`` candidates, however large the pool is. Uses a GPU where torch knows one,
    unless told otherwise: that bounds differ there in their last digits changes no choice.
    """
    device = device or (torch.device("cuda") if torch.cuda.is_available() and ceiling.portable else torch.device("cpu"))
    ceiling = ceiling.to(device)
    at_once = _ROWS if device.type == "cpu" else _ROWS_ELSEWHERE
    best, rows, bounds = Kept(np.zeros(0, np.int64), np.zeros(0), None), [], []
    waiting, least = 0, -np.inf
    stop = len(X) if stop is None else stop
    for begin in range(start, stop, max(at_once, BLOCK_ROWS)):
        block = X[begin : min(begin + max(at_once, BLOCK_ROWS), stop)]
        for offset in range(0, len(block), at_once):
            part = torch.from_numpy(block[offset : offset + at_once]).to(device)
            here = np.arange(begin + offset, begin + offset + len(part))
            known = {name: torch.from_numpy(values[here[0] : here[-1] + 1]).to(device) for name, values in exact.items()}
            with torch.no_grad():
                bound = ceiling(part, known).cpu().numpy()
            may = eligible[here[0] : here[-1] + 1]
            stays = may & ~(bound < least)
            best = Kept(best.rows, best.bounds, _highest(best.dropped, bound[may & ~stays]))
            rows.append(here[stays])
            bounds.append(bound[stays])
            waiting += len(rows[-1])
            if waiting > 2 * keep:
                best, rows, bounds, waiting = _joined(best, rows, bounds, keep), [], [], 0
                least = best.bounds[-1] if len(best.rows) == keep else -np.inf
    return _joined(best, rows, bounds, keep)


def _joined(best: Kept, rows: Sequence[np.ndarray], bounds: Sequence[np.ndarray], keep: int) -> Kept:
    return Kept.of(np.concatenate([best.rows, *rows]), np.concatenate([best.bounds, *bounds]), keep, best.dropped)


def _highest(so_far: float | None, bounds: np.ndarray) -> float | None:
    if not len(bounds):
        return so_far
    most = float(bounds.max())
    return most if so_far is None else max(so_far, most)
