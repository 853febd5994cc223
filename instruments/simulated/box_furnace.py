"""A simulated box furnace: weighs powders, grinds, presses and fires them in an atmosphere."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome
from instruments.errors import Refused
from instruments.simulated.furnace import (
    BALANCE_NOISE_G,
    KELVIN,
    Furnace,
    cells_at_most,
    phases_of,
    require_elements,
)
from instruments.simulated.references import element
from instruments.simulated.world import Sample

ATMOSPHERES: Mapping[str, frozenset[str]] = {
    "air": frozenset({"O"}),
    "O2": frozenset({"O"}),
    "N2": frozenset({"N"}),
    "Ar": frozenset(),
    "vacuum": frozenset(),
}
"""What may fill the furnace -> elements that the gas gives without end."""
PROGRAMME = ("temperature_C", "hours", "atmosphere")
RATE_PER_H = 0.75
REACTS_AT = 0.55
"""Twelve hours at this fraction of the reactants' mean melting point convert 95 % (Tammann's rule)."""
STEEPNESS = 17.0
"""Activation energy of diffusion over R times the melting point (van Liempt's rule)."""


class BoxFurnace(Furnace):
    """Capability ``sinter``: makes a sample of the powders in ``precursors_g``, aiming at the ``target`` crystal.

    The target phase takes the fraction 1 / (1 + exp(E / w)) of the atoms that fit its formula, with E the formation
    energy **against the elements** and w = 0.03 eV/atom, times a conversion that grows with time and temperature: the
    same thermodynamics as in the arc furnace. Competing compounds, the precursors themselves among them, are unknown
    to it, so that nearly every oxide forms. What did not become the target is left as elements; those that boil below
    the firing temperature are gone, O2 and N2 with them. An atmosphere of O2, air or N2 gives what is lacking. The
    furnace reports mass alone.

    Settings beside those of ``SimulatedInstrument``:
        minutes_of_work: weighing, grinding, pressing and taking out.
        ramp_K_per_min: heating and cooling.
        max_sample_mass_g, max_temperature_C: limits; 1,700 C is what MoSi2 heaters reach, graphite reaches 2,200.
        batch: crucibles that it takes at once, all at one temperature, for one time, in one atmosphere.
    """

    name = "box_furnace"

    def __init__(
        self,
        *,
        minutes_of_work: float = 45.0,
        ramp_K_per_min: float = 5.0,
        max_sample_mass_g: float = 100.0,
        max_temperature_C: float = 1700.0,
        batch: int = 6,
        **shared: Any,
    ) -> None:
        limits = {
            "sample_mass_g": Limit(0.01, max_sample_mass_g),
            "temperature_C": Limit(20.0, max_temperature_C),
            "hours": Limit(0.0, 500.0),
        }
        super().__init__(limits=limits, **shared)
        self.minutes_of_work = minutes_of_work
        self.ramp_K_per_min = ramp_K_per_min
        self.batch = batch

    def capabilities(self) -> list[Capability]:
        """``sinter``; ``sample_mass_g`` limits the sum of ``precursors_g`` too. Gas taken up is a negative loss."""
        quantities = {
            "sample_mass_g": Limit(0.0, 4 * self.limits["sample_mass_g"].high),
            "mass_loss_pct": Limit(-300.0, 101.0),
        }
        return [Capability("sinter", dict(self.limits), quantities, batch=self.batch, programme=PROGRAMME)]

    def make(self, job: Job, rng: random.Random) -> Sample:
        """Weigh, grind, press, fire."""
        given = job.parameters
        weighed = self.checked(job, "precursors_g", ["temperature_C", "hours"])
        atmosphere = str(given.get("atmosphere", "air"))
        if atmosphere not in ATMOSPHERES:
            raise Refused(f"atmosphere {atmosphere!r}: this furnace has {', '.join(ATMOSPHERES)}")
        gas = ATMOSPHERES[atmosphere]
        powders = {formula: _atoms(formula) for formula in weighed}
        require_elements({*given["target"]["species"], *(el for atoms in powders.values() for el in atoms)})

        moles: dict[str, float] = {}
        for formula, grams in self.weigh(weighed, rng).items():
            atoms = powders[formula]
            formulas = grams / sum(n * element(el).mass_g_per_mol for el, n in atoms.items())
            for el, n in atoms.items():
                moles[el] = moles.get(el, 0.0) + n * formulas
        material = self.oracle.material(given["target"])
        temperature_K, hours = float(given["temperature_C"]) + KELVIN, float(given["hours"])
        formed = self.forming_fraction(material, rng) * conversion(moles, temperature_K, hours)
        cells = formed * cells_at_most(material, moles, gas)
        in_cell = Counter(material.species)
        rest = {
            el: max(0.0, n - cells * in_cell[el])
            for el, n in moles.items()
            if el not in gas and (element(el).boiling_point_K or math.inf) > temperature_K
        }
        phases, mass_g = phases_of(material, cells, rest)

        put_in = sum(weighed.values())
        reading_g = max(0.0, mass_g + rng.gauss(0, BALANCE_NOISE_G) * self.noise)
        readings = {"sample_mass_g": reading_g, "mass_loss_pct": 100 * (put_in - reading_g) / put_in}
        ramps = 2 * (temperature_K - KELVIN - 20.0) / self.ramp_K_per_min
        minutes = self.minutes_of_work + ramps + 60 * hours
        outcome = Outcome("ok", readings, duration_s=60 * minutes * self.spread(rng, 0.03))
        return Sample(job.sample, mass_g, phases, asdict(outcome))


def conversion(moles: Mapping[str, float], temperature_K: float, hours: float) -> float:
    """Return the fraction that has reacted after ``hours``: 1 - exp(-sqrt(k t)), parabolic while it is small.

    The rate k follows an Arrhenius law in the mean melting point of what is solid, atom by atom: the elements, since
    these are what the simulated thermodynamics knows. Elements that boil below the firing temperature do not count.
    """
    solid = {el: n for el, n in moles.items() if (element(el).boiling_point_K or math.inf) > temperature_K}
    total = sum(solid.values())
    if total <= 0:
        return 1.0
    melting_K = sum(n * (element(el).melting_point_K or 300.0) for el, n in solid.items()) / total
    rate = RATE_PER_H * math.exp(min(50.0, -STEEPNESS * (melting_K / temperature_K - 1 / REACTS_AT)))
    return 1 - math.exp(-math.sqrt(rate * hours))


def _atoms(formula: str) -> dict[str, float]:
    """Element -> atoms of a simple formula such as ``Nb2O5``. Raises Refused."""
    if not re.fullmatch(r"([A-Z][a-z]?\d*\.?\d*)+", formula):
        raise Refused(f"precursor {formula!r} is not a simple formula such as Nb2O5")
    atoms: dict[str, float] = {}
    for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", formula):
        atoms[symbol] = atoms.get(symbol, 0.0) + float(count or 1)
    return atoms
