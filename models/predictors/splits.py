"""Which rows teach, which choose, which judge: no composition is on two sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.blocks.materials import Materials
from models.errors import DataError

_MOST_FOLDS = 20


@dataclass(frozen=True)
class Split:
    """Row numbers of one table.

    Attributes:
        train: may teach and choose: members leave out parts of it in turn.
        test: judges; never seen.
        outer: lists of rows that judge in turn (official folds), each by models that saw the others; empty: none.
        words: how it was made, for the card.
    """

    train: np.ndarray
    test: np.ndarray
    outer: tuple[np.ndarray, ...]
    words: str


def make_split(materials: Materials, rows: np.ndarray, column: str | None, *, own_test: bool, seed: int) -> Split:
    """Split ``rows``.

    With a column: ``test...`` rows judge, ``train...`` and ``val...`` rows train, and members leave parts of both out
    in turn, which does what validation rows are for without keeping them from teaching; three to twenty whole numbers
    are folds that judge in turn.

    Args:
        materials: the table.
        rows: numbers of the rows that can be used.
        column: of the split, or None.
        own_test: there is another file to judge by, so nothing need be held out here.
        seed: of what is drawn.

    Raises:
        DataError: no such column, or nothing to train on.
    """
    none = np.zeros(0, dtype=np.int64)
    if column is None:
        if own_test:
            return Split(rows, none, (), "all rows train; the test file judges")
        test = folds(materials, rows, 10, seed)[0]
        return Split(np.setdiff1d(rows, test), test, (), "a tenth of the compositions, drawn at random, judges")
    if column not in materials.columns:
        raise DataError(f"no column {column!r} to split by; the file has: {', '.join(materials.columns)}")
    values = np.array([str(x).strip().lower() for x in materials.columns[column]])[rows]
    if numbered := _numbered(values):
        if own_test:
            return Split(rows, none, (), f"all folds of {column} train; the test file judges")
        outer = tuple(rows[np.isin(values, kind)] for kind in numbered)
        return Split(rows, none, outer, f"the {len(outer)} folds of {column} judge in turn")
    starts = {part: np.array([v.startswith(part) for v in values], dtype=bool) for part in ("train", "val", "test")}
    train, test = rows[starts["train"] | starts["val"]], rows[starts["test"]]
    words = f"{column}: {starts['train'].sum()} training and {starts['val'].sum()} validation rows train"
    if not len(train):
        raise DataError(f"column {column!r} names no training rows; it needs train, val, test, or numbers of folds")
    if own_test:
        return Split(train, none, (), f"{words}; the test file judges")
    if len(test):
        return Split(train, test, (), f"{words}; {len(test)} test rows judge")
    drawn = folds(materials, train, 10, seed)[0]
    return Split(
        np.setdiff1d(train, drawn), drawn, (),
        f"{words}; no test rows: a tenth of their compositions, drawn at random, judges",
    )  # fmt: skip


def folds(materials: Materials, rows: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Deal ``rows`` into folds of about equal size; rows of equal composition go together.

    Raises:
        DataError: fewer compositions than folds.
    """
    groups = materials.groups[rows]
    names = np.unique(groups)
    if len(names) < count:
        raise DataError(f"only {len(names)} different compositions: too few to learn from and to judge by")
    place = np.empty(groups.max() + 1, dtype=np.int64)
    place[np.random.default_rng(seed).permutation(names)] = np.arange(len(names)) % count
    return [rows[place[groups] == k] for k in range(count)]


def _numbered(values: np.ndarray) -> list[list[str]]:
    kinds: dict[float, list[str]] = {}
    for value in np.unique(values):
        try:
            kinds.setdefault(float(value), []).append(value)
        except ValueError:
            return []
    whole = all(kind == int(kind) for kind in kinds if np.isfinite(kind)) and all(map(np.isfinite, kinds))
    return list(kinds.values()) if whole and 3 <= len(kinds) <= _MOST_FOLDS else []
