"""How well a target grows on its precursors: lattice match and likeness of build, or of composition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.thermo.entries import Phase


class Likeness:
    """Compares a target with each of its precursors.

    Args:
        target: what is to nucleate.
        precursors: on which.
    """

    def __init__(self, target: Phase, precursors: Sequence[Phase]):
        names = sorted({el for p in (target, *precursors) for el in p.atoms})
        shares = np.array([[p.atoms.get(el, 0.0) / p.n_atoms for el in names] for p in (target, *precursors)])
        shares /= np.linalg.norm(shares, axis=1, keepdims=True)
        self.unlikeness = np.clip(1 - shares[1:] @ shares[0], 0.0, 1.0)
        self.epitaxy = self.unlikeness.copy()

    def of_sets(self, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return epitaxy and unlikeness (m,) of the best precursor of each set (m, c), -1 for none."""
        mean = np.append((self.epitaxy + self.unlikeness) / 2, np.inf)
        best = np.take_along_axis(sets, np.argmin(mean[sets], axis=1)[:, None], 1)[:, 0]
        return self.epitaxy[best], self.unlikeness[best]
