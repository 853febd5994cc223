"""A simulated solid-state laboratory: powders are weighed and ground, fired in a furnace where they react, reground."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.errors import LabError, Refused
from instruments.simulated.furnace import BALANCE_NOISE_G
from instruments.simulated.instrument import SimulatedInstrument
from instruments.simulated.oxides import OXYGEN_BAR, Oxides, load
from instruments.simulated.reactions import KELVIN, Firing, fire
from instruments.simulated.references import element
from instruments.simulated.world import Phase, Sample

ASSAY = 0.995
"""What of the weighed mass is the substance, in the bottles of this laboratory; the rest neither reacts nor shows."""
DRYING_MIN = 120.0
CRYSTAL_SPREAD = 0.002
"""Computed crystals are this much too large or too small, relatively: a property of the phase, not of the sample."""


class _Powders(SimulatedInstrument):
    """What the two instruments share: samples of powders as they lie in the world.

    Settings beside those of ``SimulatedInstrument``:
        file: table of phases; by default the one that ships.
    """

    def __init__(self, *, file: str = "", **shared: Any) -> None:
        super().__init__(**shared)
        self.oxides = load(file)

    def inspect(self, job: Job) -> Outcome | None:
        """Look at the sample: the last act on it is told, an act that it does not show did not happen."""
        sample = self.world.get(job.sample)
        if sample is None or not sample.acts(job.command_id):
            return Outcome("untouched", message="the sample does not show this act")
        return Outcome(**sample.made) if sample.history[-1]["command_id"] == job.command_id else None

    def leave(self, job: Job, moles: Mapping[str, float], outcome: Outcome) -> Outcome:
        """Write what a sample has become: the one physical moment of an act."""
        phases, mass_g = phases_of(self.oxides, moles)
        self.world.put(Sample(job.sample, mass_g, phases, asdict(outcome)), job.command_id, self.name)
        return outcome

    def moles_in(self, sample: Sample) -> dict[str, float]:
        """Formula -> moles of what lies in the crucible."""
        return {p.formula: p.mass_fraction * sample.mass_g / g_per_mol(self.oxides, p.formula) for p in sample.phases}

    def number(self, job: Job, name: str, low: float, high: float, default: float | None = None) -> float:
        """A parameter within its limits. Raises Refused."""
        value = job.parameters.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= float(value) <= high:
            raise Refused(f"{job.capability}: {name} = {value!r} is outside {low:g}..{high:g}")
        return float(value)


class PowderStation(_Powders):
    """Capabilities ``weigh_mix`` (``precursors_g``: a new sample), ``regrind`` (a fired one; ``add_g`` adds powders).

    Settings beside those of ``SimulatedInstrument``: ``file``, table of phases, and
        minutes_of_work: weighing and filling, without milling and drying.
        max_sample_mass_g: what the jar takes.
    """

    name = "powder_station"

    def __init__(self, *, minutes_of_work: float = 25.0, max_sample_mass_g: float = 100.0, **shared: Any) -> None:
        super().__init__(**shared)
        self.minutes_of_work, self.max_sample_mass_g = minutes_of_work, max_sample_mass_g

    def capabilities(self) -> list[Capability]:
        """Both leave a powder in a jar."""
        limits = {"sample_mass_g": Limit(0.05, self.max_sample_mass_g), "mill_min": Limit(0.0, 600.0)}
        weighed = {"weighed_g": Limit(0.0, 4 * self.max_sample_mass_g)}
        return [
            Capability("weigh_mix", limits, weighed),
            Capability("regrind", {"mill_min": limits["mill_min"]}),
        ]

    def act(self, job: Job, rng: random.Random, progress: Progress) -> Outcome:
        """Weigh and grind, or grind again."""
        given = job.parameters
        minutes = self.number(job, "mill_min", 0.0, 600.0) + self.minutes_of_work
        before = self.world.get(job.sample)
        if job.capability == "weigh_mix":
            if before is not None and not before.acts(job.command_id):
                raise Refused(f"sample {job.sample!r} exists already: give the new sample a new id")
            moles, weighed_g = self._weighed(given.get("precursors_g"), rng)
            minutes += DRYING_MIN if given.get("dry_C") else 0.0
        else:
            moles, weighed_g = self.moles_in(self.world.need(job.sample)), 0.0
            if given.get("add_g"):
                more, weighed_g = self._weighed(given["add_g"], rng)
                moles = {name: moles.get(name, 0.0) + more.get(name, 0.0) for name in {**moles, **more}}
        progress(0.2, "ground")
        self.wait()
        readings = {"weighed_g": weighed_g} if weighed_g else {}
        return self.leave(job, moles, Outcome("ok", readings, duration_s=60 * minutes))

    def _weighed(self, grams: Any, rng: random.Random) -> tuple[dict[str, float], float]:
        if not isinstance(grams, Mapping) or not grams:
            raise Refused("give precursors_g: formula -> grams of what is weighed")
        total = sum(float(g) for g in grams.values())
        if not 0 < total <= 4 * self.max_sample_mass_g or any(float(g) < 0 for g in grams.values()):
            raise Refused(f"the jar takes up to {4 * self.max_sample_mass_g:g} g, not {total:g} g")
        moles, weighed_g = {}, 0.0
        for name, wanted in sorted(grams.items()):
            real = max(0.0, float(wanted) + rng.gauss(0, BALANCE_NOISE_G) * self.noise)
            weighed_g += real
            moles[name] = real * ASSAY / g_per_mol(self.oxides, name)
        return moles, weighed_g


class ReactionFurnace(_Powders):
    """Capability ``fire``: heats a sample of powders, which react pair by pair (``instruments.simulated.reactions``).

    The furnace reports the loss of mass alone. It knows the phases of its table and no target: what forms is what gives
    most energy first, whether or not this is what was wanted.

    Settings beside those of ``SimulatedInstrument``: ``file``, table of phases, and
        max_temperature_C: of its heaters.
        atmospheres: gases that are connected.
    """

    name = "reaction_furnace"

    def __init__(
        self,
        *,
        max_temperature_C: float = 1600.0,
        atmospheres: list[str] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.max_temperature_C = max_temperature_C
        self.atmospheres = list(atmospheres or OXYGEN_BAR)
        if strange := [gas for gas in self.atmospheres if gas not in OXYGEN_BAR]:
            raise LabError(f"no simulated atmosphere {strange[0]!r}; there are {', '.join(OXYGEN_BAR)}")

    def capabilities(self) -> list[Capability]:
        """``fire``."""
        limits = {
            "temperature_C": Limit(20.0, self.max_temperature_C),
            "hours": Limit(0.0, 200.0),
            "ramp_K_per_min": Limit(0.1, 50.0),
            "cooling_K_per_min": Limit(0.1, 50.0),
        }
        return [Capability("fire", limits, {"mass_loss_pct": Limit(-100.0, 100.0)})]

    def act(self, job: Job, rng: random.Random, progress: Progress) -> Outcome:
        """Heat, hold, cool."""
        temperature_C = self.number(job, "temperature_C", 20.0, self.max_temperature_C)
        hours = self.number(job, "hours", 0.0, 200.0)
        ramp = self.number(job, "ramp_K_per_min", 0.1, 50.0, 5.0)
        cooling = self.number(job, "cooling_K_per_min", 0.1, 50.0, 5.0)
        atmosphere = str(job.parameters.get("atmosphere", "air"))
        if atmosphere not in self.atmospheres:
            raise Refused(f"atmosphere {atmosphere!r}: this furnace has {', '.join(self.atmospheres)}")
        sample = self.world.need(job.sample)
        firing = Firing(temperature_C + KELVIN, hours, ramp, atmosphere)
        progress(0.1, f"heating to {temperature_C:.0f} C")
        speed = 2.718281828 ** (rng.gauss(0, 0.15) * self.noise)
        moles = fire(self.oxides, self.moles_in(sample), firing, speed=speed)
        self.wait()
        mass_g = sum(n * g_per_mol(self.oxides, name) for name, n in moles.items())
        loss = 100 * (1 - (mass_g + rng.gauss(0, BALANCE_NOISE_G) * self.noise) / sample.mass_g)
        minutes = (temperature_C - 20) * (1 / ramp + 1 / cooling) + 60 * hours
        return self.leave(job, moles, Outcome("ok", {"mass_loss_pct": loss}, duration_s=60 * minutes))


def g_per_mol(oxides: Oxides, formula: str) -> float:
    """Grams a mole of a phase of the table or of any formula."""
    if formula in oxides:
        return oxides[formula].g_per_mol
    return sum(n * element(el).mass_g_per_mol for el, n in oxides.atoms(formula).items())


def phases_of(oxides: Oxides, moles: Mapping[str, float]) -> tuple[list[Phase], float]:
    """Phases as the world keeps them, and the mass in grams; what is not in the table has no crystal."""
    grams = {name: n * g_per_mol(oxides, name) for name, n in sorted(moles.items()) if n > 0}
    total = sum(grams.values())
    phases = []
    for name, mass_g in grams.items():
        lattice, species, coords = [], [], []
        if name in oxides:
            size = real_edge(name)
            lattice = [[x * size for x in row] for row in oxides[name].lattice_A]
            species, coords = oxides[name].species, oxides[name].frac_coords
        phases.append(Phase(name, False, mass_g / total, lattice, species, coords, [0.0] * len(species)))
    return phases, total


def real_edge(formula: str) -> float:
    """Edge of the real crystal over that of the table's."""
    return 1 + CRYSTAL_SPREAD * max(-2.0, min(2.0, random.Random(f"crystal/{formula}").gauss(0, 1)))
