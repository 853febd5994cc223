"""Hazards: what of a route is refused, what a person must approve, and what only needs care."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from models.errors import DataError
from models.route import Hazard

_FILE = Path(__file__).parents[1] / "data" / "hazards.csv"

REFUSED = frozenset(f"H{n}" for n in (200, 201, 202, 203, 204, 205, 240, 241, 300, 310))
"""GHS statements of explosives, and of what kills by mouth or through the skin."""
ASKED = frozenset(
    f"H{n}" for n in (220, 221, 228, 250, 251, 260, 261, 270, 271, 301, 311, 330, 331, 334, 340, 350, 360, 370, 372)
)
"""Of what burns or sets fire, is toxic, kills as dust or gas, causes cancer, harms genes or the unborn child."""
ORGANIC = frozenset({"2-propanol", "ethanol", "acetone", "methanol", "hexane", "heptane", "toluene", "glycerol"})
"""Milling media that burn."""

_EXPLOSIVE = (
    (re.compile(r"ClO[34](?!\d)"), "perchlorates and chlorates explode when ground with or heated on what burns"),
    (re.compile(r"BrO[34](?!\d)|IO4(?!\d)"), "bromates and periodates explode with what burns"),
)
_OXIDISER = re.compile(r"NO3(?!\d)|MnO4(?!\d)|CrO3(?!\d)|Cr2O7")
_PEROXIDES = frozenset({"Li2O2", "Na2O2", "K2O2", "KO2", "CaO2", "SrO2", "BaO2", "MgO2", "ZnO2"})


def hazards_of(
    materials: Iterable[str], *, target: str = "", atmosphere: str = "", medium: str = "", temperature_C: float = 0.0
) -> tuple[Hazard, ...]:
    """Return every hazard of a synthesis, the worst first.

    What a material is classified as decides (``models/data/hazards.csv``); so do its elements (no program orders
    radioactive ones, Be, As, Hg, Tl or Os), its anion (perchlorates, azides), and what it meets: an oxidiser (nitrate,
    peroxide, permanganate) with something organic, hydrogen with air.

    Args:
        materials: formulas of what is weighed; names of solvents may be among them.
        target: formula of the product: what is made is handled too.
        atmosphere: in the furnace.
        medium: in which it is ground.
        temperature_C: highest; above 500 C what boils off counts (lead, cadmium, selenium, tellurium).
    """
    weighed = list(dict.fromkeys(materials))
    found: list[Hazard] = []
    for material in dict.fromkeys([*weighed, *filter(None, [target])]):
        found += _of_material(material)
    if atmosphere:
        found += _classified(atmosphere, set())
    found += _together(weighed, medium, atmosphere)
    if temperature_C > 500 and (volatile := sorted(_all_elements([*weighed, target]) & {"Pb", "Cd", "Se", "Te"})):
        words = f"boils off at {temperature_C:.0f} C: the furnace's exhaust must be filtered"
        found.append(Hazard(material=", ".join(volatile), verdict="ask", words=words))
    order = {"refuse": 0, "ask": 1, "note": 2}
    return tuple(sorted(dict.fromkeys(found), key=lambda hazard: order[hazard.verdict]))


@cache
def refused_elements() -> Mapping[str, str]:
    """Element -> why no compound of it is ordered by a program."""
    from models import elements

    return {
        **{el: f"{el} is radioactive: {why}" for el, why in elements.RADIOACTIVE.items()},
        **{el: elements.POISONOUS[el] for el in ("Be", "As", "Hg", "Tl", "Os")},
    }


def key_of(material: str) -> str:
    """The name by which a substance is looked up: equal for ``NH4NO3`` and ``H4N2O3``; words stay as they are."""
    if not _elements(material) or "*" in material:
        return material
    atoms = _atoms(material)
    smallest = min(atoms.values())
    return "".join(f"{el}{atoms[el] / smallest:.4g}" for el in sorted(atoms))


def refusals(hazards: Iterable[Hazard]) -> list[str]:
    """A sentence for every hazard that no person can approve."""
    return [_sentence(hazard) for hazard in hazards if hazard.verdict == "refuse"]


def questions(hazards: Iterable[Hazard], permitted: Collection[str] = ()) -> list[str]:
    """A sentence for every hazard that a person must approve; the lab is equipped for what is ``permitted``."""
    return [
        _sentence(hazard)
        for hazard in hazards
        if hazard.verdict == "ask" and not set(hazard.material.split(", ")) <= set(permitted)
    ]


def _sentence(hazard: Hazard) -> str:
    codes = f" ({', '.join(hazard.codes)})" if hazard.codes else ""
    return f"{hazard.material}: {hazard.words}{codes}"


def _of_material(material: str) -> list[Hazard]:
    present = _elements(material)
    found = [
        Hazard(material=material, verdict="refuse", words=why)
        for element, why in refused_elements().items()
        if element in present
    ]
    found += [
        Hazard(material=material, verdict="refuse", words=why)
        for pattern, why in _EXPLOSIVE
        if present and pattern.search(material)
    ]
    if _is_azide(material):
        found.append(Hazard(material=material, verdict="refuse", words="azides explode when ground or heated"))
    return found or _classified(material, present)


def _classified(material: str, present: Collection[str]) -> list[Hazard]:
    rows, material_key = _table(), key_of(material)
    keys = [material_key] if material_key in rows else [f"{el}*" for el in sorted(present) if f"{el}*" in rows]
    return [
        Hazard(material=material, verdict=_verdict(rows[key][0]), words=rows[key][1], codes=rows[key][0])
        for key in keys
    ]


def _together(materials: list[str], medium: str, atmosphere: str) -> list[Hazard]:
    oxidisers = [m for m in materials if _OXIDISER.search(m) or m in _PEROXIDES]
    organics = [m for m in [*materials, *filter(None, [medium])] if m in ORGANIC or _is_organic(m)]
    found = [
        Hazard(
            material=f"{oxidiser}, {organic}",
            verdict="refuse",
            words="an oxidiser with something organic burns or explodes when ground or heated: grind it dry",
        )
        for oxidiser in oxidisers
        for organic in organics
    ]
    if atmosphere.startswith("H2") and oxidisers:
        words = "an oxidiser fired in hydrogen may explode"
        found += [Hazard(material=f"{m}, {atmosphere}", verdict="refuse", words=words) for m in oxidisers]
    return found


def _is_azide(material: str) -> bool:
    """Three nitrogen atoms and more on each atom of something else, and no oxygen."""
    atoms = _atoms(material)
    others = sum(n for el, n in atoms.items() if el != "N")
    return "O" not in atoms and bool(others) and atoms.get("N", 0.0) >= 3 * others


def _is_organic(material: str) -> bool:
    """Acetates, oxalates, citrates, urea: carbon with hydrogen, or oxalate."""
    present = _elements(material)
    if "C2O4" in material:
        return True
    return {"C", "H"} <= present and "HCO3" not in material and "CO3" not in material


def _verdict(codes: tuple[str, ...]) -> Literal["refuse", "ask", "note"]:
    if REFUSED.intersection(codes):
        return "refuse"
    return "ask" if ASKED.intersection(codes) else "note"


def _elements(material: str) -> set[str]:
    return set(_atoms(material))


@lru_cache(maxsize=4096)
def _atoms(material: str) -> dict[str, float]:
    """Atoms of a formula; empty for a word. The command line must start without numpy, so the table is read late."""
    from models import elements

    try:
        return elements.parse_formula(material)
    except DataError:
        return {}


def _all_elements(materials: Iterable[str]) -> set[str]:
    return set().union(*(_elements(material) for material in materials if material))


@cache
def _table() -> dict[str, tuple[tuple[str, ...], str]]:
    with _FILE.open(newline="", encoding="utf-8") as stream:
        return {key_of(row["material"]): (tuple(row["codes"].split()), row["words"]) for row in csv.DictReader(stream)}
