"""The SuperCon model: superconducting transition temperatures from formulas."""

from __future__ import annotations

import numpy as np

from models.blocks.composition import magpie_features
from models.blocks.families import family_features
from models.blocks.materials import Materials
from models.blocks.stacking import Stack
from models.predictors.property import TabularModel


class SuperConForest(TabularModel):
    """Trees on elemental statistics (Stanev et al., npj Comput. Mater. 2018).

    The paper's features are Magpie's; its regression is of the logarithm of T_c above 10 K, after a classifier at that
    temperature. Here one stack of extremely randomised trees, boosted trees and a Gaussian process does both: fractions
    and statistics of each family of elements let it tell the families of superconductors apart, and the forest's median
    the ones from noughts.
    """

    citation = "10.1038/s41524-018-0085-8"
    summary = "forest, boosted trees and a Gaussian process on elemental statistics and fractions"
    speed = "2,400"
    trees, share = 100, 0.33

    def features(self, materials: Materials) -> np.ndarray:
        """Elemental statistics of all atoms and of each family's, and fractions."""
        whole = magpie_features(materials.compositions, with_fractions=True)
        return np.concatenate([whole, family_features(materials.compositions)], axis=1)

    def regressor(self) -> Stack:
        """Forest, boosted trees and, where rows are few, a Gaussian process."""
        return Stack(trees=self.trees, features=self.share, processes=("relevance",), seed=self.seed)
