"""Sintering: weigh binary powders, grind, press, fire in an atmosphere, then X-ray."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from models import elements
from models.candidate import Candidate
from models.errors import SpaceError
from models.route import Operation, Route

_FILE = Path(__file__).parents[1] / "data" / "precursors.csv"
_ZERO_C_IN_K = 273.15
_GASES = {"O": "O2", "N": "N2"}
"""Anions that the atmosphere gives."""
_SOLID_ANIONS = frozenset({"C", "S", "Se", "Te", "P"})
"""Anions that are weighed as the element."""
_ANIONS = frozenset({*_GASES, *_SOLID_ANIONS, "F", "Cl", "Br", "I"})
_BURN_IN_AIR = frozenset({"FeO", "Fe3O4", "MnO", "Ti2O3", "V2O3", "VO2", "NbO2", "MoO2", "SnO"})
"""Lower oxides that air would take to a higher one."""
_MEASUREMENTS = ("diffract", "magnetometry")


@dataclass(frozen=True)
class Powder:
    """A commercial powder.

    Attributes:
        formula: as on the bottle.
        cation: the element that it is weighed for.
        cations, anions: atoms a formula unit.
        melting_K: estimated; of the lower oxide where it loses oxygen first.
    """

    formula: str
    cation: str
    cations: float
    anions: float
    melting_K: float


class SinteringPlanner:
    """Plans solid-state syntheses of compounds with one anion from binary powders.

    A deliberately simple planner: one route, no thermodynamics, no competing phases. Each cation comes as one common
    binary with the target's anion (``models/data/precursors.csv``), or as the element where there is none; among
    all combinations the one whose anions come nearest to the target's is taken. What lacks then comes from the gas
    (O2, N2) or is weighed as the element (C, S, Se, Te, P); an excess is avoided by weighing part of a cation as
    the element. Oxides are weighed for what laboratories often weigh as carbonates (Ba, Sr, Ca, alkalis), and keep only
    in a glove box.

    The firing temperature is Tammann's rule for precursors: a fraction of their mean melting point in kelvin (after
    Huo et al., Chem. Mater. 34, 7323 (2022), doi:10.1021/acs.chemmater.2c01293). The default 0.65 is the median of
    6,822 oxide syntheses text-mined by Kononova et al. (Sci. Data 6, 203 (2019), doi:10.1038/s41597-019-0224-1), whose
    temperatures it meets with a mean error of 185 K; one temperature for all has 228 K.

    Args:
        sample_mass_g: mass of product aimed at.
        hours: at the firing temperature.
        fire_fraction: of the mean melting point of what is weighed.
        min_temperature_C, max_temperature_C: what the furnace is used for.
        max_ampoule_C: bound for S, Se, Te and P, which are fired in evacuated silica.
        measure: what follows, of ``diffract`` and ``magnetometry``, in this order.
        field_T, temperature_K: of the magnetometer.
        two_theta_min_deg, two_theta_max_deg, step_deg, count_time_s: of the diffractometer (Cu K-alpha).
    """

    citation = "Huo et al., Chem. Mater. 34, 7323 (2022), doi:10.1021/acs.chemmater.2c01293"

    def __init__(
        self,
        *,
        sample_mass_g: float = 2.0,
        hours: float = 12.0,
        fire_fraction: float = 0.65,
        min_temperature_C: float = 300.0,
        max_temperature_C: float = 1500.0,
        max_ampoule_C: float = 1000.0,
        measure: Sequence[str] = ("diffract",),
        field_T: float = 3.0,
        temperature_K: float = 300.0,
        two_theta_min_deg: float = 20.0,
        two_theta_max_deg: float = 100.0,
        step_deg: float = 0.02,
        count_time_s: float = 1.0,
    ):
        if not sample_mass_g > 0:
            raise SpaceError(f"sample_mass_g must be positive, not {sample_mass_g}")
        if not hours > 0:
            raise SpaceError(f"hours must be positive, not {hours}")
        if not 0 < fire_fraction < 1:
            raise SpaceError(f"fire_fraction must lie between 0 and 1 (of the melting point), not {fire_fraction}")
        if not min_temperature_C < max_temperature_C:
            raise SpaceError(f"min_temperature_C must be below max_temperature_C, not {min_temperature_C}")
        unknown = [name for name in measure if name not in _MEASUREMENTS]
        if isinstance(measure, str) or unknown:
            raise SpaceError(f"measure must be a list of {', '.join(_MEASUREMENTS)}, not {measure!r}")
        self.sample_mass_g = sample_mass_g
        self.hours = hours
        self.fire_fraction = fire_fraction
        self.min_temperature_C = min_temperature_C
        self.max_temperature_C = max_temperature_C
        self.max_ampoule_C = max_ampoule_C
        self.measure = tuple(measure)
        self._magnetometry = {"field_T": field_T, "temperature_K": temperature_K}
        self._diffraction = {
            "two_theta_min_deg": two_theta_min_deg,
            "two_theta_max_deg": two_theta_max_deg,
            "step_deg": step_deg,
            "count_time_s": count_time_s,
            "wavelength": "CuKa",
        }

    def plan(self, candidate: Candidate) -> list[Route]:
        """Return one route, or none: no crystal, no anion or several, or a halide that no salts add up to."""
        composition = {el: n for el, n in candidate.composition.items() if n > 0}
        anion = anion_of(composition)
        if candidate.crystal is None or anion is None:
            return []
        moles, lack = balance(composition, anion)
        if lack > 1e-9 and anion not in _GASES:
            return []  # fluorine or chlorine gas: not in this laboratory
        atmosphere = atmosphere_for(moles, anion, lack)
        temperature_C, melting_K = self.firing_temperature_C(moles, anion)
        masses = self.masses_g(composition, moles)
        target = {"formula": candidate.formula, **candidate.crystal.model_dump(mode="json")}
        sinter: dict[str, Any] = {
            "precursors_g": masses,
            "sample_mass_g": self.sample_mass_g,
            "temperature_C": temperature_C,
            "hours": self.hours,
            "atmosphere": atmosphere,
            "target": target,
        }
        operations = [Operation(capability="sinter", parameters=sinter, quantities=("sample_mass_g", "mass_loss_pct"))]
        if "diffract" in self.measure:
            quantities = ("lattice_parameter_A", "cell_volume_A3_per_atom", "phase_fraction", "rwp_pct")
            parameters = {**self._diffraction, "target": target}
            operations.append(Operation(capability="diffract", parameters=parameters, quantities=quantities))
        if "magnetometry" in self.measure:
            operations.append(
                Operation(
                    capability="magnetometry",
                    parameters=dict(self._magnetometry),
                    quantities=("moment_A_m2", "field_T"),
                )
            )
        return [
            Route(
                candidate=candidate.id,
                precursors_g=masses,
                operations=tuple(operations),
                reason=self._reason(candidate.formula, moles, anion, lack, atmosphere, temperature_C, melting_K),
                score=-lack,
            )
        ]

    def masses_g(self, composition: Mapping[str, float], moles: Mapping[Powder, float]) -> dict[str, float]:
        """Return what to weigh, formula -> grams, so that every cation gives ``sample_mass_g`` of the product."""
        units = self.sample_mass_g / _mass_g_per_mol(composition)
        return {powder.formula: units * n * _mass_of(powder) for powder, n in moles.items()}

    def firing_temperature_C(self, moles: Mapping[Powder, float], anion: str) -> tuple[float, float]:
        """Return the firing temperature in C, whole tens, and the mean melting point in K, weighted by cations."""
        weights = {powder: n * powder.cations for powder, n in moles.items()}
        melting_K = sum(powder.melting_K * w for powder, w in weights.items()) / sum(weights.values())
        highest = self.max_temperature_C
        if anion in _SOLID_ANIONS - {"C"}:
            highest = min(highest, self.max_ampoule_C)
        fire_C = self.fire_fraction * melting_K - _ZERO_C_IN_K
        return min(highest, max(self.min_temperature_C, 10.0 * round(fire_C / 10.0))), melting_K

    def _reason(
        self,
        formula: str,
        moles: Mapping[Powder, float],
        anion: str,
        lack: float,
        atmosphere: str,
        temperature_C: float,
        melting_K: float,
    ) -> str:
        parts = " + ".join(f"{n:.4g} {powder.formula}" for powder, n in moles.items())
        balanced = f"{anion} is balanced"
        if lack > 1e-9:
            balanced = f"{lack:.4g} {anion} a formula unit lack and come from the gas"
        place = "an evacuated silica ampoule" if atmosphere == "vacuum" else atmosphere
        rule = self.fire_fraction * melting_K - _ZERO_C_IN_K
        bounds = "" if abs(rule - temperature_C) < 5.001 else ", held to the furnace's limits"
        return (
            f"{formula} from {parts}, for {self.sample_mass_g:g} g; {balanced}; {self.hours:g} h at "
            f"{temperature_C:g} C in {place}: {self.fire_fraction:.0%} (in kelvin) of the precursors' mean melting "
            f"point of {melting_K - _ZERO_C_IN_K:.0f} C (Tammann's rule){bounds}. Neither competing phases nor "
            "thermodynamics were considered."
        )


def atmosphere_for(moles: Mapping[Powder, float], anion: str, lack: float) -> str:
    """Return ``O2`` or ``N2`` where the gas gives the anion, ``Ar`` or ``vacuum`` where it must not, else ``air``."""
    if anion == "N":
        return "N2"
    if anion == "O":
        if lack > 1e-9:
            return "O2"
        return "Ar" if any(not powder.anions or powder.formula in _BURN_IN_AIR for powder in moles) else "air"
    return "vacuum" if anion in _SOLID_ANIONS - {"C"} else "Ar"


def anion_of(composition: Mapping[str, float]) -> str | None:
    """Return the one anion of a composition; None where there is none, there are two, or nothing else."""
    found = [el for el in composition if el in elements.NONMETALS] or [el for el in composition if el == "Te"]
    if len(found) != 1 or found[0] not in _ANIONS or len(composition) < 2:
        return None
    return found[0]


def balance(composition: Mapping[str, float], anion: str) -> tuple[dict[Powder, float], float]:
    """Return powders with moles a formula unit, and the moles of anion that lack (0 where they are weighed).

    The cations match exactly. Of the combinations, one powder a cation, the one nearest in anions is taken, of equally
    near ones that with the fewest.
    """
    cations = {el: n for el, n in composition.items() if el != anion}
    best: tuple[tuple[float, float], tuple[Powder, ...]] | None = None
    for choice in itertools.product(*(powders(el, anion) for el in cations)):
        given = sum(n * powder.anions / powder.cations for powder, n in zip(choice, cations.values(), strict=True))
        rank = (round(abs(composition[anion] - given), 9), given)
        if best is None or rank < best[0]:
            best = (rank, choice)
    if best is None:
        raise SpaceError(f"nothing but {anion} in {dict(composition)}: name a cation")
    moles = {powder: n / powder.cations for powder, n in zip(best[1], cations.values(), strict=True)}
    lack = composition[anion] - sum(powder.anions * n for powder, n in moles.items())
    # Too much of the anion: weigh part of the cations as the element, beginning with those that bring most.
    for powder in sorted(moles, key=lambda p: -p.anions / p.cations):
        if lack >= -1e-9 or not powder.anions:
            break
        taken = min(moles[powder], -lack / powder.anions)
        moles[powder] -= taken
        metal = _element(powder.cation)
        moles[metal] = moles.get(metal, 0.0) + taken * powder.cations
        lack += taken * powder.anions
    moles = {powder: n for powder, n in moles.items() if n > 1e-12}
    if lack > 1e-9 and anion in _SOLID_ANIONS:
        return {**moles, _element(anion): lack}, 0.0
    return moles, max(0.0, lack)


def powders(cation: str, anion: str) -> list[Powder]:
    """Return the binaries of a cation with an anion that one can buy; the element where there is none."""
    return _table().get((cation, anion)) or [_element(cation)]


def _element(symbol: str) -> Powder:
    return Powder(symbol, symbol, 1.0, 0.0, float(elements.values("melting_K", [symbol])[0]))


@cache
def _table() -> dict[tuple[str, str], list[Powder]]:
    table: dict[tuple[str, str], list[Powder]] = {}
    with _FILE.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            atoms, anion = elements.parse_formula(row["formula"]), row["anion"]
            cation = next(el for el in atoms if el != anion)
            powder = Powder(row["formula"], cation, atoms[cation], atoms[anion], float(row["melting_K"]))
            table.setdefault((cation, anion), []).append(powder)
    return table


def _mass_of(powder: Powder) -> float:
    return _mass_g_per_mol(elements.parse_formula(powder.formula))


def _mass_g_per_mol(composition: Mapping[str, float]) -> float:
    masses = elements.values("mass_g_per_mol", list(composition))
    return float(sum(n * m for n, m in zip(composition.values(), masses, strict=True)))
