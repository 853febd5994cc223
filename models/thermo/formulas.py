"""Formulas of inorganic compounds: equal compositions have equal keys, however they are written."""

from __future__ import annotations

import re
from functools import lru_cache

from models import elements
from models.errors import DataError

Key = tuple[tuple[str, float], ...]
_WATER = re.compile(r"[·•.*]\s*(\d*\.?\d*)\s*H2O$")


@lru_cache(maxsize=50_000)
def atoms(formula: str) -> dict[str, float]:
    """Return element -> atoms of ``Ba(NO3)2`` or of a hydrate such as ``LiOH·H2O``. Raises DataError."""
    text = re.sub(r"\s+", "", formula)
    if not text:
        raise DataError("an empty formula; write it like Co2MnSi")
    if water := _WATER.search(text):
        found = dict(elements.parse_formula(text[: water.start()]))
        n = float(water.group(1) or 1)
        return {**found, "H": found.get("H", 0.0) + 2 * n, "O": found.get("O", 0.0) + n}
    try:
        return elements.parse_formula(text)
    except ValueError as error:  # a full stop that is no number
        raise DataError(f"{formula!r} is not a formula; write it like Co2MnSi or Ba(TiO3)2") from error


@lru_cache(maxsize=50_000)
def key(formula: str) -> Key:
    """Return what identifies the composition of a formula: elements in order with their share of the atoms."""
    return key_of(tuple(atoms(formula).items()))


def key_of(amounts: tuple[tuple[str, float], ...]) -> Key:
    """Return the key of element -> atoms, given as pairs."""
    total = sum(n for _, n in amounts)
    return tuple(sorted((el, round(n / total, 5)) for el, n in amounts))


@lru_cache(maxsize=50_000)
def reduced(formula: str) -> str:
    """Return the reduced formula in pymatgen's way (``BaTi2O5``, ``Li(CoO2)2``), by which data sets agree."""
    from pymatgen.core import Composition

    return Composition(atoms(formula)).reduced_formula
