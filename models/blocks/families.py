"""What the elements of one family are like by themselves: the magnetic sublattice, the rare earths, the anions."""

from __future__ import annotations

from functools import cache

import numpy as np

from models.blocks.composition import ELEMENTS, Compositions, element_table

_FAMILIES = {
    "3d": range(21, 31),
    "4d_5d": (*range(39, 49), *range(72, 81)),
    "rare_earth": (21, 39, *range(57, 72)),
    "actinide": range(89, 95),
    "s_block": (1, 3, 11, 19, 37, 55, 4, 12, 20, 38, 56),
    "p_metal": (5, 6, 13, 14, 31, 32, 49, 50, 51, 81, 82, 83),
    "nonmetal": (7, 8, 9, 15, 16, 17, 33, 34, 35, 52, 53),
}
_PROPERTIES = (
    "Z", "mendeleev_number", "covalent_radius_A", "electronegativity", "column", "row", "valence", "d_valence",
    "f_valence", "ionization_eV",
)  # fmt: skip
_SPREAD = ("Z", "covalent_radius_A")
_NONE = -1.0  # of a family that is not there: trees split it off


@cache
def family_names() -> list[str]:
    """Names of the columns of ``family_features``."""
    names = [f"{family}_share" for family in _FAMILIES]
    names += [f"{family}_{name}_mean" for family in _FAMILIES for name in _PROPERTIES]
    names += [f"{family}_{name}_deviation" for family in _FAMILIES for name in _SPREAD]
    families = list(_FAMILIES)
    return names + [f"{a}_of_{a}_and_{b}" for i, a in enumerate(families) for b in families[:i]]


def family_features(given: Compositions) -> np.ndarray:
    """Statistics of each family of elements by itself, float64 (n, 112); none depends on the order of the elements.

    Share of the atoms, mean and deviation of properties over the family's atoms alone, and the ratios of the shares:
    what decides a Curie or a superconducting temperature belongs to one sublattice, which an average over all atoms
    hides.
    """
    table, names = element_table()
    values = table[:, [names.index(name) for name in _PROPERTIES]]
    wide = [_PROPERTIES.index(name) for name in _SPREAD]
    fractions = given.dense()
    shares, means, spreads = [], [], []
    for numbers in _FAMILIES.values():
        at = np.array([z for z in numbers if z <= ELEMENTS]) - 1
        part = fractions[:, at]
        share = part.sum(axis=1, keepdims=True)
        there, part = share > 0, part / np.maximum(share, 1e-12)
        mean = part @ values[at]
        variance = part @ values[at] ** 2 - mean**2
        shares.append(share)
        means.append(np.where(there, mean, _NONE))
        spreads.append(np.where(there, np.sqrt(np.maximum(variance[:, wide], 0.0)), _NONE))
    share = np.concatenate(shares, axis=1)
    ratios = [
        share[:, i] / np.maximum(share[:, i] + share[:, j], 1e-12) for i in range(len(_FAMILIES)) for j in range(i)
    ]
    # Sums in another order differ in the last bits; a tree's thresholds must not see that.
    return np.round(np.concatenate([share, *means, *spreads, np.stack(ratios, axis=1)], axis=1), 9)
