"""The elements: a table of properties that ships as ``models/data/elements.csv``, as arrays.

Sources, column by column, are in ``models/data/README.md``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from models.errors import DataError, UnknownNameError

_FILE = Path(__file__).parent / "data" / "elements.csv"
_TEXT_COLUMNS = ("symbol", "block", "oxidation_states", "ionic_radii_A")

NONMETALS = frozenset(re.findall(r"\w+", "H He C N O F Ne P S Cl Ar Se Br Kr I Xe At Rn"))
"""Elements that make a compound a salt, an oxide, ... rather than an alloy."""

RARE_EARTH: Mapping[str, str] = dict.fromkeys(
    re.findall(r"\w+", "Sc Y La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"),
    "rare earth: mined and refined almost wholly in one country (production HHI 9500 and more)",
)
"""Element -> why a campaign may want to leave it out."""
RADIOACTIVE: Mapping[str, str] = dict.fromkeys(
    re.findall(r"\w+", "Tc Pm Po At Rn Fr Ra Ac Th Pa U Np Pu"),
    "no stable isotope: not handled outside licensed laboratories",
)
POISONOUS: Mapping[str, str] = {
    "Be": "beryllium dust: chronic beryllium disease, carcinogenic",
    "As": "arsenic: poisonous and carcinogenic; sublimes at 614 C, far below any melt",
    "Cd": "cadmium: poisonous and carcinogenic; boils at 767 C, so that an arc fills the chamber with it",
    "Hg": "mercury: poisonous vapour at room temperature",
    "Tl": "thallium: lethal in gram amounts, absorbed through the skin",
    "Pb": "lead: cumulative poison, restricted by RoHS",
    "Os": "osmium: forms volatile, poisonous OsO4 in air",
    "Se": "selenium: poisonous; its hydride is lethal in ppm",
    "Te": "tellurium: poisonous; strongly volatile in a melt",
}


@cache
def _columns() -> dict[str, np.ndarray]:
    with _FILE.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    columns: dict[str, np.ndarray] = {}
    for name in rows[0]:
        text = [row[name] for row in rows]
        columns[name] = np.array(text if name in _TEXT_COLUMNS else [float(x) if x else np.nan for x in text])
    return columns


@cache
def _index() -> dict[str, int]:
    return {str(symbol): i for i, symbol in enumerate(_columns()["symbol"])}


def symbols() -> tuple[str, ...]:
    """All elements of the table, H to Pu, by atomic number."""
    return tuple(_index())


def check_symbols(elements: Iterable[str]) -> None:
    """Raise UnknownNameError naming every entry of ``elements`` that is not an element of the table."""
    unknown = [el for el in elements if el not in _index()]
    if unknown:
        raise UnknownNameError(f"not an element: {', '.join(map(repr, unknown))}; known: {' '.join(_index())}")


def has(name: str, elements: Sequence[str]) -> bool:
    """True where the numeric property ``name`` is tabulated for every one of ``elements``."""
    return not np.isnan(_lookup(name, elements)).any()


def values(name: str, elements: Sequence[str]) -> np.ndarray:
    """Return property ``name`` of each of ``elements``, float64 of shape (len,).

    Names (unit in the name, else dimensionless): ``Z``, ``mass_g_per_mol``, ``group``, ``period``,
    ``valence_electrons``, ``s_electrons``, ``p_electrons``, ``d_electrons``, ``unpaired_d``,
    ``electronegativity`` (Pauling), ``radius_A`` (12-fold metallic; nonmetals: covalent), ``volume_A3`` (an atom in
    a close-packed metal), ``melting_K``, ``boiling_K``, ``moment_muB`` (site moment in the magnetically ordered
    element), ``miedema_phi_V``, ``miedema_n``, ``miedema_R_V2``, ``hhi_production``, ``hhi_reserve``,
    ``price_USD_per_kg``.

    Raises:
        UnknownNameError: unknown property or element.
        DataError: the property is not tabulated for an element.
    """
    out = _lookup(name, elements)
    missing = [el for el, x in zip(elements, out, strict=True) if np.isnan(x)]
    if missing:
        raise DataError(f"no {name} is known for {', '.join(missing)}; leave these elements out of the space")
    return out


def _lookup(name: str, elements: Sequence[str]) -> np.ndarray:
    numeric = [c for c in _columns() if c not in _TEXT_COLUMNS]
    if name not in numeric:
        raise UnknownNameError(f"unknown elemental property {name!r}; known: {', '.join(numeric)}")
    check_symbols(elements)
    return _columns()[name][[_index()[el] for el in elements]].astype(float)


def electronegativity(element: str) -> float:
    """Return the Pauling electronegativity; 0 where none is known (light noble gases)."""
    value = float(_lookup("electronegativity", [element])[0])
    return 0.0 if np.isnan(value) else value


def block(element: str) -> str:
    """Return the block of the periodic table: ``s``, ``p``, ``d`` or ``f``."""
    check_symbols([element])
    return str(_columns()["block"][_index()[element]])


def oxidation_states(element: str) -> tuple[int, ...]:
    """Return the common oxidation states, may be empty (noble gases)."""
    check_symbols([element])
    return tuple(int(x) for x in str(_columns()["oxidation_states"][_index()[element]]).split())


def ionic_radius_A(element: str, charge: int) -> float | None:
    """Return the ionic radius for ``charge`` (six-fold coordination; high spin where it matters), or None."""
    check_symbols([element])
    pairs = (pair.split(":") for pair in str(_columns()["ionic_radii_A"][_index()[element]]).split())
    return next((float(radius) for q, radius in pairs if int(q) == charge), None)


def parse_formula(text: str) -> dict[str, float]:
    """Return element -> atoms per formula unit of ``Co2MnSi``, ``Li0.5Mn(PO4)2``; order of first appearance.

    Raises:
        DataError: the text is not a formula.
    """
    tokens = re.findall(r"[A-Z][a-z]?|\d+\.?\d*|\.\d+|[()\[\]]|\S", text)
    stack: list[dict[str, float]] = [{}]
    position = 0

    def count() -> float:
        nonlocal position
        if position < len(tokens) and re.match(r"\d|\.\d", tokens[position]):
            position += 1
            return float(tokens[position - 1])
        return 1.0

    while position < len(tokens):
        token = tokens[position]
        position += 1
        if token in "([":
            stack.append({})
        elif token in ")]" and len(stack) > 1:
            group, n = stack.pop(), count()
            for el, amount in group.items():
                stack[-1][el] = stack[-1].get(el, 0.0) + n * amount
        elif token in _index():
            stack[-1][token] = stack[-1].get(token, 0.0) + count()
        else:
            raise DataError(f"{text!r} is not a formula (at {token!r}); write it like Co2MnSi or Ba(TiO3)2")
    if len(stack) != 1 or not stack[0]:
        raise DataError(f"{text!r} is not a formula; write it like Co2MnSi or Ba(TiO3)2")
    return {el: n for el, n in stack[0].items() if n > 0}


def amounts(compositions: Sequence[Mapping[str, float]], elements: Sequence[str]) -> np.ndarray:
    """Return atoms per formula unit as an array (n compositions, len(elements)).

    Raises:
        UnknownNameError: a composition holds an element that is not in ``elements``.
    """
    column = {el: j for j, el in enumerate(elements)}
    out = np.zeros((len(compositions), len(elements)))
    for i, composition in enumerate(compositions):
        for el, n in composition.items():
            if el not in column:
                raise UnknownNameError(f"element {el!r} is not in this space; its elements: {' '.join(elements)}")
            out[i, column[el]] += n
    return out
