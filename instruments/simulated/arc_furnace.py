"""A simulated arc furnace: weighs elements, melts them into a button, anneals it."""

from __future__ import annotations

import math
import random
from collections import Counter
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
from instruments.simulated.references import Element, element
from instruments.simulated.world import Sample


class ArcFurnace(Furnace):
    """Capability ``arc_melt``: makes a sample of what was weighed, aiming at the ``target`` crystal.

    The target phase takes the fraction 1 / (1 + exp(E / w)) of the atoms that fit its formula, with E the formation
    energy against the elements and w = 0.03 eV/atom; the rest stays elemental. Volatile elements boil off. The
    furnace reports mass alone: whether the phase formed is for the diffractometer to find.

    Settings beside those of ``SimulatedInstrument``:
        minutes_per_melt: one melt and flip.
        pump_minutes: loading, weighing, evacuating and flushing, and cooling at the end.
        max_sample_mass_g, max_current_A, max_temperature_C: limits.
    """

    name = "arc_furnace"

    def __init__(
        self,
        *,
        minutes_per_melt: float = 8.0,
        pump_minutes: float = 60.0,
        max_sample_mass_g: float = 50.0,
        max_current_A: float = 500.0,
        max_temperature_C: float = 3800.0,
        **shared: Any,
    ) -> None:
        limits = {
            "sample_mass_g": Limit(0.01, max_sample_mass_g),
            "current_A": Limit(0.0, max_current_A),
            "melt_temperature_C": Limit(20.0, max_temperature_C),
            "melts": Limit(1, 20),
            "anneal_temperature_C": Limit(0.0, 1400.0),
            "anneal_h": Limit(0.0, 400.0),
        }
        super().__init__(limits=limits, **shared)
        self.minutes_per_melt = minutes_per_melt
        self.pump_minutes = pump_minutes

    def capabilities(self) -> list[Capability]:
        """``arc_melt``; the limit ``sample_mass_g`` holds for the sum of ``masses_g``."""
        heaviest = self.limits["sample_mass_g"].high
        quantities = {"sample_mass_g": Limit(0.0, heaviest), "mass_loss_pct": Limit(-1.0, 100.0)}
        return [Capability("arc_melt", dict(self.limits), quantities)]

    def make(self, job: Job, rng: random.Random) -> Sample:
        """Weigh, melt, anneal."""
        weighed = self.checked(job, "masses_g", ["melt_temperature_C"])
        atmosphere = str(job.parameters.get("atmosphere", "Ar"))
        if atmosphere.lower() not in {"ar", "argon", "he", "helium"}:
            raise Refused(f"atmosphere {atmosphere!r}: the arc burns in argon or helium only")
        require_elements([*weighed, *job.parameters["target"]["species"]])

        grams = self.weigh(weighed, rng)
        material = self.oracle.material(job.parameters["target"])
        melts = int(job.parameters.get("melts", 1))
        temperature_K = float(job.parameters["melt_temperature_C"]) + KELVIN
        moles, unmelted = {}, {}
        for el, g in grams.items():
            lost = melts * _evaporated_per_melt(element(el), temperature_K) * self.spread(rng, 0.2)
            amount = g / element(el).mass_g_per_mol * math.exp(-lost)
            mixed = _mixed(element(el), temperature_K, melts)
            moles[el], unmelted[el] = amount * mixed, amount * (1 - mixed)
        cells = self.forming_fraction(material, rng) * cells_at_most(material, moles)
        in_cell = Counter(material.species)
        rest = {el: n + unmelted[el] - cells * in_cell.get(el, 0) for el, n in moles.items()}
        phases, mass_g = phases_of(material, cells, rest)

        put_in = sum(weighed.values())
        reading_g = mass_g + rng.gauss(0, BALANCE_NOISE_G) * self.noise
        readings = {"sample_mass_g": reading_g, "mass_loss_pct": 100 * (put_in - reading_g) / put_in}
        minutes = self.pump_minutes + melts * self.minutes_per_melt + 60 * float(job.parameters.get("anneal_h", 0.0))
        outcome = Outcome("ok", readings, duration_s=60 * minutes * self.spread(rng, 0.03))
        return Sample(job.sample, mass_g, phases, asdict(outcome))


def _evaporated_per_melt(what: Element, temperature_K: float) -> float:
    """Fraction of an element lost in one melt: 0.02 % and 1.5 % times the square root of its vapour pressure in atm.

    The pressure follows from the boiling point by Trouton's rule (88 J/mol/K). Boiling cools the pool, so that it stays
    below 2 atm. The square root is empirical: argon holds the vapour back. Four melts at 1600 C cost 1.7 % of Mn.
    """
    boiling_K = what.boiling_point_K or 4000.0
    pressure_atm = math.exp(min(math.log(2.0), 88 / 8.314 * (1 - boiling_K / temperature_K)))
    return 2e-4 + 0.015 * math.sqrt(pressure_atm)


def _mixed(what: Element, temperature_K: float, melts: int) -> float:
    """Fraction of an element that reached the liquid: all but 0.2 % after four melts above its melting point.

    An element that melts higher still dissolves in the others, more slowly the further its melting point is away.
    """
    short_K = max(0.0, (what.melting_point_K or 300.0) - temperature_K)
    return 1 - math.exp(-1.5 * melts * math.exp(-short_K / 1500.0))
