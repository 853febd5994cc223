"""How a formula is written: who spells alike often reaches for the same bottles."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from models.errors import DataError
from models.synthesis.precursor_library import SOURCES, RecipeLibrary, bound_mask

_BUCKETS = 1 << 16
_LENGTHS, _MASKED_LENGTHS = (2, 3, 4), (2, 3, 4, 5)
_COMPOSITION = 0.06  # a recipe at cosine s counts exp((s - 1) / width), of compositions and of spellings
_SPELLING = (0.08, 0.25)
_NEAR = 300
_VOTES = 2 * len(_SPELLING)


class Spellings:
    """Targets of the curated recipes as their papers write them, in runs of characters weighted by rarity.

    ``La0.8Sr0.2Mn1O3`` and ``Sr0.2La0.8MnO3`` are one composition: whether a 1 is written and which element comes first
    are habits of a laboratory, as are its precursors.
    """

    def __init__(self, library: RecipeLibrary, names: Sequence[str]) -> None:
        """``names``: of the recipes that ``curated_rows`` lists, as written. Raises DataError where they do not fit."""
        self.names = tuple(names)
        self._rows = curated_rows(library)
        if len(self._rows) != len(names):
            raise DataError(f"{len(names)} names for {len(self._rows)} recipes; delete the file and train again")
        counts = _counted(self.names)
        self._rarity = np.log((len(names) + 1) / (np.asarray(counts.sum(axis=0)).ravel() + 1)).astype(np.float32)
        self._known = self._unit(counts).T.tocsr()

    def features(
        self, library: RecipeLibrary, name: str, fractions: np.ndarray, similarity: np.ndarray, chosen: np.ndarray,
        without: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """What recipes with like spelling say of sets, (k, d): of whole sets, of each element's source; the style.

        Args:
            library: known recipes.
            name: the target as written.
            fractions: (94,) of it.
            similarity: (3, n) of ``library.similarities``.
            chosen: (k, p) the sets, ones among zeros.
            without: rows of the library that must not be looked at.
        """
        rows = self._rows
        like = (self._unit(_counted([name])) @ self._known).toarray()[0]
        usable = np.ones(len(library), dtype=np.float32)
        if without is not None:
            usable[without] = 0.0
        base = library.weight[rows] * usable[rows]
        alike = np.stack([np.exp((like - 1.0) / width) for width in _SPELLING])
        near = np.exp((similarity[2, rows] - 1.0) / _COMPOSITION)
        weights = np.zeros((len(library), _VOTES), dtype=np.float32)
        weights[rows] = (base * np.concatenate([alike * near, alike])).T
        spelt = np.full(len(library), -1.0, dtype=np.float32)
        spelt[rows] = like
        bound = (fractions > 0) & bound_mask()
        total, least = _sources(library, chosen, np.flatnonzero(bound), weights)
        style = [*_style(name), float(like.max(initial=0.0))]
        columns = [*_whole(library, chosen, bound, weights, spelt, usable), total, least, total - total.max(axis=0)]
        return np.concatenate([*columns, np.repeat([style], len(chosen), axis=0)], axis=1).astype(np.float32)

    def _unit(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        weighted = sparse.csr_matrix(counts.multiply(self._rarity[None]))
        length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return sparse.csr_matrix(sparse.diags((1.0 / np.maximum(length, 1e-9)).astype(np.float32)) @ weighted)


def curated_rows(library: RecipeLibrary) -> np.ndarray:
    """Rows of a library that are from checked tables: the other one writes all formulas in its own way."""
    return np.flatnonzero(library.origin % len(SOURCES) != SOURCES.index("mined"))


def _whole(
    library: RecipeLibrary, chosen: np.ndarray, bound: np.ndarray, weights: np.ndarray, spelt: np.ndarray,
    usable: np.ndarray,
) -> list[np.ndarray]:  # fmt: skip
    """Share of the votes for just this set and for sets like it, and the likest spelling that has it."""
    most = min(_NEAR, len(weights)) - 1
    near = np.unique(np.argpartition(-weights[:, : _VOTES - 1], most, axis=0)[: most + 1])
    near = near[usable[near] > 0]
    found, place = np.unique(library.set_of[near], return_inverse=True)
    allowed = np.asarray(~(library.precursors.brings & ~bound[None]).any(axis=1))
    sets = (library.sets[found] & allowed[None]).astype(np.float32)
    votes = np.stack([np.bincount(place, weights=column, minlength=len(found)) for column in weights[near].T], axis=1)
    votes = votes / (votes.sum(axis=0) + 1e-12)
    nearest = np.full(len(found), -1.0, dtype=np.float32)
    np.maximum.at(nearest, place, spelt[near])
    shared = chosen @ sets.T
    size, sizes = chosen.sum(axis=1)[:, None], sets.sum(axis=1)[None]
    same = (shared == size) & (shared == sizes)
    like = shared / np.maximum(size + sizes - shared, 1.0)
    likest = np.where(same, nearest[None], -1.0).max(axis=1, initial=-1.0)
    return [same @ votes, like @ votes, likest[:, None]]


def _sources(
    library: RecipeLibrary, chosen: np.ndarray, elements: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sum over the elements, and least, of log share of the chosen sources, (k, votes) each."""
    total, least = np.zeros((2, len(chosen), _VOTES))
    for element in elements:
        source = library.sources[int(element)]
        if source is None:
            continue
        rows, bringing, taken = source
        votes = taken @ weights[rows]
        prior = (votes[:, -1:] + 1e-6) / (votes[:, -1].sum() + 1e-6)
        share = (votes + 1e-3 * votes.sum(axis=0) * prior + 1e-12) / (1.001 * votes.sum(axis=0) + 1e-10)
        log_share = np.maximum(np.log(chosen[:, bringing] @ share + 1e-9), -12.0)
        total += log_share
        least = np.minimum(least, log_share)
    return total, least


def _style(name: str) -> list[float]:
    """Ones written out, most decimals, brackets, length, elements by the alphabet or twice, closing zeros, O3.5."""
    numbers, elements = re.findall(r"[\d.]+", name), re.findall("[A-Z][a-z]?", name)
    decimals = [len(number.partition(".")[2]) for number in numbers]
    return [
        float("1" in numbers), float(max(decimals, default=0)), float("(" in name), float(len(name)),
        float(elements == sorted(elements)), float(len(elements) != len(set(elements))),
        float(any(number.endswith("0") and "." in number for number in numbers)),
        float(re.search(r"O\d*\.\d", name) is not None),
    ]  # fmt: skip


def _counted(names: Sequence[str]) -> sparse.csr_matrix:
    """(n, buckets): which runs of characters a name has, and which with all digits masked."""
    starts, columns = [0], []
    for name in names:
        written = f"^{name}$"
        masked = re.sub(r"\d", "0", written)
        runs = {written[i : i + n] for n in _LENGTHS for i in range(len(written) - n + 1)}
        runs |= {"#" + masked[i : i + n] for n in _MASKED_LENGTHS for i in range(len(masked) - n + 1)}
        columns += sorted({zlib.crc32(run.encode()) % _BUCKETS for run in runs})
        starts.append(len(columns))
    ones = np.ones(len(columns), dtype=np.float32)
    return sparse.csr_matrix((ones, np.array(columns, dtype=np.int64), np.array(starts)), (len(names), _BUCKETS))
