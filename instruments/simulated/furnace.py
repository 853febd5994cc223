"""What the simulated furnaces share: limits, the check of a new sample, and how atoms become phases."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from instruments.driver import Job, Limit, Outcome, Progress
from instruments.errors import LabError, Refused
from instruments.simulated.instrument import STOPPED, SimulatedInstrument, Stopped
from instruments.simulated.oracle import Material, Oracle
from instruments.simulated.references import element, mass_g_per_mol
from instruments.simulated.world import Phase, Sample

BALANCE_NOISE_G = 1e-4
FORMATION_WIDTH_EV = 0.03
"""Width of the step from 'does not form' to 'forms', in eV/atom of formation energy (about kT at 350 K)."""
KELVIN = 273.15


class Furnace(SimulatedInstrument):
    """Base of the instruments that make samples. A subclass gives ``name``, ``capabilities`` and ``make``.

    Settings: those of ``SimulatedInstrument``. ``limits``, parameter name -> Limit, must hold ``sample_mass_g``.
    """

    def make(self, job: Job, rng: random.Random) -> Sample:
        """Return what the job makes, and in ``made`` what is reported of it; touches nothing. Raises Refused."""
        raise NotImplementedError

    def run(self, job: Job, progress: Progress) -> Outcome:
        """Make one sample; ``failed`` with the reason where the job cannot be begun."""
        return self.run_batch([job], progress)[0]

    def run_batch(self, jobs: list[Job], progress: Progress) -> list[Outcome]:
        """Make samples side by side: each as if it were alone, and ``wall_s`` passes once for all.

        The one physical moment of each sample is its write to the world.
        """
        with self.working(f"{jobs[0].capability} {', '.join(job.sample for job in jobs)}"):
            made: dict[str, Sample] = {}
            outcomes = []
            for number, job in enumerate(jobs):
                progress(0.9 * number / len(jobs), f"{job.capability} {job.sample}")
                outcomes.append(self.outcome(job, lambda job=job: self._kept(job, made)))
            try:
                self.wait()
            except Stopped:
                stopped = Outcome("failed", message=STOPPED)
                return [stopped if job.sample in made else x for job, x in zip(jobs, outcomes, strict=True)]
            for job in jobs:
                if job.sample in made:
                    self.world.put(made[job.sample], job.command_id, self.name)
            for job, outcome in zip(jobs, outcomes, strict=True):
                self.acted(job, outcome)
            progress(1.0, "taken out")
            return outcomes

    def _kept(self, job: Job, made: dict[str, Sample]) -> Outcome:
        made[job.sample] = self.make(job, self.rng(job, "noise"))
        return Outcome(**made[job.sample].made)

    def __init__(
        self,
        *,
        limits: Mapping[str, Limit],
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.oracle = Oracle(self.world.path / "oracle")
        self.limits = dict(limits)

    def inspect(self, job: Job) -> Outcome | None:
        """Look into the crucible: a sample made by this command, or nothing at all."""
        sample = self.world.get(job.sample)
        if sample is None:
            return Outcome("untouched", message="the crucible is empty")
        if sample.acts(job.command_id):
            return Outcome(**sample.made)
        return Outcome("untouched", message=f"sample {job.sample!r} was made by another command")

    def checked(self, job: Job, masses: str, needed: Iterable[str]) -> dict[str, float]:
        """Return what is to be weighed, name -> grams, from the parameter ``masses``.

        Raises:
            Refused: a parameter is missing or outside its limit, or the sample's name is taken.
        """
        given = job.parameters
        missing = [key for key in (masses, *needed, "target") if key not in given]
        if missing:
            raise Refused(f"{job.capability} lacks {', '.join(missing)}")
        weighed = {str(name): float(g) for name, g in given[masses].items()}
        values = {key: given[key] for key in self.limits if key in given} | {"sample_mass_g": sum(weighed.values())}
        for key, value in values.items():
            limit = self.limits[key]
            if not limit.low <= float(value) <= limit.high:
                raise Refused(f"{key} = {value} is outside {limit.low:g}..{limit.high:g}")
        if any(g < 0 or not math.isfinite(g) for g in weighed.values()):
            raise Refused(f"{masses} must be finite and not negative: {weighed}")
        before = self.world.get(job.sample)
        if before is not None and not before.acts(job.command_id):
            raise Refused(f"sample {job.sample!r} exists already: give the new sample a new id")
        return weighed

    def weigh(self, weighed: Mapping[str, float], rng: random.Random) -> dict[str, float]:
        """What really lies on the balance, name -> grams."""
        return {name: max(0.0, g + rng.gauss(0, BALANCE_NOISE_G) * self.noise) for name, g in weighed.items()}

    def forming_fraction(self, material: Material, rng: random.Random) -> float:
        """``forming_fraction`` of the material less about one per cent, since no sample is perfect."""
        return forming_fraction(material) * (1 - abs(rng.gauss(0, 0.01)) * self.noise)

    def spread(self, rng: random.Random, sigma: float) -> float:
        """A factor near 1: log-normal, of relative width ``sigma`` times the noise."""
        return math.exp(rng.gauss(0, 1) * sigma * self.noise)


def require_elements(symbols: Iterable[str]) -> None:
    """Raise Refused where the simulated laboratory lacks one of the elements."""
    try:
        for symbol in symbols:
            element(symbol)
    except LabError as error:
        raise Refused(str(error)) from error


def forming_fraction(material: Material) -> float:
    """Return 1 / (1 + exp(E / w)) with E the formation energy against the elements; 0 for what is not bound."""
    if not material.bound:
        return 0.0
    exponent = material.formation_energy_eV_per_atom / FORMATION_WIDTH_EV
    return 1 / (1 + math.exp(min(exponent, 700.0)))


def cells_at_most(material: Material, moles: Mapping[str, float], unlimited: frozenset[str] = frozenset()) -> float:
    """Return moles of unit cells of the target for which the atoms suffice; ``unlimited`` elements never run out."""
    need = {el: n for el, n in Counter(material.species).items() if el not in unlimited}
    return min((moles.get(el, 0.0) / n for el, n in need.items()), default=0.0)


def phases_of(material: Material, cells: float, rest_moles: Mapping[str, float]) -> tuple[list[Phase], float]:
    """Return the phases of a sample and its mass in grams: ``cells`` moles of the target, and left-over elements."""
    grams = {el: n * element(el).mass_g_per_mol for el, n in rest_moles.items()}
    target_g = cells * mass_g_per_mol(material.species)
    total_g = target_g + sum(grams.values())
    phases = []
    if target_g > 0:
        phases.append(
            Phase(
                material.formula,
                True,
                target_g / total_g,
                material.lattice_A,
                material.species,
                material.frac_coords,
                material.moments_muB,
            )
        )
    for el, g in grams.items():
        if g > 1e-6 * total_g:
            what = element(el)
            moment = what.moment_muB_per_atom if what.ferromagnetic else 0.0
            moments = [moment] * len(what.species)
            phases.append(Phase(el, False, g / total_g, what.lattice_A, what.species, what.frac_coords, moments))
    return phases, total_g
