"""A simulated arc furnace: weighs elements, melts them into a button, anneals it."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.errors import LabError, Refused
from instruments.simulated.instrument import SimulatedInstrument
from instruments.simulated.oracle import Material, Oracle
from instruments.simulated.references import Element, element, mass_g_per_mol
from instruments.simulated.world import Phase, Sample

BALANCE_NOISE_G = 1e-4
FORMATION_WIDTH_EV = 0.03
"""Width of the step from 'does not form' to 'forms', in eV/atom of formation energy (about kT at 350 K)."""
KELVIN = 273.15


class ArcFurnace(SimulatedInstrument):
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
        workdir: Path,
        world: str | Path,
        noise: float = 1.0,
        faults: Mapping[str, float] | None = None,
        wall_s: float = 0.0,
        minutes_per_melt: float = 8.0,
        pump_minutes: float = 60.0,
        max_sample_mass_g: float = 50.0,
        max_current_A: float = 500.0,
        max_temperature_C: float = 3800.0,
    ) -> None:
        super().__init__(workdir=workdir, world=world, noise=noise, faults=faults, wall_s=wall_s)
        self.oracle = Oracle(self.world.path / "oracle")
        self.minutes_per_melt = minutes_per_melt
        self.pump_minutes = pump_minutes
        self.limits = {
            "sample_mass_g": Limit(0.01, max_sample_mass_g),
            "current_A": Limit(0.0, max_current_A),
            "melt_temperature_C": Limit(20.0, max_temperature_C),
            "melts": Limit(1, 20),
            "anneal_temperature_C": Limit(0.0, 1400.0),
            "anneal_h": Limit(0.0, 400.0),
        }

    def capabilities(self) -> list[Capability]:
        """``arc_melt``; the limit ``sample_mass_g`` holds for the sum of ``masses_g``."""
        heaviest = self.limits["sample_mass_g"].high
        quantities = {"sample_mass_g": Limit(0.0, heaviest), "mass_loss_pct": Limit(-1.0, 100.0)}
        return [Capability("arc_melt", dict(self.limits), quantities)]

    def act(self, job: Job, rng: random.Random, progress: Progress) -> Outcome:
        """Weigh, melt, anneal. The one physical moment is the last write to the world."""
        weighed = self._checked(job)
        before = self.world.get(job.sample)
        if before is not None and not before.acts(job.command_id):
            raise Refused(f"sample {job.sample!r} exists already: give the new sample a new id")

        progress(0.05, "weighing")
        grams = {el: max(0.0, g + rng.gauss(0, BALANCE_NOISE_G) * self.noise) for el, g in weighed.items()}
        progress(0.2, "melting")
        material = self.oracle.material(job.parameters["target"])
        melts = int(job.parameters.get("melts", 1))
        temperature_K = float(job.parameters["melt_temperature_C"]) + KELVIN
        moles, unmelted = {}, {}
        for el, g in grams.items():
            lost = melts * _evaporated_per_melt(element(el), temperature_K) * _lognormal(rng, 0.2 * self.noise)
            amount = g / element(el).mass_g_per_mol * math.exp(-lost)
            mixed = _mixed(element(el), temperature_K, melts)
            moles[el], unmelted[el] = amount * mixed, amount * (1 - mixed)
        fraction = _forming_fraction(material) * (1 - abs(rng.gauss(0, 0.01)) * self.noise)
        phases, mass_g = _phases(material, moles, unmelted, fraction)

        progress(0.7, "annealing")
        put_in = sum(weighed.values())
        reading_g = mass_g + rng.gauss(0, BALANCE_NOISE_G) * self.noise
        readings = {"sample_mass_g": reading_g, "mass_loss_pct": 100 * (put_in - reading_g) / put_in}
        minutes = self.pump_minutes + melts * self.minutes_per_melt + 60 * float(job.parameters.get("anneal_h", 0.0))
        outcome = Outcome("ok", readings, duration_s=60 * minutes * _lognormal(rng, 0.03 * self.noise))
        self.wait()
        self.world.put(Sample(job.sample, mass_g, phases, asdict(outcome)), job.command_id, self.name)
        progress(1.0, "button taken out")
        return outcome

    def inspect(self, job: Job) -> Outcome | None:
        """Look into the crucible: a button made by this command, or nothing at all."""
        sample = self.world.get(job.sample)
        if sample is None:
            return Outcome("untouched", message="the crucible is empty")
        if sample.acts(job.command_id):
            return Outcome(**sample.made)
        return Outcome("untouched", message=f"sample {job.sample!r} was made by another command")

    def _checked(self, job: Job) -> dict[str, float]:
        given = job.parameters
        missing = [key for key in ("masses_g", "melt_temperature_C", "target") if key not in given]
        if missing:
            raise Refused(f"arc_melt lacks {', '.join(missing)}")
        weighed = {str(el): float(g) for el, g in given["masses_g"].items()}
        values = {key: given[key] for key in self.limits if key in given} | {"sample_mass_g": sum(weighed.values())}
        for key, value in values.items():
            limit = self.limits[key]
            if not limit.low <= float(value) <= limit.high:
                raise Refused(f"{key} = {value} is outside {limit.low:g}..{limit.high:g}")
        if any(g < 0 or not math.isfinite(g) for g in weighed.values()):
            raise Refused(f"masses_g must be finite and not negative: {weighed}")
        if str(given.get("atmosphere", "Ar")).lower() not in {"ar", "argon", "he", "helium"}:
            raise Refused(f"atmosphere {given['atmosphere']!r}: the arc burns in argon or helium only")
        try:
            for el in {*weighed, *given["target"]["species"]}:
                element(el)
        except LabError as error:
            raise Refused(str(error)) from error
        return weighed


def _forming_fraction(material: Material) -> float:
    if not material.bound:
        return 0.0
    exponent = material.formation_energy_eV_per_atom / FORMATION_WIDTH_EV
    return 1 / (1 + math.exp(min(exponent, 700.0)))


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


def _lognormal(rng: random.Random, sigma: float) -> float:
    return math.exp(rng.gauss(0, 1) * sigma)


def _phases(
    material: Material, moles: Mapping[str, float], unmelted: Mapping[str, float], fraction: float
) -> tuple[list[Phase], float]:
    """Share the atoms between the target phase and the elements; return the phases and the mass in grams."""
    cell = Counter(material.species)
    cells = fraction * min(moles.get(el, 0.0) / n for el, n in cell.items())
    grams = {el: (n + unmelted[el] - cells * cell.get(el, 0)) * element(el).mass_g_per_mol for el, n in moles.items()}
    target_g = cells * mass_g_per_mol(material.species)
    total_g = target_g + sum(grams.values())
    phases = []
    if target_g > 0:
        phases.append(
            Phase(material.formula, True, target_g / total_g, material.lattice_A, material.species,
                  material.frac_coords, material.moments_muB)
        )
    for el, g in grams.items():
        if g > 1e-6 * total_g:
            what = element(el)
            moment = what.moment_muB_per_atom if what.ferromagnetic else 0.0
            moments = [moment] * len(what.species)
            phases.append(Phase(el, False, g / total_g, what.lattice_A, what.species, what.frac_coords, moments))
    return phases, total_g
