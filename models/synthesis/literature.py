"""Recipes of the literature: what was made from what, read from text-mined tables.

The tables are those of Kononova et al. (Sci. Data 2019, 10.1038/s41597-019-0224-1) and their curated later release with
folds (Kim, Jung, Schrier, J. Am. Chem. Soc. 2024, 10.1021/jacs.4c05840).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.blocks.composition import parse
from models.errors import DataError

FREE = frozenset("OHCN")
"""Elements that the atmosphere gives or takes: no precursor has to bring them."""
FILES = ("precursor_folds.parquet", "recipes_with_year.parquet", "textmined_solid_state.parquet")
_WATER = re.compile(r"\+(\d*\.?\d*)H2O$")
_DIGITS = 5

Key = tuple[tuple[str, float], ...]
"""A composition that can be compared: (symbol, atomic fraction), sorted."""


@dataclass(frozen=True)
class KnownRecipe:
    """One target made from one set of precursors.

    Attributes:
        target: symbol -> amount.
        precursors: what it was made from, sorted; each composition in its most common spelling.
        source: ``folds``, ``years`` or ``mined``: the curated releases, and the larger, unchecked one.
        origin: recipes of one row of one table have one origin (a series in one paper).
        weight: 1, or the share of a row that holds several.
        fold: number of the fold, 0 where the recipe has none.
        name: the target as written.
    """

    target: Mapping[str, float]
    precursors: tuple[str, ...]
    source: str
    origin: int
    weight: float
    fold: int
    name: str


def data_folder(name: str) -> Path:
    """Folder ``name`` of the public data. Raises DataError that says what to set."""
    root = os.environ.get("ATHANOR_DATA", "")
    if not root:
        raise DataError(f"the learnt models train on public data: set ATHANOR_DATA to its folder (it holds {name}/)")
    folder = Path(root) / name
    if not folder.is_dir():
        raise DataError(f"no {name}/ in ATHANOR_DATA ({root}); set ATHANOR_DATA to the folder that holds it")
    return folder


@lru_cache(maxsize=200_000)
def composition(formula: str) -> tuple[tuple[str, float], ...] | None:
    """(symbol, amount) of a formula; None where it cannot be read."""
    try:
        return tuple(sorted(parse(formula).items()))
    except DataError:
        return None


def key(amounts: Iterable[tuple[str, float]]) -> Key:
    """Return what equal compositions share."""
    amounts = list(amounts)
    total = sum(n for _, n in amounts)
    return tuple(sorted((symbol, round(n / total, _DIGITS)) for symbol, n in amounts))


class _Spelling:
    """One name a composition: the curated tables' first, then the most common."""

    def __init__(self) -> None:
        self._count: dict[Key, Counter[str]] = {}

    def note(self, formula: str, weight: int) -> Key | None:
        amounts = composition(formula)
        if amounts is None:
            return None
        found = key(amounts)
        self._count.setdefault(found, Counter())[formula] += weight
        return found

    def name(self, found: Key) -> str:
        counts = self._count[found]
        return min(counts, key=lambda formula: (-counts[formula], formula))


def read_recipes(folder: Path | None = None) -> list[KnownRecipe]:
    """All recipes of the tables in ``folder`` (default: ``synthesis`` of the public data) whose formulas can be read.

    A recipe counts where its precursors bring every element of the target but O, H, C and N, without those that bring
    anything else (grinding media, dopants of other members of a series) and without the target itself. Crystal water of
    a precursor is left out. The unchecked table counts where its precursors occur in the curated ones too.
    Where only some of the tables are there, those are read.

    Raises:
        DataError: none of the tables is there.
    """
    import pandas as pd

    folder = data_folder("synthesis") if folder is None else folder
    there = [folder / name for name in FILES if (folder / name).is_file()]
    if not there:
        raise DataError(f"{folder} holds none of {', '.join(FILES)}; set ATHANOR_DATA to the data folder")
    spelling = _Spelling()
    rows: list[tuple[str, list[Key | None], str, int, float, int]] = []
    curated: set[str] = set()
    for path in there:
        table = pd.read_parquet(path)
        if path.name == FILES[0]:
            curated = set(table["target"])
            for i, (target, fold, sets) in enumerate(
                zip(table["target"], table["test_fold"], table["precursor_sets"], strict=True)
            ):
                found = [tuple(spelling.note(p, 1000) for p in one.split(";")) for one in sets.split(" | ")]
                for one in dict.fromkeys(tuple(sorted(x, key=str)) for x in found):
                    rows.append((target, list(one), "folds", i, 1.0 / len(found), int(fold)))
        elif path.name == FILES[1]:
            for i, (target, given) in enumerate(zip(table["target"], table["precursors"], strict=True)):
                if target not in curated:
                    rows.append((target, [spelling.note(p, 1000) for p in given.split(";")], "years", i, 1.0, 0))
        else:
            for i, (targets, given) in enumerate(zip(table["targets_expanded"], table["precursors"], strict=True)):
                brought = [spelling.note(_WATER.sub("", p), 1) for p in given.split(";")]
                names = {key(amounts): name for name in targets.split(";") if (amounts := composition(name))}
                for name in names.values():
                    rows.append((name, brought, "mined", i, 1.0 / len(names), 0))
    recipes = [recipe for row in rows if (recipe := _recipe(*row, spelling)) is not None]
    checked = {p for recipe in recipes if recipe.source != "mined" for p in recipe.precursors}
    return [recipe for recipe in recipes if not checked or checked.issuperset(recipe.precursors)]


def _recipe(
    target: str, brought: list[Key | None], source: str, origin: int, weight: float, fold: int, spelling: _Spelling
) -> KnownRecipe | None:
    amounts = composition(target)
    if amounts is None or None in brought:
        return None
    elements = {symbol for symbol, _ in amounts}
    used = {one for one in brought if one and {symbol for symbol, _ in one} <= elements | FREE} - {key(amounts)}
    if not elements - FREE <= {symbol for one in used for symbol, _ in one} or not used:
        return None
    names = tuple(sorted(spelling.name(one) for one in used))
    return KnownRecipe(dict(amounts), names, source, origin, weight, fold, target)
