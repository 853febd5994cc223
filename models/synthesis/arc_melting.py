"""Arc melting: weigh the elements, melt, turn over and remelt, anneal, then X-ray and magnetometer."""

from __future__ import annotations

import math
from typing import Any

from models import elements
from models.candidate import Candidate
from models.errors import SpaceError
from models.route import Operation, Route

_TROUTON = 10.6
"""Entropy of evaporation over R (88 J/mol/K): Trouton's rule, good to a factor of three in pressure for metals."""
_ZERO_C_IN_K = 273.15
_EXCESS_PCT_PER_MELT = 2.0
_TOLERABLE_atm = 0.3
"""Vapour pressure up to which a melt is taken for the sake of a high-melting element."""
_DISSOLVES_K = 600.0
"""A high-melting element still dissolves in the melt of the others this far below its melting point."""


class ArcMeltingPlanner:
    """Plans arc-melted buttons of intermetallics from the elements.

    Args:
        sample_mass_g: what is weighed in all.
        superheat_K: melt above the highest-melting element by this much, volatile elements allowing.
        melts: one melt and ``melts - 1`` times turned over and remelted, so that the button is homogeneous.
        anneal_fraction: anneal at this fraction of the estimated solidus (kelvin), to order the sublattices.
        max_anneal_C: what a sealed quartz ampoule bears.
        anneal_h: for how long.
        max_excess_pct: ceiling of the excess of a volatile element.
        field_T, temperature_K: of the magnetometer.
        two_theta_min_deg, two_theta_max_deg, step_deg, count_time_s: of the diffractometer (Cu K-alpha).
    """

    def __init__(
        self,
        *,
        sample_mass_g: float = 5.0,
        superheat_K: float = 150.0,
        melts: int = 4,
        anneal_fraction: float = 0.7,
        max_anneal_C: float = 1100.0,
        anneal_h: float = 48.0,
        max_excess_pct: float = 10.0,
        field_T: float = 3.0,
        temperature_K: float = 300.0,
        two_theta_min_deg: float = 20.0,
        two_theta_max_deg: float = 100.0,
        step_deg: float = 0.02,
        count_time_s: float = 1.0,
    ):
        if not sample_mass_g > 0:
            raise SpaceError(f"sample_mass_g must be positive, not {sample_mass_g}")
        if melts < 1:
            raise SpaceError(f"melts must be at least 1, not {melts}")
        if not 0 < anneal_fraction < 1:
            raise SpaceError(f"anneal_fraction must lie between 0 and 1 (of the solidus), not {anneal_fraction}")
        self.sample_mass_g = sample_mass_g
        self.superheat_K = superheat_K
        self.melts = melts
        self.anneal_fraction = anneal_fraction
        self.max_anneal_C = max_anneal_C
        self.anneal_h = anneal_h
        self.max_excess_pct = max_excess_pct
        self._magnetometry = {"field_T": field_T, "temperature_K": temperature_K}
        self._diffraction = {
            "two_theta_min_deg": two_theta_min_deg,
            "two_theta_max_deg": two_theta_max_deg,
            "step_deg": step_deg,
            "count_time_s": count_time_s,
            "wavelength": "CuKa",
        }

    def plan(self, candidate: Candidate) -> list[Route]:
        """Return one route, or none for what an arc furnace cannot make: no composition, a gas, a salt, no crystal."""
        composition = {el: n for el, n in candidate.composition.items() if n > 0}
        if not composition or candidate.crystal is None or not elements.NONMETALS.isdisjoint(set(composition) - {"C"}):
            return []
        melt_K = self.melt_temperature_K(composition)
        excess = {el: self.excess_pct(el, melt_K) for el in composition}
        masses = self.masses_g(composition, excess)
        solidus_K = solidus_estimate_K(composition)
        anneal_C = round(min(self.max_anneal_C, max(25.0, self.anneal_fraction * solidus_K - _ZERO_C_IN_K)))
        current_A = melting_current_A(melt_K, self.sample_mass_g)
        target = {"formula": candidate.formula, **candidate.crystal.model_dump(mode="json")}
        melt: dict[str, Any] = {
            "masses_g": masses,
            "sample_mass_g": self.sample_mass_g,
            "melt_temperature_C": round(melt_K - _ZERO_C_IN_K),
            "current_A": current_A,
            "melts": self.melts,
            "atmosphere": "Ar",
            "anneal_temperature_C": anneal_C,
            "anneal_h": self.anneal_h,
            "target": target,
        }
        operations = (
            Operation(capability="arc_melt", parameters=melt, quantities=("sample_mass_g", "mass_loss_pct")),
            Operation(
                capability="diffract",
                parameters={**self._diffraction, "target": target},
                quantities=("lattice_parameter_A", "cell_volume_A3_per_atom", "phase_fraction", "rwp_pct"),
            ),
            Operation(
                capability="magnetometry",
                parameters=dict(self._magnetometry),
                quantities=("moment_A_m2", "field_T"),
            ),
        )
        return [
            Route(
                candidate=candidate.id,
                precursors_g=masses,
                operations=operations,
                reason=self._reason(candidate.formula, composition, melt_K, excess, solidus_K, current_A, anneal_C),
                score=-sum(excess.values()),
            )
        ]

    def masses_g(self, composition: dict[str, float], excess_pct: dict[str, float]) -> dict[str, float]:
        """Return what to weigh of each element; the sum is the sample mass, the excess of volatile ones included."""
        weights = {
            el: n * _property("mass_g_per_mol", el) * (1 + excess_pct.get(el, 0.0) / 100)
            for el, n in composition.items()
        }
        total = sum(weights.values())
        return {el: self.sample_mass_g * w / total for el, w in weights.items()}

    def melt_temperature_K(self, composition: dict[str, float]) -> float:
        """Return the temperature of the melt.

        Above the melting point of every element, unless one would boil off: then as low as the highest-melting one
        still dissolves, and never below the estimated solidus.
        """
        highest = max(_property("melting_K", el) for el in composition)
        volatile = min(_property("boiling_K", el) / (1.0 - math.log(_TOLERABLE_atm) / _TROUTON) for el in composition)
        lowest = max(highest - _DISSOLVES_K, solidus_estimate_K(composition)) + self.superheat_K
        return max(lowest, min(highest + self.superheat_K, volatile))

    def excess_pct(self, element: str, melt_K: float) -> float:
        """Return the excess in percent that makes up for evaporation while molten.

        2 % a melt times the square root of the vapour pressure in atm, which is estimated from the boiling point;
        nothing below 0.5 %. That is 2.5 % for Mn in a cobalt melt of four times, near what laboratories add, and the
        ceiling for Zn, Mg and Li.
        """
        pressure_atm = vapour_pressure_atm(element, melt_K)
        excess = min(self.max_excess_pct, _EXCESS_PCT_PER_MELT * self.melts * math.sqrt(pressure_atm))
        return round(excess, 2) if excess >= 0.5 else 0.0

    def _reason(
        self,
        formula: str,
        composition: dict[str, float],
        melt_K: float,
        excess: dict[str, float],
        solidus_K: float,
        current_A: float,
        anneal_C: float,
    ) -> str:
        highest = max(composition, key=lambda el: _property("melting_K", el))
        volatile = ", ".join(
            f"{el} {pct:g} % (vapour pressure {vapour_pressure_atm(el, melt_K):.2g} atm)"
            for el, pct in excess.items()
            if pct > 0
        )
        melting = f"so melt at {melt_K - _ZERO_C_IN_K:.0f} C"
        if melt_K < _property("melting_K", highest):
            melting = f"but melt at {melt_K - _ZERO_C_IN_K:.0f} C, where it dissolves, since others would boil off"
        return (
            f"{formula} from the elements, {self.sample_mass_g:g} g: {highest} melts highest "
            f"({_property('melting_K', highest) - _ZERO_C_IN_K:.0f} C), {melting}, with "
            f"{current_A:g} A under Ar; {self.melts - 1} flips and remelts for homogeneity; "
            f"excess: {volatile or 'none'}; anneal {self.anneal_h:g} h at {anneal_C:g} C, "
            f"{self.anneal_fraction:.0%} (in kelvin) of an estimated solidus of {solidus_K - _ZERO_C_IN_K:.0f} C, "
            f"at most {self.max_anneal_C:g} C, to order the sublattices."
        )


