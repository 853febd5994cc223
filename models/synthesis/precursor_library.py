"""Known recipes as arrays: which precursors brought which element, in compositions like the one asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property

import numpy as np
from scipy import sparse

from models.blocks.composition import ELEMENTS, compositions, element_numbers, element_table
from models.errors import DataError
from models.synthesis.literature import FREE, KnownRecipe, composition

SOURCES = ("folds", "years", "mined")
_LIKENESS = ("column", "row", "electronegativity", "covalent_radius_A", "most_common_oxidation")
_WIDTH = 0.8  # of the Gaussian over standardised properties that says how like two elements are
_MINED = 0.7  # how much a recipe of the unchecked release counts beside a curated one
KINDS = (
    "oxide", "carbonate", "hydroxide", "ammonium", "nitrate", "element", "halide", "chalcogenide", "compound", "other",
)  # fmt: skip
_HALOGENS, _CHALCOGENS = frozenset({"F", "Cl", "Br", "I"}), frozenset({"S", "Se", "Te", "P", "As"})


class Precursors:
    """What is to be known of each precursor, p of them.

    Attributes:
        names: formulas.
        amounts: (p, 94) atoms of each element in the formula.
        fractions: (p, 94) the same, each row summing to 1.
        brings: (p, 94) bool: the elements that it is a source of (all but O, H, C, N).
        kind: (p,) index into ``KINDS``.
        oxygen: (p,) oxygen atoms that stay in the solid after CO2, H2O, NH3 and N2O5 have left.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.amounts = np.zeros((len(names), ELEMENTS))
        number = element_numbers()
        kinds, oxygen = [], []
        for i, name in enumerate(names):
            atoms = dict(composition(name) or ())
            if not atoms:
                raise DataError(f"{name!r} is no formula of a precursor")
            for symbol, n in atoms.items():
                self.amounts[i, number[symbol] - 1] = n
            kinds.append(KINDS.index(_kind(atoms)))
            oxygen.append(_oxygen_kept(atoms))
        self.kind, self.oxygen = np.array(kinds, dtype=np.int64), np.array(oxygen)
        self.fractions = self.amounts / np.maximum(self.amounts.sum(axis=1, keepdims=True), 1e-12)
        self.brings = (self.amounts > 0) & bound_mask()[None]

    def bringing(self, ids: Sequence[int]) -> np.ndarray:
        """Bool (94,): the elements that some precursors are a source of together."""
        return np.logical_or.reduce(self.brings[np.array(ids, dtype=np.int64)], axis=0)


def _kind(atoms: Mapping[str, float]) -> str:
    elements, bound = set(atoms), set(atoms) - FREE
    if len(bound) > 1 and "N" not in elements:
        if len(elements) == 2 and bound & _HALOGENS:
            return "halide"
        return "chalcogenide" if len(elements) == 2 and bound & _CHALCOGENS else "compound"
    if len(elements) == 1:
        return "element"
    if "N" in elements:
        return "ammonium" if "H" in elements else "nitrate"
    for symbol, kind in (("C", "carbonate"), ("H", "hydroxide"), ("O", "oxide")):
        if symbol in elements:
            return kind
    return "other"


def _oxygen_kept(atoms: Mapping[str, float]) -> float:
    oxygen, carbon, hydrogen, nitrogen = (atoms.get(x, 0.0) for x in ("O", "C", "H", "N"))
    kept = oxygen
    if nitrogen and hydrogen:
        kept -= max(hydrogen - 3 * nitrogen, 0.0) / 2
    elif nitrogen and oxygen >= 3 * nitrogen - 1e-6:
        kept -= 2.5 * nitrogen
    elif hydrogen:
        kept -= hydrogen / 2
    return kept - (2 * carbon if oxygen else 0.0)


@cache
def bound_mask() -> np.ndarray:
    """Bool (94,): elements that a precursor has to bring."""
    return np.array([symbol not in FREE for symbol in element_numbers()])


