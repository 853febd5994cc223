"""What known compounds say of another: kin by substitution and by pattern, shared systems, charges."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from itertools import combinations, permutations

import numpy as np
from scipy import sparse

from models.blocks.composition import ELEMENTS, element_numbers, element_table
from models.blocks.validity import is_plausible

_LIKENESS = ("column", "row", "electronegativity", "covalent_radius_A", "most_common_oxidation")
_WIDTH = 0.8
_DIGITS = 3
_MOST_ELEMENTS = 6  # of compounds that are compared by pattern
_CHUNK = 256
_ITSELF = 0.99999  # likeness of a compound to itself, and to no other
_PARTS = 4
_FEW = 5.0  # places that an element lacks: what was seen in few of them says little

Compound = tuple[tuple[int, float], ...]
"""(atomic number, atomic fraction), sorted: equal for equal compositions."""

NAMES = (
    "kin", "kin_weight", "nearest_kin", "least_kin", "least_kin_weight", "worst_slot_nearest", "same_system",
    "larger_system", "rarest_pair", "mean_pair", "rarest_triple", "same_pattern", "rarest_slot", "mean_slot",
    "rarest_element", "charges_balance", "elements", "smallest_fraction", "pattern_digits",
    "alike", "most_alike", "exchangeable", "most_exchangeable",
)  # fmt: skip
_COMPARED = 4  # of them, the last: comparisons of whole compounds


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


def _part_of(one: Compound) -> int:
    return zlib.crc32(repr(one).encode()) % _PARTS


@cache
def _orders(pattern: tuple[float, ...]) -> list[tuple[int, ...]]:
    """The orders that leave a pattern as it is."""
    equal = [tuple(pattern[i] for i in order) == pattern for order in permutations(range(len(pattern)))]
    return [order for order, same in zip(permutations(range(len(pattern))), equal, strict=True) if same]


class KnownCompounds:
    """Compounds, indexed by what is left when one element is taken out, and by the pattern of their fractions.

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
        single = np.array([self._features(one) for one in compounds], dtype=np.float32)
        return np.concatenate([single.reshape(-1, len(NAMES) - _COMPARED), self._compared(compounds)], axis=1)

    @cached_property
    def _exchange(self) -> list[np.ndarray]:
        """Tables (95, 95) of how freely known compounds exchange two elements: shared surroundings, a cosine, rooted.

        Each leaves one part of the compounds out, and is for those only: nothing speaks for itself.
        """
        found, places = [], {}
        for one in self.compounds:
            for i, (z, share) in enumerate(one):
                place = places.setdefault((one[:i] + one[i + 1 :], share), len(places))
                found.append((place, z, _part_of(one)))
        place, z, own = np.array(found, dtype=np.int64).reshape(-1, 3).T
        out = []
        for part in range(_PARTS):
            use = own != part
            ones = np.ones(int(use.sum()), dtype=np.float32)
            table = sparse.csr_matrix((ones, (place[use], z[use])), shape=(len(places), ELEMENTS + 1))
            shared = np.asarray((table.T @ table).todense())
            count = np.diag(shared) + _FEW
            like = np.sqrt(shared / np.sqrt(count[:, None] * count[None]))
            np.fill_diagonal(like, 1.0)
            out.append(like)
        return out

    @cached_property
    def _by_pattern(self) -> dict[tuple[float, ...], np.ndarray]:
        """Sorted fractions -> elements (m, n) of the known compounds that have them, in that order."""
        out: dict[tuple[float, ...], list[list[int]]] = defaultdict(list)
        for one in self.compounds:
            ranked = sorted(one, key=lambda pair: (pair[1], pair[0]))
            if len(one) <= _MOST_ELEMENTS:
                out[tuple(share for _, share in ranked)].append([z for z, _ in ranked])
        return {pattern: np.array(rows) for pattern, rows in out.items()}

    def _compared(self, compounds: Sequence[Compound]) -> np.ndarray:
        """(n, 4): known compounds with the same pattern, by the product of their elements' likeness: sum and most.

        Twice: by properties of the elements, and by what known compounds exchange.
        """
        out = np.zeros((len(compounds), _COMPARED), dtype=np.float32)
        asked: dict[tuple[tuple[float, ...], int], list[int]] = defaultdict(list)
        ranked = [sorted(one, key=lambda pair: (pair[1], pair[0])) for one in compounds]
        for i, (row, one) in enumerate(zip(ranked, compounds, strict=True)):
            asked[tuple(share for _, share in row), _part_of(one)].append(i)
        for (pattern, part), rows in asked.items():
            known = self._by_pattern.get(pattern)
            if known is None:
                continue
            for j, like in enumerate((self._like, self._exchange[part])):
                tables = [like[:, known[:, i]].astype(np.float32) for i in range(len(pattern))]
                for start in range(0, len(rows), _CHUNK):
                    some = rows[start : start + _CHUNK]
                    z = np.array([[number for number, _ in ranked[i]] for i in some])
                    best = np.zeros((len(some), len(known)), dtype=np.float32)
                    for order in _orders(pattern):
                        product = tables[order[0]][z[:, 0]]
                        for i in range(1, len(pattern)):
                            product *= tables[order[i]][z[:, i]]
                        np.maximum(best, product, out=best)
                    best[best > _ITSELF] = 0.0
                    out[some, 2 * j] = np.log1p(best.sum(axis=1))
                    out[some, 2 * j + 1] = best.max(axis=1)
        return out

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
