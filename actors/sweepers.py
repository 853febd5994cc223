"""Passing over a large pool with as many Ray actors as there are processors, or GPUs, to spare."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from models.acquisition.ceiling import Ceiling
from models.acquisition.sweep import sweep
from models.acquisition.unit_features import Features, UnitFeatures

log = logging.getLogger(__name__)

_FEWEST_ROWS = 200_000  # a smaller pool is passed over sooner than it is sent


class RaySweep:
    """A pass over a pool in stretches, one an actor (``models.acquisition.sweep.Sweep``).

    A memory-mapped pool is not sent: actors open its file. Where one dies, or does not see the file, its stretch is
    done here and the actor is not asked again, so that the answer never depends on them.

    Args:
        fewest_rows: pools with fewer rows are passed over in this process.
    """

    def __init__(self, fewest_rows: int = _FEWEST_ROWS) -> None:
        self._fewest_rows = fewest_rows
        self._workers: list[Any] | None = None

    def __call__(
        self, X: Features, exact: Mapping[str, np.ndarray], ceiling: Ceiling, bounds: np.ndarray, least: float
    ) -> np.ndarray:
        """Bound anew every candidate whose bound is ``least`` or more; see ``Sweep``."""
        workers = self._hire() if len(X) >= self._fewest_rows else []
        orders = [
            (stretch(X, a, b), {name: v[a:b] for name, v in exact.items()}, ceiling, bounds[a:b], least)
            for a, b in shares(len(X), max(1, len(workers)))
        ]
        if not workers:
            return sweep(*orders[0])
        asked = [worker.sweep.remote(*order) for worker, order in zip(workers, orders)]
        return np.concatenate([self._result(w, a, o) for w, a, o in zip(workers, asked, orders)])

    def _hire(self) -> list[Any]:
        """The actors, made at the first need; none where Ray does not run or has nothing to spare."""
        if self._workers is None:
            import ray

            free = ray.available_resources() if ray.is_initialized() else {}
            gpus, cpus = int(free.get("GPU", 0)), int(free.get("CPU", 0))
            if not gpus and cpus < 2:  # one alone is no faster than this process
                self._workers = []
            else:
                count = gpus or cpus
                claim: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": 1}
                threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
                actor = ray.remote(max_restarts=0, max_task_retries=0, runtime_env={"env_vars": threads}, **claim)
                self._workers = [actor(Sweeper).remote() for _ in range(count)]
        return list(self._workers)

    def _result(self, worker: Any, asked: Any, order: tuple) -> np.ndarray:
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(asked)
        except (RayError, OSError) as error:
            log.warning("a stretch of the pool is passed over here: %s", str(error).splitlines()[0])
            self._workers = [w for w in self._workers or [] if w is not worker]
            return sweep(*order)


class Sweeper:
    """What runs in an actor's process."""

    def sweep(self, *order: Any) -> np.ndarray:
        """Pass over one stretch."""
        import torch

        torch.set_num_threads(1)
        return sweep(*order)


def shares(n: int, workers: int) -> list[tuple[int, int]]:
    """Cut ``n`` rows into as many stretches as there are workers, of about equal size."""
    edges = np.linspace(0, n, workers + 1).astype(int).tolist()
    return list(pairwise(edges))


def stretch(X: Features, start: int, stop: int) -> Features:
    """Rows of a pool by themselves, cheap to send where they lie in a file."""
    return X.stretch(start, stop) if isinstance(X, UnitFeatures) else X[start:stop]
