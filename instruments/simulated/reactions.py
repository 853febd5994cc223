"""How powders react in a furnace: pair by pair, where they touch, the reaction that gives most energy first.

Every pair of phases that touch reacts to what gives most energy (``Oxides.between``), whether or not this is on the way
to the target: that is how a synthesis is trapped in intermediates that have too little energy left to go on (Szymanski
et al., Nat. Commun. 14, 6956 (2023), doi:10.1038/s41467-023-42329-9; Miura et al., Adv. Mater. 33, 2100312 (2021)). How
fast is a matter of diffusion (Tammann's rule), of contact, of the product between the grains, and of nucleation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from instruments.errors import Refused
from instruments.simulated.oxides import Oxides, Reaction

KELVIN = 273.15
RATE_PER_H = 1.5
REACTS_AT = 0.58
"""At this fraction of the reactants' mean melting point grains react at ``RATE_PER_H`` (Tammann's rule)."""
STEEPNESS = 16.0
"""Activation energy of diffusion over R times the melting point (van Liempt's rule)."""
LAYER = 6.0
"""A grain wholly covered with product reacts this many times slower, until it is ground again."""
NUCLEATION_EV = 0.020
"""A reaction that gives this much a metal atom nucleates with probability 1/e at 1,000 K; the exponent goes with its
inverse square (classical nucleation)."""
TRACE = 1e-4
"""Share of the metal atoms below which a phase meets nobody."""
STARTS_K = 573.0
STEP_K = 50.0
HOLD_STEPS = 12
LEAVES: Mapping[str, tuple[float, float, float]] = {
    "Li": (0.0022, 1173.0, 14500.0),
    "Na": (0.0022, 1173.0, 14500.0),
    "K": (0.0035, 1123.0, 14500.0),
    "Bi": (0.0020, 1123.0, 18000.0),
    "Pb": (0.0020, 1173.0, 18000.0),
    "Zn": (0.0003, 1473.0, 24000.0),
    "Mo": (0.0006, 1173.0, 18000.0),
}
"""Element -> (share that evaporates in an hour at a temperature in K, this temperature, enthalpy over R in K)."""


@dataclass(frozen=True)
class Firing:
    """A programme: temperatures in K, hours at the highest, K/min on the way, atmosphere."""

    temperature_K: float
    hours: float
    ramp_K_per_min: float
    atmosphere: str

    def steps(self) -> list[tuple[float, float]]:
        """(temperature in K, hours): the way up in steps of 50 K, then the hold. Cooling is too quick to matter."""
        ramp_h = STEP_K / max(self.ramp_K_per_min, 0.01) / 60
        way, at = [], STARTS_K
        while at < self.temperature_K:
            way.append((at, ramp_h))
            at += STEP_K
        return way + [(self.temperature_K, self.hours / HOLD_STEPS)] * HOLD_STEPS


def fire(oxides: Oxides, moles: Mapping[str, float], firing: Firing, *, speed: float = 1.0) -> dict[str, float]:
    """Return what powders have become, formula -> moles.

    Args:
        oxides: what there is.
        moles: of each phase put in; what is not in the table (nitrates, hydroxides, metals) becomes an oxide at once.
        firing: the programme.
        speed: factor on every rate: finer or coarser grains, better or worse mixing.

    Raises:
        Refused: something is put in of whose elements there are no simulated oxides.
    """
    present = as_oxides(oxides, moles, firing.atmosphere)
    whole = _metal_atoms(oxides, present)
    turned = 0.0
    for temperature_K, hours in firing.steps():
        slow = speed / (1 + LAYER * min(1.0, turned / whole))
        for reaction in _reactions(oxides, present, temperature_K, firing.atmosphere):
            turned += _go_on(oxides, present, reaction, temperature_K, hours * slow, hours * speed)
        _evaporate(oxides, present, temperature_K, hours, firing.atmosphere)
    return {name: n for name, n in sorted(present.items()) if n * oxides[name].n_metals > 1e-6 * whole}


def as_oxides(oxides: Oxides, moles: Mapping[str, float], atmosphere: str) -> dict[str, float]:
    """Moles of phases of the table: nitrates, hydroxides, peroxides and metals have become oxides before they react."""
    present: dict[str, float] = {}
    for name, n in moles.items():
        if name in oxides:
            present[name] = present.get(name, 0.0) + n
            continue
        atoms = oxides.atoms(name)
        metals = {el: count for el, count in atoms.items() if el not in ("O", "C", "H", "N")}
        if not metals or any(not oxides.of({el}) for el in metals):
            raise Refused(f"no simulated matter for {name}: take another precursor")
        for phase, amount in oxides.equilibrium(metals, 900.0, atmosphere).items():
            present[phase] = present.get(phase, 0.0) + n * amount
    return present


def _reactions(oxides: Oxides, present: Mapping[str, float], temperature_K: float, atmosphere: str) -> list[Reaction]:
    """Everything that may happen now, the one with the largest driving force first."""
    whole = _metal_atoms(oxides, present)
    names = sorted(name for name, n in present.items() if n * oxides[name].n_metals > TRACE * whole)
    found = [oxides.alone(name, temperature_K, atmosphere) for name in names]
    found += [
        oxides.between(one, other, temperature_K, atmosphere) for i, one in enumerate(names) for other in names[i + 1 :]
    ]
    return sorted((reaction for reaction in found if reaction), key=lambda r: (-r.driving_eV, sorted(r.reactants)))


def _go_on(
    oxides: Oxides, present: dict[str, float], reaction: Reaction, temperature_K: float, hours: float, free_hours: float
) -> float:
    """Let one reaction run; return the metal atoms that it has turned over."""
    there = [name for name in reaction.reactants if present.get(name, 0.0) > 0]
    if len(there) < len(reaction.reactants):
        return 0.0
    melting_K = math.prod(oxides[name].melting_K for name in there) ** (1 / len(there))
    exponent = -STEEPNESS * (melting_K / temperature_K - 1 / REACTS_AT)
    exponent -= (NUCLEATION_EV / reaction.driving_eV) ** 2 * 1000.0 / temperature_K
    rate = RATE_PER_H * math.exp(min(exponent, 5.0))
    whole = _metal_atoms(oxides, present)
    if len(there) == 1:  # gas leaves or comes: no partner to wait for
        share = 1 - math.exp(-rate * free_hours)
        extent = share * present[there[0]] / reaction.reactants[there[0]]
    else:
        one, other = there
        near = {
            one: math.sqrt(present[other] * oxides[other].n_metals / whole),
            other: math.sqrt(present[one] * oxides[one].n_metals / whole),
        }
        extent = min(
            (1 - math.exp(-rate * hours * near[name])) * present[name] / reaction.reactants[name] for name in there
        )
    for name in there:
        present[name] -= extent * reaction.reactants[name]
        if present[name] * oxides[name].n_metals < 1e-7 * whole:
            del present[name]
    for name, n in reaction.products.items():
        present[name] = present.get(name, 0.0) + extent * n
    return extent


def _evaporate(oxides: Oxides, present: dict[str, float], temperature_K: float, hours: float, atmosphere: str) -> None:
    """Volatile metals leave every phase that has them; what is left of it becomes the oxides of the others."""
    for symbol, (share_per_h, at_K, enthalpy_K) in LEAVES.items():
        lost = hours * share_per_h * math.exp(-enthalpy_K * (1 / temperature_K - 1 / at_K))
        if lost < 1e-6:
            continue
        for name in [name for name in sorted(present) if symbol in oxides[name].metals]:
            gone = min(lost, 1.0) * present[name]
            present[name] -= gone
            left = {el: n for el, n in oxides[name].metals.items() if el != symbol}
            if left:
                for phase, n in oxides.equilibrium(left, round(temperature_K, -1), atmosphere).items():
                    present[phase] = present.get(phase, 0.0) + gone * n


def _metal_atoms(oxides: Oxides, present: Mapping[str, float]) -> float:
    return sum(n * oxides[name].n_metals for name, n in present.items())
