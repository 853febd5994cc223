"""Compositions as arrays, and the statistics of their elements' properties, for many compositions at once.

The Magpie features of Ward et al. (npj Comput. Mater. 2016, 10.1038/npjcompumats.2016.28) on our own table
(``models/data/element_features.csv``).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from models.errors import DataError, ModelError

ELEMENTS = 94
"""H to Pu: atomic numbers 1 to 94 are known."""
_FILE = Path(__file__).parents[1] / "data" / "element_features.csv"
_SIMPLE = re.compile(r"(?:[A-Z][a-z]?(?:\d+\.?\d*|\.\d+)?)+")
_PART = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?")
_BLOCK = 4096
_NORMS = (2, 3, 5, 7, 10)
_STATISTICS = ("minimum", "maximum", "range", "mean", "deviation", "mode")


@dataclass(frozen=True)
class Compositions:
    """n compositions, padded to the longest.

    Attributes:
        numbers: (n, k) atomic numbers in rising order, 0 where a row has no more elements.
        fractions: (n, k) atomic fractions, each row sums to 1; 0 in the padding.
    """

    numbers: np.ndarray
    fractions: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: np.ndarray) -> Compositions:
        """Some rows, (m,)."""
        return Compositions(self.numbers[rows], self.fractions[rows])

    def dense(self) -> np.ndarray:
        """Atomic fraction of each element, (n, 94)."""
        out = np.zeros((len(self), ELEMENTS + 1))
        np.put_along_axis(out, self.numbers.astype(np.int64), self.fractions, axis=1)
        return out[:, 1:]


@cache
def element_numbers() -> dict[str, int]:
    """Symbol -> atomic number, H to Pu."""
    return {row[0]: i + 1 for i, row in enumerate(_rows()[1:])}


@cache
def element_table() -> tuple[np.ndarray, tuple[str, ...]]:
    """The properties of the elements, float64 of shape (94, p) without gaps, and their names.

    A value that is not known is the mean of the element's group, or of all elements where the group has none.
    """
    header, *rows = _rows()
    table = np.array([[float(x) if x else np.nan for x in row[1:]] for row in rows])
    fill_by_group(table, table[:, header.index("column") - 1], decimals=6)
    numbers = np.arange(1.0, ELEMENTS + 1)[:, None]
    return np.concatenate([numbers, table], axis=1), ("Z", *header[1:])


def fill_by_group(table: np.ndarray, group: np.ndarray, decimals: int) -> None:
    """Fill gaps (nan) of elements (n, p) in place: with the mean of the group, or of all where it has none."""
    for j in range(table.shape[1]):
        for i in np.flatnonzero(np.isnan(table[:, j])):
            kin = table[group == group[i], j]
            table[i, j] = np.round(np.nanmean(kin if not np.isnan(kin).all() else table[:, j]), decimals)


@cache
def element_vectors() -> np.ndarray:
    """What a neural model knows of an element before training, float32 of shape (95, d); row 0 is padding.

    One-hot group, period and kind of open shell, and the standardised properties, as in the 92-bit vectors of CGCNN.
    """
    table, names = element_table()
    column, row = table[:, names.index("column")].astype(int), table[:, names.index("row")].astype(int)
    valence = [table[:, names.index(f"{shell}_valence")] for shell in "spdf"]
    standard = (table - table.mean(axis=0)) / table.std(axis=0)
    shells = np.stack([(v > 0).astype(float) for v in valence], axis=1)
    known = np.concatenate([np.eye(18)[column - 1], np.eye(7)[row - 1], shells, np.clip(standard, -4, 4)], axis=1)
    return np.concatenate([np.zeros((1, known.shape[1])), known]).astype(np.float32)


@cache
def _rows() -> list[list[str]]:
    with _FILE.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def parse(formula: str) -> dict[str, float]:
    """Return symbol -> amount in order of first appearance; D and T are hydrogen. Raises DataError naming the fault."""
    if _SIMPLE.fullmatch(formula):
        amounts: dict[str, float] = {}
        for symbol, count in _PART.findall(formula):
            amounts[symbol] = amounts.get(symbol, 0.0) + (float(count) if count else 1.0)
    else:
        from models.elements import parse_formula

        try:
            amounts = parse_formula(formula)
        except ModelError as error:
            raise DataError(str(error)) from error
    known = element_numbers()
    for isotope in ("D", "T"):
        if isotope in amounts:
            amounts["H"] = amounts.get("H", 0.0) + amounts.pop(isotope)
    if unknown := [symbol for symbol in amounts if symbol not in known]:
        raise DataError(f"{formula!r} has what is no element from H to Pu: {', '.join(unknown)}")
    amounts = {symbol: n for symbol, n in amounts.items() if n > 0}
    if not amounts:
        raise DataError(f"{formula!r} has no atoms")
    return amounts


def compositions(amounts: Sequence[Mapping[str, float]]) -> Compositions:
    """Arrays of compositions given as symbol -> amount. Raises DataError for an unknown element or no atoms."""
    known = element_numbers()
    width = max((len(a) for a in amounts), default=1) or 1
    numbers, fractions = np.zeros((len(amounts), width), dtype=np.int64), np.zeros((len(amounts), width))
    for i, row in enumerate(amounts):
        try:
            pairs = sorted((known[symbol], amount) for symbol, amount in row.items())
        except KeyError as error:
            raise DataError(f"{error.args[0]!r} is no element from H to Pu") from error
        if not pairs or sum(n for _, n in pairs) <= 0:
            raise DataError("a composition has no atoms")
        for j, (number, amount) in enumerate(pairs):
            numbers[i, j], fractions[i, j] = number, amount
    return Compositions(numbers, fractions / fractions.sum(axis=1, keepdims=True))


def parse_all(formulas: Sequence[str]) -> Compositions:
    """Arrays of compositions given as formulas. Raises DataError naming the first that cannot be read."""
    return compositions([parse(formula) for formula in formulas])


def feature_names(*, with_fractions: bool = False) -> list[str]:
    """Names of the columns of ``magpie_features``."""
    names = [f"{prop}_{statistic}" for statistic in _STATISTICS for prop in element_table()[1]]
    names += ["elements", *(f"norm_{p}" for p in _NORMS), *(f"{shell}_share" for shell in "spdf")]
    names += ["ionic_character_max", "ionic_character_mean"]
    return names + ([f"fraction_{symbol}" for symbol in element_numbers()] if with_fractions else [])


def magpie_features(given: Compositions, *, with_fractions: bool = False) -> np.ndarray:
    """Statistics of the elements of each composition, float64 (n, 6 p + 12); none depends on the order of the elements.

    Minimum, maximum, range, fraction-weighted mean and mean absolute deviation of each of p properties, the value of
    the most abundant element, the count of elements, norms of the fractions, shares of s, p, d, f valence electrons,
    and Pauling's ionic character of the pairs; then the 94 fractions where asked for.
    """
    table = np.concatenate([np.zeros((1, element_table()[0].shape[1])), element_table()[0]])
    names = element_table()[1]
    shells = [names.index(f"{shell}_valence") for shell in "spdf"]
    negativity = table[:, names.index("electronegativity")]
    width = len(feature_names(with_fractions=with_fractions))
    out = np.empty((len(given), width))
    for start in range(0, len(given), _BLOCK):
        numbers, weight = given.numbers[start : start + _BLOCK], given.fractions[start : start + _BLOCK]
        used = int((weight > 0).sum(axis=1).max(initial=1))
        numbers, weight = numbers[:, :used], weight[:, :used]
        values, there = table[numbers], weight[:, :, None] > 0
        low = np.where(there, values, np.inf).min(axis=1)
        high = np.where(there, values, -np.inf).max(axis=1)
        mean = np.matmul(weight[:, None, :], values)[:, 0]
        deviation = np.matmul(weight[:, None, :], np.abs(values - mean[:, None, :]))[:, 0]
        mode = table[numbers[np.arange(len(numbers)), weight.argmax(axis=1)]]
        norms = [(weight**p).sum(axis=1) ** (1 / p) for p in _NORMS]
        share = mean[:, shells] / np.maximum(mean[:, shells].sum(axis=1, keepdims=True), 1e-9)
        gap = negativity[numbers][:, :, None] - negativity[numbers][:, None, :]
        pair = weight[:, :, None] * weight[:, None, :]
        ionic = np.where(pair > 0, 1.0 - np.exp(-0.25 * gap**2), 0.0)
        blocks = [low, high, high - low, mean, deviation, mode]
        blocks += [np.column_stack([(weight > 0).sum(axis=1), *norms]), share]
        blocks += [np.column_stack([ionic.max(axis=(1, 2)), (ionic * pair).sum(axis=(1, 2))])]
        if with_fractions:
            blocks.append(Compositions(numbers, weight).dense())
        out[start : start + _BLOCK] = np.concatenate(blocks, axis=1)
    return out
