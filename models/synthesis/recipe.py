"""The recipe of a route: what is weighed, ground, fired in what, and how the product is looked at."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from models import elements
from models.errors import SpaceError
from models.route import Operation, Route
from models.synthesis.hazards import hazards_of, key_of

_DATA = Path(__file__).parents[1] / "data"
_GASEOUS = frozenset("OCHN")
"""Elements that come from and go to the gas: O2, CO2, H2O, nitrogen oxides."""
_ZERO_C_IN_K = 273.15
_R_kJ = 8.314e-3

VOLATILE: Mapping[str, tuple[float, float, float]] = {
    "Li": (3.0, 900.0, 120.0),
    "Na": (3.0, 900.0, 120.0),
    "K": (4.0, 850.0, 120.0),
    "Rb": (5.0, 800.0, 120.0),
    "Cs": (6.0, 750.0, 120.0),
    "Pb": (2.0, 900.0, 150.0),
    "Bi": (2.0, 850.0, 150.0),
    "Zn": (0.5, 1200.0, 200.0),
    "Mo": (1.0, 900.0, 150.0),
}
"""Element -> (excess in percent that makes up for 12 h at a temperature, this temperature in C, apparent enthalpy of
evaporation of its oxide in kJ/mol): orders of magnitude after what solid-state papers add (3 to 10 % of Li and Na at
800 to 1,000 C, 2 to 5 % of Pb and Bi), scaled by Clausius-Clapeyron."""
MOST_EXCESS_PCT = 10.0


@dataclass(frozen=True)
class Powder:
    """What is in the bottle: purity and loss on ignition in percent, how it is dried, for how long it then keeps."""

    formula: str
    purity_pct: float = 99.0
    loss_on_ignition_pct: float = 0.0
    dry_C: float | None = None
    keeps_h: float | None = None
    why: str = ""

    @property
    def active(self) -> float:
        """Share of the weighed mass that is the substance: of an opened bottle, or dried."""
        loss = 0.0 if self.dry_C is not None else self.loss_on_ignition_pct
        return self.purity_pct / 100 * (1 - loss / 100)


@dataclass(frozen=True)
class Crucible:
    """What powders are fired in; see ``models/data/crucibles.csv``."""

    name: str
    max_C: float
    formula: str
    attacked_by: frozenset[str]
    no_atmosphere: frozenset[str]
    why: str


def write_recipe(
    route: Route,
    *,
    first: Sequence[str] = (),
    sample_mass_g: float = 5.0,
    mill_min: float = 30.0,
    medium: str = "2-propanol",
    ramp_K_per_min: float = 5.0,
    default_temperature_C: float = 900.0,
    default_hours: float = 12.0,
    max_hours: float = 48.0,
    powders: Mapping[str, Powder] | None = None,
    two_theta_min_deg: float = 10.0,
    two_theta_max_deg: float = 80.0,
    step_deg: float = 0.02,
    count_time_s: float = 1.0,
) -> Route:
    """Return the route with everything that a lab must be told: masses, steps, hazards, and why.

    Steps: ``weigh_mix``, ``fire`` (calcine, where a gas leaves or the firing is hot), ``regrind``, ``fire`` (sinter),
    ``identify``. ``actors.orders.compile_recipe`` then compares them with what the lab announced.

    Masses follow from the balance of all elements but those of gases, for ``sample_mass_g`` of product; to each
    precursor is added what purity and loss on ignition take, and to those of volatile elements the excess that leaves
    in the furnace.

    Args:
        route: with ``target`` and ``precursors``; its temperature, hours and atmosphere are used where they are given.
        first: precursors that are fired without the others, which are added when it is ground again (the columbite way
            to Pb(Mg1/3Nb2/3)O3: Swartz and Shrout, Mater. Res. Bull. 17, 1245 (1982)).
        sample_mass_g: of product.
        mill_min, medium: grinding; dry where a precursor takes up water or is an oxidiser.
        ramp_K_per_min: heating; a third of it where nitrates or hydroxides melt and foam.
        default_temperature_C, default_hours: where the route does not say.
        max_hours: longest firing that is asked for.
        powders: by formula, where the lab knows its bottles better than ``models/data/powders.csv``.
        two_theta_min_deg, two_theta_max_deg, step_deg, count_time_s: of the diffractometer (Cu K-alpha).

    Raises:
        SpaceError: the precursors do not add up to the target, or no crucible bears them.
    """
    if not route.target or not route.precursors:
        raise SpaceError("a recipe needs a route with a target and precursors; plan one, or name them")
    moles = balance(route.target, route.precursors)
    temperature_C = round(route.temperature_C.value if route.temperature_C else default_temperature_C)
    hours = round(min(max_hours, max(1.0, route.hours.value if route.hours else default_hours)), 1)
    atmosphere = route.atmosphere or "air"
    bottles = {name: _bottle(name, powders) for name in moles}
    excess = {name: excess_pct(name, temperature_C, hours) for name in moles}
    units = sample_mass_g / molar_mass_g(route.target)
    masses = {
        name: round(units * n * molar_mass_g(name) * (1 + excess[name] / 100) / bottles[name].active, 5)
        for name, n in moles.items()
    }
    crucible, crucible_why = choose_crucible([*moles, route.target], temperature_C, atmosphere, route.target)
    medium = _medium(medium, bottles)
    calcine_C = calcination_C(moles, temperature_C)
    ramp = ramp_K_per_min / 3 if any(_foams(name) for name in moles) else ramp_K_per_min
    firing = {"atmosphere": atmosphere, "crucible": crucible}
    dry = {name: bottle.dry_C for name, bottle in bottles.items() if bottle.dry_C is not None}
    keeps_h = min((b.keeps_h for b in bottles.values() if b.keeps_h is not None), default=None)

    later = {name: g for name, g in masses.items() if first and name not in first}
    now = {name: g for name, g in masses.items() if name not in later}
    if first and (not later or not now):
        raise SpaceError(f"{route.target}: of {', '.join(masses)} some must come first and some later, not {first}")
    mixing: dict[str, Any] = {"precursors_g": now, "sample_mass_g": sample_mass_g, "mill_min": mill_min}
    mixing |= {"medium": medium, "dry_C": dry}
    operations = [Operation(capability="weigh_mix", parameters=mixing, quantities=("weighed_g",), max_wait_h=keeps_h)]
    if later:
        alone = {"temperature_C": float(temperature_C), "hours": hours, "ramp_K_per_min": round(ramp, 2)}
        alone |= {"cooling_K_per_min": ramp_K_per_min, **firing}
        operations.append(Operation(capability="fire", parameters=alone, quantities=("mass_loss_pct",)))
        adding = {"mill_min": mill_min, "medium": medium, "add_g": later}
        operations.append(Operation(capability="regrind", parameters=adding))
    if calcine_C is not None:
        calcination = {"temperature_C": calcine_C, "hours": 6.0, "ramp_K_per_min": round(ramp, 2)}
        calcination |= {"cooling_K_per_min": ramp_K_per_min, **firing}
        operations.append(Operation(capability="fire", parameters=calcination, quantities=("mass_loss_pct",)))
        grinding = {"mill_min": mill_min, "medium": medium}
        operations.append(Operation(capability="regrind", parameters=grinding))
    cooling = min(2.0, ramp_K_per_min) if atmosphere == "O2" else ramp_K_per_min
    sintering = {"temperature_C": float(temperature_C), "hours": hours}
    sintering |= {"ramp_K_per_min": round(ramp if calcine_C is None else ramp_K_per_min, 2)}
    sintering |= {"cooling_K_per_min": cooling, **firing}
    operations.append(Operation(capability="fire", parameters=sintering, quantities=("mass_loss_pct",)))
    looking = {
        "target_formula": route.target,
        "elements": sorted(_atoms(route.target)),
        "two_theta_min_deg": two_theta_min_deg,
        "two_theta_max_deg": two_theta_max_deg,
        "step_deg": step_deg,
        "count_time_s": count_time_s,
        "wavelength": "CuKa",
    }
    operations.append(
        Operation(capability="identify", parameters=looking, quantities=("phase_fraction", "n_phases", "rwp_pct"))
    )
    found = hazards_of(
        moles, target=route.target, atmosphere=atmosphere, medium=medium, temperature_C=float(temperature_C)
    )
    said = [f"{route.reason.rstrip('. ')}." if route.reason else ""]
    said.append(
        f"{route.target}: " + " + ".join(f"{n:.4g} {name}" for name, n in moles.items()) + f", {sample_mass_g:g} g."
    )
    said += [
        f"{excess[name]:.2g} % more {name}: it evaporates in {hours:g} h at {temperature_C} C."
        for name in moles
        if excess[name]
    ]
    said += [
        f"{name}: {bottle.why}{f'; dry it at {bottle.dry_C:g} C' if bottle.dry_C else ''}."
        for name, bottle in bottles.items()
        if bottle.why
    ]
    said.append(f"{crucible} crucible: {crucible_why}.")
    if medium == "dry":
        said.append("Ground dry: a precursor takes up water or must not meet what burns.")
    if later:
        said.append(f"{' + '.join(now)} are fired alone; {', '.join(later)} is added when they have reacted.")
    if calcine_C is not None:
        said.append(f"Calcined at {calcine_C:.0f} C so that gas leaves before the grains grow; reground for contact.")
    if cooling < ramp_K_per_min:
        said.append(f"Cooled at {cooling:g} K/min so that it takes up oxygen.")
    return route.model_copy(
        update={
            "precursors_g": masses,
            "operations": tuple(operations),
            "hazards": found,
            "atmosphere": atmosphere,
            "reason": " ".join(filter(None, said)),
        }
    )


def balance(target: str, precursors: Sequence[str]) -> dict[str, float]:
    """Return moles of each precursor for one mole of ``target``; O, C, H and N come and go as gas.

    Raises:
        SpaceError: an element of the target is in no precursor, one of a precursor not in the target, or amounts that
            are not negative do not add up.
    """
    from scipy.optimize import nnls

    wanted, given = _atoms(target), {name: _atoms(name) for name in precursors}
    solid = sorted({el for atoms in (wanted, *given.values()) for el in atoms} - _GASEOUS)
    if not solid:
        raise SpaceError(f"{target}: nothing of it is solid, all its elements are those of gases")
    missing = [el for el in solid if not any(el in atoms for atoms in given.values())]
    if missing:
        raise SpaceError(f"{target}: no precursor of {', '.join(precursors)} has {', '.join(missing)}")
    strange = [el for el in solid if el not in wanted]
    if strange:
        raise SpaceError(f"{target}: the precursors bring {', '.join(strange)}, which the target does not have")
    matrix = np.array([[atoms.get(el, 0.0) for atoms in given.values()] for el in solid])
    right = np.array([wanted[el] for el in solid])
    moles, residual = nnls(matrix, right)
    if residual > 1e-6 * float(np.linalg.norm(right)):
        raise SpaceError(f"{target}: no amounts of {', '.join(precursors)} give its ratio of {', '.join(solid)}")
    return {name: float(n) for name, n in zip(given, moles, strict=True) if n > 1e-9}


def excess_pct(precursor: str, temperature_C: float, hours: float) -> float:
    """Return by how many percent more of a precursor is weighed because its metal leaves the furnace.

    Grows with the vapour pressure (``VOLATILE``) and the time; at most 10 %, nothing below 0.3 %.
    """
    most = 0.0
    for element in _atoms(precursor):
        if element in VOLATILE:
            base, at_C, enthalpy = VOLATILE[element]
            inverse = 1 / (temperature_C + _ZERO_C_IN_K) - 1 / (at_C + _ZERO_C_IN_K)
            most = max(most, base * math.exp(-enthalpy / _R_kJ * inverse) * hours / 12)
    return round(min(MOST_EXCESS_PCT, most), 1) if most >= 0.3 else 0.0


def calcination_C(precursors: Sequence[str] | Mapping[str, float], temperature_C: float) -> float | None:
    """Return the temperature of a first firing, whole tens; ``None`` where one firing does.

    A quarter (in kelvin an eighth or so) below the last one, 450 C at least: where carbonates, nitrates or hydroxides
    give off gas, and where it is hot enough that regrinding in between pays.
    """
    gas = any(not _GASEOUS.isdisjoint(set(_atoms(name)) - {"O"}) for name in precursors)
    if temperature_C < 600 or not (gas or temperature_C >= 1000):
        return None
    return float(10 * round(max(450.0, 0.8 * temperature_C) / 10))


def choose_crucible(
    materials: Sequence[str], temperature_C: float, atmosphere: str, target: str = ""
) -> tuple[str, str]:
    """Return the cheapest crucible that bears the powders, and why.

    A crucible whose metal the target has as its main one may be attacked: what comes off it belongs there.

    Raises:
        SpaceError: none does; the message says what is wrong with each.
    """
    present = set().union(*(_atoms(material) for material in materials)) - {"O", "H", "N", "C"}
    owned = set(_atoms(target)) if target else set()
    against: list[str] = []
    for crucible in crucibles():
        attack = sorted(present & crucible.attacked_by)
        own = set(_atoms(crucible.formula)) - {"O"}
        if temperature_C > crucible.max_C:
            against.append(f"{crucible.name} softens above {crucible.max_C:g} C")
        elif atmosphere in crucible.no_atmosphere:
            against.append(f"{crucible.name} not in {atmosphere}")
        elif attack and not own <= owned:
            against.append(f"{crucible.name} is attacked by {', '.join(attack)} ({crucible.why})")
        else:
            kept = f"{', '.join(attack)} would attack it, but {'/'.join(sorted(own))} belongs to the product"
            return crucible.name, kept if attack else _praise(against, crucible)
    raise SpaceError(f"no crucible bears {' + '.join(materials)} at {temperature_C:g} C: {'; '.join(against)}")


def _praise(against: Sequence[str], crucible: Crucible) -> str:
    good = f"nothing here attacks it, to {crucible.max_C:g} C"
    return f"{good}; {'; '.join(against)}" if against else good


@cache
def crucibles() -> tuple[Crucible, ...]:
    """What there is, cheapest first."""
    with (_DATA / "crucibles.csv").open(newline="", encoding="utf-8") as stream:
        return tuple(
            Crucible(
                row["crucible"],
                float(row["max_C"]),
                row["formula"],
                frozenset(row["attacked_by"].split()),
                frozenset(row["no_atmosphere"].split()),
                row["why"],
            )
            for row in csv.DictReader(stream)
        )


@cache
def bottles() -> dict[str, Powder]:
    """The powders of ``models/data/powders.csv``, by canonical composition."""
    with (_DATA / "powders.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {
        key_of(row["formula"]): Powder(
            row["formula"],
            float(row["purity_pct"]),
            float(row["loss_on_ignition_pct"]),
            float(row["dry_C"]) if row["dry_C"] else None,
            float(row["keeps_h"]) if row["keeps_h"] else None,
            row["why"],
        )
        for row in rows
    }


def molar_mass_g(formula: str) -> float:
    """Grams a mole."""
    atoms = _atoms(formula)
    return float(np.dot(list(atoms.values()), elements.values("mass_g_per_mol", list(atoms))))


def _bottle(name: str, powders: Mapping[str, Powder] | None) -> Powder:
    return (powders or {}).get(name) or bottles().get(key_of(name)) or Powder(name)


def _medium(wanted: str, bottles: Mapping[str, Powder]) -> str:
    wet = wanted != "dry"
    oxidiser = any(h.verdict == "refuse" and ", " in h.material for h in hazards_of(bottles, medium=wanted))
    thirsty = any(bottle.keeps_h is not None and bottle.keeps_h < 4 for bottle in bottles.values())
    return "dry" if wet and (oxidiser or thirsty) else wanted


def _foams(name: str) -> bool:
    return {"N", "H"} & set(_atoms(name)) != set()


def _atoms(formula: str) -> dict[str, float]:
    return elements.parse_formula(formula)
