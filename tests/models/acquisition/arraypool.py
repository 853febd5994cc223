"""A pool that is an array, and histories over it."""

from __future__ import annotations

import numpy as np

from models.candidate import Candidate
from models.errors import UnknownNameError
from models.observation import Observation


class ArrayPool:
    """Rows of an array as candidates ``row-0``, ``row-1``, ...; the features are the parameters."""

    def __init__(self, X, computed=None, ids=None):
        self._X = np.asarray(X, dtype=float)
        self._computed = computed or {}
        self._ids = ids or [f"row-{i}" for i in range(len(self._X))]
        self.feature_names = tuple(f"x{j}" for j in range(self._X.shape[1]))
        self.made = 0

    @property
    def features(self):
        return self._X

    def __len__(self):
        return len(self._X)

    def __getitem__(self, index):
        self.made += 1
        return Candidate(id=self._ids[index], parameters=dict(zip(self.feature_names, self._X[index].tolist())))

    def featurize(self, candidates):
        return np.array([[c.parameters[name] for name in self.feature_names] for c in candidates])

    def computed(self, name):
        if name not in self._computed:
            raise UnknownNameError(f"{name} is not computed; known: {sorted(self._computed)}")
        return np.asarray(self._computed[name], dtype=float)


def observe(pool, row, values, outcome="measured"):
    return Observation(experiment=f"e{row}", candidate=pool[row], values=values, outcome=outcome)


def ids(choices):
    return [c.candidate.id for c in choices]
