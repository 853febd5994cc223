"""What the compounds that have been made say of one that has not: kin by substitution, shared systems, charges."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from models.blocks.composition import ELEMENTS, element_numbers, element_table
from models.blocks.validity import is_plausible

_LIKENESS = ("column", "row", "electronegativity", "covalent_radius_A", "most_common_oxidation")
_WIDTH = 0.8
_DIGITS = 3

Compound = tuple[tuple[int, float], ...]
"""(atomic number, atomic fraction), sorted: equal for equal compositions."""

NAMES = (
    "kin", "kin_weight", "nearest_kin", "least_kin", "least_kin_weight", "worst_slot_nearest", "same_system",
    "larger_system", "rarest_pair", "mean_pair", "rarest_triple", "same_pattern", "rarest_slot", "mean_slot",
    "rarest_element", "charges_balance", "elements", "smallest_fraction", "pattern_digits",
)  # fmt: skip


def compound(amounts: Mapping[str, float]) -> Compound:
    """Return what equal compositions share."""
    total = sum(amounts.values())
    number = element_numbers()
    return tuple(sorted((number[symbol], round(n / total, _DIGITS)) for symbol, n in amounts.items()))


def _likeness() -> np.ndarray:
    table, names = element_table()
    chosen = table[:, [names.index(name) for name in _LIKENESS]]
    standard = (chosen - chosen.mean(axis=0)) / chosen.std(axis=0)
    distance = ((standard[:, None] - standard[None]) ** 2).sum(axis=-1)
    out = np.zeros((ELEMENTS + 1, ELEMENTS + 1))
    out[1:, 1:] = np.exp(-distance / (2 * _WIDTH**2))
    return out


class KnownCompounds:
    """Compounds with a record, indexed by what is left when one element is taken out.

    A compound never speaks for itself: asked about one that is known, the others answer.
    """

    def __init__(self, compounds: Iterable[Compound]) -> None:
        self.compounds = set(compounds)
        self._slot: dict[tuple[Compound, float], list[int]] = defaultdict(list)
        self._system: Counter[tuple[int, ...]] = Counter()
        self._part: Counter[tuple[int, ...]] = Counter()
        self._pattern: Counter[tuple[float, ...]] = Counter()
        self._place: Counter[tuple[int, tuple[float, ...], float]] = Counter()
        self._element: Counter[int] = Counter()
        self._like = _likeness()
        for one in self.compounds:
            for i, (z, share) in enumerate(one):
                self._slot[one[:i] + one[i + 1 :], share].append(z)
            for part in self._parts(one):
                part[0][part[1]] += 1

    def _parts(self, one: Compound) -> list[tuple[Counter, object]]:
        elements = tuple(z for z, _ in one)
        pattern = tuple(sorted(share for _, share in one))
        out: list[tuple[Counter, object]] = [(self._system, elements), (self._pattern, pattern)]
        out += [(self._part, pair) for pair in combinations(elements, 2)]
        if len(elements) <= 6:
            out += [(self._part, triple) for triple in combinations(elements, 3)]
        out += [(self._place, (z, pattern, share)) for z, share in one] + [(self._element, z) for z in elements]
        return out

    def features(self, compounds: Sequence[Compound]) -> np.ndarray:
        """(n, len(NAMES)), counts as logarithms."""
        return np.array([self._features(one) for one in compounds], dtype=np.float32).reshape(-1, len(NAMES))

    def _features(self, one: Compound) -> list[float]:
        own = 1 if one in self.compounds else 0
        symbols = tuple(element_numbers())
        slots = []
        for i, (z, share) in enumerate(one):
            others = [other for other in self._slot.get((one[:i] + one[i + 1 :], share), ()) if other != z]
            like = self._like[z, others]
            slots.append((len(others), float(like.sum()), float(like.max(initial=0.0))))
        counts, weights, nearest = zip(*slots, strict=True)
        elements = tuple(z for z, _ in one)
        pattern = tuple(sorted(share for _, share in one))
        pairs = [self._part[pair] - own for pair in combinations(elements, 2)]
        triples = [self._part[triple] - own for triple in combinations(elements, 3)] if len(elements) <= 6 else []
        places = [self._place[z, pattern, share] - own for z, share in one]
        same = self._system[elements] - own
        log = np.log1p
        return [
            log(sum(counts)), log(sum(weights)), max(nearest), log(min(counts)), log(min(weights)), min(nearest),
            log(same), log(min(triples) if triples else min(pairs, default=0)), log(min(pairs, default=0)),
            float(np.mean(log(pairs))) if pairs else 0.0, log(min(triples, default=0)),
            log(self._pattern[pattern] - own),
            log(min(places)), float(np.mean(log(places))), log(min(self._element[z] for z in elements) - own),
            float(is_plausible({symbols[z - 1]: share for z, share in one})), len(one), pattern[0],
            len(set(pattern)),
        ]  # fmt: skip
