"""Seko's melting points: support vectors, a Gaussian process, and the first kriging search of the review."""

from __future__ import annotations

import numpy as np

from models.blocks.composition import magpie_features
from models.blocks.kernels import GaussianProcess
from models.blocks.materials import Materials
from models.blocks.stacking import Stack
from models.predictors.property import TabularModel

_CALCULATED = (
    "cohesive_energy_eV_per_atom", "bulk_modulus_GPa", "shear_modulus_GPa", "formation_energy_eV_per_atom",
    "density_g_per_cm3",
)  # fmt: skip


class MeltingSupportVectors(TabularModel):
    """Regression of melting temperatures (Seko et al., Phys. Rev. B 2014).

    Elemental statistics, and what was calculated for the compound (cohesive energy, moduli, density) where the file has
    it. The paper compares least squares, support vectors and Gaussian processes; support vectors were best. Here they
    are stacked with a forest and boosted trees.
    """

    citation = "10.1103/PhysRevB.89.054303"
    summary = "support vectors and trees on elemental statistics and calculated properties"
    speed = "1,800"
    columns = _CALCULATED

    def features(self, materials: Materials) -> np.ndarray:
        """Elemental statistics without the fractions of single elements: few rows."""
        return magpie_features(materials.compositions)

    def regressor(self) -> Stack | GaussianProcess:
        """Support vectors, whose width and cost are searched for, and trees."""
        return Stack(trees=200, features=0.4, kernel=True, seed=self.seed)


class MeltingProcess(MeltingSupportVectors):
    """Gaussian process regression of melting temperatures (Seko et al. 2014); up to some 3,000 rows."""

    summary = "a Gaussian process on elemental statistics and calculated properties"
    speed = "15,000"

    def regressor(self) -> GaussianProcess:
        """Matern-5/2."""
        return GaussianProcess()


def kriging_search(X: np.ndarray, y: np.ndarray, *, begin: int = 12, seed: int = 0) -> int:
    """Return how many of the rows are looked at until the one with the largest y (n,) is found.

    The paper's search: a Gaussian process on all that was seen names the unseen row with the largest probability of
    improvement, from ``begin`` random ones on. Random search needs (n + 1) / 2 on average.
    """
    seen = list(np.random.default_rng(seed).permutation(len(y))[:begin])
    best = int(np.argmax(y))
    while best not in seen:
        process = GaussianProcess()
        process.fit(X[seen], y[seen])
        mean, std = process.predict(X)
        score = (mean - y[seen].max()) / std
        score[seen] = -np.inf
        seen.append(int(np.argmax(score)))
    return seen.index(best) + 1
