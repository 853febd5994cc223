"""How well a target grows on its precursors: lattice match and likeness of build, or of composition."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from models import elements
from models.blocks.materials import Cell
from models.blocks.neighbors import bonds
from models.errors import DataError
from models.synthesis.epitaxy import patches, smallest_match_A2
from models.thermo import structures
from models.thermo.entries import Phase

_FILE = Path(__file__).parents[1] / "data" / "likeness_quantiles.csv"
_NEIGHBOURS = 16
_BINS = np.linspace(0.5, 2.5, 41)
_WIDTH = 0.08
LEVELS = np.linspace(0.0, 1.0, 41)


class Likeness:
    """Compares a target with each of its precursors, in quantiles among random pairs of oxides.

    Where both crystals are known: the smallest area on which faces of the two match, and the distance of their
    fingerprints. Else both numbers are the unlikeness of the compositions.

    Args:
        target: what is to nucleate.
        precursors: on which.

    Attributes:
        epitaxy, unlikeness: (n,) 0 (like) to 1.
        known: (n,) True where both crystals are known.
    """

    def __init__(self, target: Phase, precursors: Sequence[Phase]):
        table = quantiles()
        composition = np.array([composition_distance(target.atoms, p.atoms) for p in precursors])
        self.unlikeness = np.interp(composition, table["composition"], LEVELS)
        self.epitaxy = self.unlikeness.copy()
        self.known = np.zeros(len(precursors), bool)
        own = _of(target.formula)
        for i, phase in enumerate(precursors if own is not None else ()):
            other = _of(phase.formula)
            if own is not None and other is not None:
                area, distance = compare(own, other)
                self.epitaxy[i] = np.interp(area, table["area"], LEVELS)
                self.unlikeness[i] = np.interp(distance, table["fingerprint"], LEVELS)
                self.known[i] = True

    def of_sets(self, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return epitaxy and unlikeness (m,) of the best precursor of each set (m, c), -1 for none.

        A precursor whose crystal is known goes before one that is judged by composition: the scales differ.
        """
        mean = np.append((self.epitaxy + self.unlikeness) / 2 + ~self.known, np.inf)
        best = np.take_along_axis(sets, np.argmin(mean[sets], axis=1)[:, None], 1)[:, 0]
        return self.epitaxy[best], self.unlikeness[best]


def composition_distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return 1 minus the cosine between two compositions."""
    names = sorted({*one, *other})
    a, b = (np.array([held.get(el, 0.0) for el in names]) for held in (one, other))
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))


def compare(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """Return the smallest matching area (A^2) and the distance of fingerprints of two crystals, (patches, prints)."""
    return smallest_match_A2(one[0], other[0]), float(np.linalg.norm(one[1] - other[1]))


def describe(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Return patches and fingerprint of a crystal."""
    return patches(cell.lattice), fingerprint(cell)


def fingerprint(cell: Cell) -> np.ndarray:
    """Return how atoms surround each other: smoothed distances to the nearest 16, in units of the mean spacing.

    One part for neighbours of the other kind (metal and nonmetal), one for those of the same kind; which elements they
    are does not count, so that equal prototypes are alike. Length 82.

    Raises:
        DataError: atoms that overlap.
    """
    found = bonds([cell], _NEIGHBOURS)
    spacing = (cell.volume_A3 / len(cell.numbers)) ** (1 / 3)
    nonmetal = np.isin(cell.numbers, _nonmetal_numbers())
    same = nonmetal[found.centre] == nonmetal[found.other]
    parts = []
    for mask in (~same, same):
        d = found.distance_A[mask] / spacing
        parts.append(np.exp(-0.5 * ((d[:, None] - _BINS) / _WIDTH) ** 2).sum(axis=0) / len(cell.numbers))
    return np.concatenate(parts)


@cache
def _nonmetal_numbers() -> np.ndarray:
    return elements.values("Z", sorted(elements.NONMETALS)).astype(int)


@lru_cache(maxsize=2048)
def _of(formula: str) -> tuple[np.ndarray, np.ndarray] | None:
    cell = structures.crystal(formula)
    try:
        return None if cell is None else describe(cell)
    except DataError:
        return None


@cache
def quantiles() -> dict[str, np.ndarray]:
    """Return what is usual among pairs of oxides: 41 levels from 0 to 1 of each of the three distances."""
    with _FILE.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def measure(pairs: int = 2000, seed: int = 0) -> None:
    """Write the quantiles that ship, from random pairs of oxides that share an element other than oxygen."""
    drawn = structures.all_oxides(1200, seed)
    rng = np.random.default_rng(seed)
    from models.thermo import formulas

    held = [formulas.atoms(name) for name, _ in drawn]
    described = {}
    found: list[tuple[float, float, float]] = []
    while len(found) < pairs:
        i, j = (int(x) for x in rng.integers(len(drawn), size=2))
        if i == j or not (set(held[i]) & set(held[j])) - {"O"}:
            continue
        for k in (i, j):
            if k not in described:
                described[k] = describe(drawn[k][1])
        area, distance = compare(described[i], described[j])
        found.append((composition_distance(held[i], held[j]), min(area, 1000.0), distance))
    table = np.quantile(np.array(found), LEVELS, axis=0)
    with _FILE.open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(["composition", "area", "fingerprint"])
        out.writerows([[f"{x:.5g}" for x in row] for row in table])
    quantiles.cache_clear()


if __name__ == "__main__":
    measure()