@cache
def _blur() -> np.ndarray:
    """(94, 94) factor L of the likeness of elements: x @ L compares compositions in which La may stand for Nd."""
    table, names = element_table()
    chosen = table[:, [names.index(name) for name in _LIKENESS]]
    standard = (chosen - chosen.mean(axis=0)) / chosen.std(axis=0)
    distance = ((standard[:, None] - standard[None]) ** 2).sum(axis=-1)
    return np.linalg.cholesky(np.exp(-distance / (2 * _WIDTH**2)) + 1e-4 * np.eye(ELEMENTS)).astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def encodings(fractions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three unit vectors a composition (n, 94): as it is; its precursors' elements, rooted; rooted and blurred."""
    bound = np.where(bound_mask()[None], fractions, 0.0)
    return _unit(fractions), _unit(np.sqrt(bound)), _unit(np.sqrt(fractions).astype(np.float32) @ _blur())


class RecipeLibrary:
    """n recipes, and what is asked of them often.

    Attributes:
        precursors: all that occur.
        fractions: (n, 94) of the targets.
        sets: (s, p) bool, the different sets of precursors.
        set_of: (n,) row of ``sets``.
        weight: (n,) how much a recipe counts.
        curated: (n,) bool.
        origin: (n,) recipes of one row of one table share a number.
    """

    def __init__(
        self, names: Sequence[str], fractions: np.ndarray, sets: np.ndarray, set_of: np.ndarray, weight: np.ndarray,
        curated: np.ndarray, origin: np.ndarray,
    ) -> None:  # fmt: skip
        self.precursors = Precursors(names)
        self.fractions, self.sets, self.set_of = fractions.astype(np.float32), sets.astype(bool), set_of
        self.weight, self.curated, self.origin = weight.astype(np.float32), curated.astype(bool), origin
        self.encodings = encodings(self.fractions)
        self.bound = (self.fractions > 0) & bound_mask()[None]
        self.bound_float = self.bound.astype(np.float32)
        self.set_brings = self.sets.astype(np.float32) @ self.precursors.brings.astype(np.float32) > 0

    @classmethod
    def from_recipes(cls, recipes: Sequence[KnownRecipe]) -> RecipeLibrary:
        """Arrays of recipes. Raises DataError where there are none."""
        if not recipes:
            raise DataError("no recipes to learn from: the tables in ATHANOR_DATA/synthesis have none that can be read")
        names = sorted({p for recipe in recipes for p in recipe.precursors})
        place = {name: i for i, name in enumerate(names)}
        different = {recipe.precursors: 0 for recipe in recipes}
        for i, one in enumerate(different):
            different[one] = i
        sets = np.zeros((len(different), len(names)), dtype=bool)
        for one, i in different.items():
            sets[i, [place[name] for name in one]] = True
        origin = [recipe.origin * len(SOURCES) + SOURCES.index(recipe.source) for recipe in recipes]
        weight = np.sqrt([recipe.weight for recipe in recipes])
        weight *= np.where([recipe.source == "mined" for recipe in recipes], _MINED, 1.0)
        return cls(
            names, compositions([recipe.target for recipe in recipes]).dense(), sets,
            np.array([different[recipe.precursors] for recipe in recipes]), weight,
            np.array([recipe.source == "folds" for recipe in recipes]), np.array(origin),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.set_of)

    @cached_property
    def sources(self) -> list[tuple[np.ndarray, np.ndarray, sparse.csr_matrix] | None]:
        """For each element: the recipes (r,) that have it, and per precursor that brings it a row over those."""
        out: list[tuple[np.ndarray, np.ndarray, sparse.csr_matrix] | None] = []
        for element in range(ELEMENTS):
            rows = np.flatnonzero(self.bound[:, element])
            bringing = np.flatnonzero(self.precursors.brings[:, element])
            if not len(rows) or not len(bringing):
                out.append(None)
                continue
            taken = self.sets[:, bringing][self.set_of[rows]].astype(np.float32)
            shared = taken / np.maximum(taken.sum(axis=1, keepdims=True), 1.0)
            out.append((rows, bringing, sparse.csr_matrix(shared.T)))
        return out

    @cached_property
    def together(self) -> np.ndarray:
        """(p, p) weight of the recipes that have both precursors; on the diagonal, those that have one."""
        weight = np.bincount(self.set_of, weights=self.weight, minlength=len(self.sets))
        sets = self.sets.astype(np.float64)
        return (sets * weight[:, None]).T @ sets

    @cached_property
    def _by_element(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(94, n) each: what an atom of an element adds to the cosines with every recipe, so that few rows are read."""
        bare, rooted, blurred = self.encodings
        return np.ascontiguousarray(bare.T), np.ascontiguousarray(rooted.T), _blur() @ blurred.T

    def similarities(self, fractions: np.ndarray) -> np.ndarray:
        """Cosines of m targets (m, 94) with every recipe's target in the three encodings, float32 (m, 3, n)."""
        bare, rooted, _ = encodings(fractions)
        roots = np.sqrt(fractions).astype(np.float32)
        length = np.linalg.norm(roots @ _blur(), axis=-1, keepdims=True)
        rows = (bare, rooted, roots / np.maximum(length, 1e-9))
        used = np.flatnonzero((fractions > 0).any(axis=0))
        return np.stack([a[:, used] @ b[used] for a, b in zip(rows, self._by_element, strict=True)], axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint: only plain arrays; the names lie in the header."""
        numbers, targets = np.nonzero(self.fractions.T)
        return {
            "target_row": targets.astype(np.int32), "target_element": numbers.astype(np.int16),
            "target_fraction": self.fractions[targets, numbers], "sets": np.packbits(self.sets, axis=1),
            "set_of": self.set_of.astype(np.int32), "weight": self.weight, "curated": self.curated,
            "origin": self.origin.astype(np.int64),
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, names: Sequence[str], arrays: Mapping[str, np.ndarray]) -> RecipeLibrary:
        """Take what ``arrays`` gave. Raises DataError where something is missing."""
        try:
            fractions = np.zeros((len(arrays["set_of"]), ELEMENTS), dtype=np.float32)
            fractions[arrays["target_row"], arrays["target_element"]] = arrays["target_fraction"]
            sets = np.unpackbits(arrays["sets"], axis=1, count=len(names)).astype(bool)
            rest = [arrays[name] for name in ("set_of", "weight", "curated", "origin")]
            return cls(names, fractions, sets, *rest)
        except (KeyError, IndexError, ValueError) as error:
            raise DataError(f"the stored recipes are damaged ({error}); delete the file and train again") from error
