"""A stack on everything that is tabulated of a formula's elements, and what a potential learned of them."""

from __future__ import annotations

import numpy as np

from models.blocks.element_knowledge import knowledge_features
from models.blocks.materials import Materials
from models.predictors.supercon import SuperConForest


class ElementStack(SuperConForest):
    """Statistics of elemental properties (Ward et al., npj Comput. Mater. 2016), for calculated properties.

    Beside what ``supercon`` sees: how stiff and how large the elements are as solids and as ions, and CHGNet's vectors
    of them. Moduli, thermal expansion and energies are foretold better by these, transition temperatures worse.
    """

    citation = "10.1038/npjcompumats.2016.28"
    summary = "supercon's stack with moduli and ions of the elements, and CHGNet's vectors of them"
    speed = "2,200"

    def features(self, materials: Materials) -> np.ndarray:
        """Those of ``supercon``, and statistics of what more is known of the elements."""
        return np.concatenate([super().features(materials), knowledge_features(materials.compositions)], axis=1)
