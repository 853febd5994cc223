"""A pool whose candidates have crude estimates among their features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.candidate import Candidate
from models.errors import DataError
from models.quantities import compute
from models.roles import Pool


def with_crude(pool: Pool, names: Sequence[str]) -> Pool:
    """Add quantities that are known of every candidate, computed or numeric parameters, as features.

    Crude estimation of property: Zhang & Ling, npj Comput. Mater. 4, 25 (2018). The pool itself where there is nothing
    to add.

    Raises:
        UnknownNameError: the pool cannot compute one.
    """
    missing = [name for name in names if name not in pool.feature_names]
    return _WithCrude(pool, missing) if missing else pool


class _WithCrude:
    def __init__(self, pool: Pool, names: Sequence[str]) -> None:
        self._pool, self._names = pool, tuple(names)
        self.space = getattr(pool, "space", None)
        self.feature_names = (*pool.feature_names, *names)
        columns = [np.asarray(pool.computed(name), dtype=float) for name in names]
        self.features = np.column_stack([np.asarray(pool.features, dtype=float), *columns])

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, index: int) -> Candidate:
        return self._pool[index]

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        if not candidates:
            return np.zeros((0, len(self.feature_names)))
        try:
            columns = [compute(name, candidates) for name in self._names]
        except (DataError, LookupError) as error:
            raise DataError(f"crude: {', '.join(self._names)} of {candidates[0].id} and others: {error}") from error
        return np.column_stack([self._pool.featurize(candidates), *columns])

    def computed(self, name: str) -> np.ndarray:
        return self._pool.computed(name)
