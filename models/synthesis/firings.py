"""Published firings: at which temperature, for how long and in which gas a target was made from its precursors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import DataError
from models.synthesis.literature import FREE, composition, key

MINED = "textmined_solid_state.parquet"
ATMOSPHERES = ("air", "O2", "N2", "Ar", "H2/N2")
COLDEST_C, HOTTEST_C = 200.0, 2000.0
_GASES = (
    ("hydrogen", "H2/N2"),
    ("argon", "Ar"),
    ("nitrogen", "N2"),
    ("oxygen", "O2"),
    ("air", "air"),
    ("ambient", "air"),
)
_LONGEST_H = 500.0
_WATER = re.compile(r"\+(\d*\.?\d*)H2O$")


@dataclass(frozen=True)
class Firing:
    """One synthesis.

    Attributes:
        target: symbol -> amount.
        precursors: formulas, sorted.
        temperature_C: the highest of all heating steps, NaN where not told.
        hours: at that temperature, NaN where not told.
        atmosphere: of ``ATMOSPHERES``, or "".
        paper: DOI.
    """

    target: Mapping[str, float]
    precursors: tuple[str, ...]
    temperature_C: float
    hours: float
    atmosphere: str
    paper: str


def read_firings(folder: Path) -> list[Firing]:
    """Every row of the text-mined table with a target and precursors that can be read and a plausible temperature.

    A row on a series counts once, with the first member. Equal rows of one paper count once. Temperatures outside
    200 to 2000 C are faults of the extraction; such rows are left out.

    Raises:
        DataError: no such table in ``folder``.
    """
    import pandas as pd

    path = folder / MINED
    if not path.is_file():
        raise DataError(f"no {MINED} in {folder}; set ATHANOR_DATA to the data folder")
    table = pd.read_parquet(path)
    seen: set[object] = set()
    out: list[Firing] = []
    columns = ("targets_expanded", "precursors", "doi", "T_max_C", "t_at_Tlast_h", "t_last_h", "atmospheres")
    for targets, given, paper, hottest, at, last, gases in zip(*(table[name] for name in columns), strict=True):
        amounts = composition((targets or "").split(";")[0])
        if not amounts or not COLDEST_C <= hottest <= HOTTEST_C:
            continue
        elements = {symbol for symbol, _ in amounts} | FREE
        names = {_WATER.sub("", name) for name in given.split(";")}
        read = {name: composition(name) for name in names}
        if any(atoms is None for atoms in read.values()):
            continue
        used = tuple(sorted(name for name, atoms in read.items() if atoms and {x for x, _ in atoms} <= elements))
        again = (paper, key(amounts), used, hottest)
        if not used or again in seen:
            continue
        seen.add(again)
        hours = at if at == at else last
        hours = float(hours) if 0.0 < hours <= _LONGEST_H else float("nan")
        gas = next((label for word, label in _GASES if word in (gases or "")), "")
        out.append(Firing(dict(amounts), used, float(hottest), hours, gas, str(paper)))
    return out


def read_ceilings(folder: Path) -> dict[object, float]:
    """Composition -> melting or decomposition point in C (median of what is told), of solids above 200 C."""
    import pandas as pd

    path = folder / "melting_points_s4.parquet"
    if not path.is_file():
        return {}
    table = pd.read_parquet(path)
    told: dict[object, list[float]] = {}
    for formula, point, span in zip(
        *(table[n] for n in ("composition", "melting_point_C", "range_value")), strict=True
    ):
        amounts = composition(str(formula))
        value = (
            float(point) if point == point else float(np.mean(span)) if isinstance(span, np.ndarray | list) else np.nan
        )
        if amounts and value == value:
            told.setdefault(key(amounts), []).append(value)
    return {found: float(np.median(values)) for found, values in told.items() if np.median(values) >= COLDEST_C}


def groups(names: Sequence[object]) -> np.ndarray:
    """(n,) equal numbers for equal names."""
    place: dict[object, int] = {}
    return np.array([place.setdefault(name, len(place)) for name in names], dtype=np.int64)
