"""Superhard materials: moduli by support vectors, hardness from the moduli."""

from __future__ import annotations

import numpy as np

from models.blocks.kernels import SupportVectors
from models.predictors.property import TabularModel


class SuperhardSupportVectors(TabularModel):
    """Support vector regression of bulk and shear moduli (Tehrani et al., J. Am. Chem. Soc. 2018).

    Elemental statistics and fractions; both moduli at once with ``--target bulk,shear``. The paper screens by both
    and makes the best; ``vickers_hardness_GPa`` turns them into a hardness. Fits up to ``most`` rows, drawn at random.
    """

    citation = "10.1021/jacs.8b02717"
    summary = "support vectors for bulk and shear moduli"
    speed = "32,000"
    most = 4000

    def regressor(self) -> SupportVectors:
        """Width and cost by search."""
        return SupportVectors(most=self.most, seed=self.seed)


def vickers_hardness_GPa(bulk_modulus_GPa: np.ndarray, shear_modulus_GPa: np.ndarray) -> np.ndarray:
    """Vickers hardness, 2 (k^2 G)^0.585 - 3 with k = G / B, at least 0 (Chen et al., Intermetallics 19, 1275, 2011)."""
    ratio = shear_modulus_GPa / bulk_modulus_GPa
    return np.maximum(2.0 * (ratio**2 * shear_modulus_GPa) ** 0.585 - 3.0, 0.0)
