"""What a route may start from: powders that others have bought and whose energies are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from models import elements
from models.errors import DataError
from models.thermo import entries, formulas, tables
from models.thermo.entries import Phase

VOLATILE = ("O", "C", "H", "N")
"""Elements that leave or come as gas."""
KINDS = ("oxide", "carbonate", "nitrate", "hydroxide", "ammonium", "salt", "element")
_BOUGHT = 5
"""Syntheses that must have used a powder before it counts as available."""
_GASES = frozenset({"H", "He", "N", "O", "F", "Ne", "Cl", "Ar", "Kr", "Xe", "Rn"})


@dataclass(frozen=True, eq=False)
class Precursor:
    """A powder.

    Attributes:
        phase: with its energies.
        kind: one of ``KINDS``.
        bought: text-mined syntheses that used it.
    """

    phase: Phase
    kind: str
    bought: int


def available(target: Mapping[str, float]) -> list[Precursor]:
    """Return the powders from which a target may be made, the most bought ones first.

    Oxides, carbonates, nitrates, hydroxides, ammonium salts and elements; phosphates, halides, sulfides and the like
    where the target has their anion. Only what syntheses have used (the list of text-mined ones), and what has a known
    energy. Compounds of two metals are left out (each is a target of its own), and what holds oxygen where the target
    holds none.

    Raises:
        DataError: ``ATHANOR_DATA`` is not set.
    """
    wanted = set(target)
    key = formulas.key_of(tuple(target.items()))
    uses = bought()
    found = []
    for phase in entries.phases(wanted | set(VOLATILE)):
        n, kind = uses.get(phase.key, 0), kind_of(phase.atoms)
        if phase.key == key or kind is None or n < _BOUGHT:
            continue
        if kind == "salt" and not set(phase.atoms) <= wanted:
            continue  # its anion would stay
        if "O" in phase.atoms and "O" not in wanted:
            continue  # nothing here takes the oxygen away
        if set(phase.atoms) <= set(VOLATILE) and not (kind == "element" and phase.formula in wanted - {"O", "N", "H"}):
            continue  # gases, water, and carbon where nothing is to hold it
        found.append(Precursor(phase, kind, n))
    return sorted(found, key=lambda p: (-p.bought, p.phase.formula))


def kind_of(atoms: Mapping[str, float]) -> str | None:
    """Return the kind of a powder by its composition; None for what is no powder (a gas) or no simple salt."""
    held = set(atoms)
    others = held - set(VOLATILE)
    if len(held) == 1:
        return None if held & _GASES else "element"
    oxygen, carbon, hydrogen, nitrogen = (atoms.get(el, 0.0) for el in VOLATILE)
    metals = others - elements.NONMETALS
    if not others or len(metals) > 1:
        return None
    if hydrogen and nitrogen:
        return "ammonium" if hydrogen >= 4 * nitrogen and oxygen and not carbon else None
    if carbon:
        return "carbonate" if oxygen == 3 * carbon and not hydrogen and not nitrogen and len(others) == 1 else None
    if nitrogen and oxygen:
        return "nitrate" if oxygen == 3 * nitrogen and not hydrogen and len(others) == 1 else None
    if hydrogen:
        return "hydroxide" if len(others) == 1 and oxygen == hydrogen else None
    return "oxide" if len(others) == 1 and oxygen else "salt"


@cache
def _named(folder: str) -> tuple[Counter, dict[formulas.Key, str]]:
    file = Path(folder).parent / "synthesis" / "textmined_solid_state.parquet"
    if not file.is_file():
        raise DataError(f"no {str(file)!r}: the powders that syntheses use are part of the public data (docs/data.md)")
    sets = tables.read(file, ["precursors"])["precursors"].to_pylist()
    named = Counter(name.split("+")[0] for text in sets if text for name in text.split(";"))
    uses: Counter = Counter()
    spelling: dict[formulas.Key, str] = {}
    for name, n in named.most_common():
        try:
            key = formulas.key(name)
        except DataError:
            continue
        uses[key] += n
        spelling.setdefault(key, name)
    return uses, spelling


def bought() -> Mapping[formulas.Key, int]:
    """Return composition -> text-mined syntheses that used it (hydrates count as the dry salt). Raises DataError."""
    return _named(str(entries.thermo_folder()))[0]


def spelled(formula: str) -> str:
    """Return a formula as chemists write it most often (``LiOH``, not ``LiHO``); as it is where none wrote it."""
    return _named(str(entries.thermo_folder()))[1].get(formulas.key(formula), formula)