def vapour_pressure_atm(element: str, temperature_K: float) -> float:
    """Return the vapour pressure of the pure element, from its boiling point by Clausius-Clapeyron and Trouton."""
    return math.exp(-_TROUTON * (_property("boiling_K", element) / temperature_K - 1.0))


def solidus_estimate_K(composition: dict[str, float]) -> float:
    """Return an estimate of where an ordered intermetallic begins to melt.

    The mean of the elements' melting points weighted by atoms, a rule of mixtures: 1,319 K for Ni2MnGa, which melts
    near 1,380 K. A guess of some 15 %, which is why the anneal stays well below it.
    """
    total = sum(composition.values())
    return sum(n * _property("melting_K", el) for el, n in composition.items()) / total


def melting_current_A(melt_K: float, sample_mass_g: float) -> float:
    """Return the arc current for a button, 5 A steps, 60..400 A.

    Radiation from the button grows as T^4 and its surface as m^(2/3), the arc voltage hardly changes with current;
    anchored at 150 A for 5 g of a 2,000 K melt, a usual setting of laboratory arc furnaces.
    """
    current = 150.0 * (melt_K / 2000.0) ** 4 * (sample_mass_g / 5.0) ** (2.0 / 3.0)
    return float(min(400.0, max(60.0, 5.0 * round(current / 5.0))))


def _property(name: str, element: str) -> float:
    return float(elements.values(name, [element])[0])
