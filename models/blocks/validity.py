"""Is a formula chemically plausible: can its charges balance, with the more electronegative elements negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from models.elements import NONMETALS, electronegativity, oxidation_states

_TOLERANCE = 1e-6


@cache
def _ranges(element: str) -> tuple[tuple[int, int, bool], ...]:
    """(lowest, highest charge, is a cation) of an element: one range a sign."""
    states = oxidation_states(element)
    signs = ([q for q in states if q < 0], [q for q in states if q > 0])
    return tuple((min(part), max(part), part[0] > 0) for part in signs if part)


_electronegativity = cache(electronegativity)


def is_plausible(amounts: Mapping[str, float]) -> bool:
    """True where common oxidation states can balance and no anion is less electronegative than a cation.

    An element has one sign in a compound, and any mean charge between its lowest and highest state of that sign (mixed
    valence). An element by itself and a mixture of metals need no charges. SMACT's rules (Davies et al., Chem 2016,
    10.1016/j.chempr.2016.09.010), which know no mixed valence.
    """
    if len(amounts) == 1 or NONMETALS.isdisjoint(amounts):
        return True
    # Signs follow electronegativity: cations first, anions after them, so that only the border has to be found.
    ranked = sorted((_electronegativity(element), element, count) for element, count in amounts.items())
    for border in range(1, len(ranked)):
        low = high = 0.0
        for k, (_, element, count) in enumerate(ranked):
            match = [r for r in _ranges(element) if r[2] == (k < border)]
            if not match:
                break
            low, high = low + count * match[0][0], high + count * match[0][1]
        else:
            if low <= _TOLERANCE and high >= -_TOLERANCE:
                return True
    return False


def plausible(amounts: Sequence[Mapping[str, float]]) -> np.ndarray:
    """``is_plausible`` of each composition, bool (n,)."""
    return np.array([is_plausible(one) for one in amounts], dtype=bool)
