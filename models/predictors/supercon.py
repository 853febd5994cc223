"""The SuperCon forest: superconducting transition temperatures from formulas."""

from __future__ import annotations

from models.predictors.property import TabularModel


class SuperConForest(TabularModel):
    """A forest on elemental statistics (Stanev et al., npj Comput. Mater. 2018).

    The paper's features are Magpie's; its regression is of the logarithm of T_c above 10 K, after a classifier at that
    temperature. Here one forest of extremely randomised trees does both: fractions among the features let it tell the
    families apart.
    """

    citation = "10.1038/s41524-018-0085-8"
    summary = "a forest on elemental statistics and fractions"
    speed = "940"
    trees, share = 400, 0.4
