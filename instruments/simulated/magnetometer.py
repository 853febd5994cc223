"""A simulated vibrating-sample magnetometer."""

from __future__ import annotations

import random
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.simulated.instrument import SimulatedInstrument
from instruments.simulated.references import mass_g_per_mol
from instruments.simulated.world import Sample

BOHR_MAGNETON_A_M2 = 9.2740100783e-24
AVOGADRO_PER_MOL = 6.02214076e23


class Magnetometer(SimulatedInstrument):
    """Capability ``magnetometry``: saturation moment of the whole sample at zero temperature.

    The moment is the sum of the moment magnitudes of all sites of the target phase and of left-over iron, cobalt and
    nickel, all parallel: an upper bound where the real order is ferrimagnetic or antiferromagnetic.

    Settings beside those of ``SimulatedInstrument``:
        minutes: mounting and one loop.
        max_field_T: limit.
    """

    name = "magnetometer"

    def __init__(
        self,
        *,
        minutes: float = 40.0,
        max_field_T: float = 9.0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.minutes = minutes
        self.max_field_T = max_field_T

    def capabilities(self) -> list[Capability]:
        """``magnetometry``; leaves the sample as it was."""
        limits = {"field_T": Limit(0.0, self.max_field_T), "temperature_K": Limit(1.8, 400.0)}
        # 30 A m2: 100 g of iron hold 22.
        quantities = {"moment_A_m2": Limit(-0.01, 30.0), "field_T": Limit(-0.1, 1.01 * self.max_field_T + 0.1)}
        return [Capability("magnetometry", limits, quantities, idempotent=True)]

    def act(self, job: Job, rng: random.Random, progress: Progress) -> Outcome:
        """Measure: 1 % of gain error and an offset of 5e-5 A m2 of the sample rod."""
        sample = self.world.need(job.sample)
        progress(0.2, "sample mounted")
        self.wait()
        moment = saturation_moment_A_m2(sample) * (1 + rng.gauss(0, 0.01) * self.noise)
        field = float(job.parameters.get("field_T", 2.0)) + rng.gauss(0, 0.001) * self.noise
        readings = {"moment_A_m2": moment + rng.gauss(0, 5e-5) * self.noise, "field_T": field}
        self.world.touch(job.sample, job.command_id, self.name)
        progress(1.0, "loop taken")
        return Outcome("ok", readings, duration_s=60 * self.minutes)

    def inspect(self, job: Job) -> Outcome | None:
        """A measurement leaves the sample as it was, so an interrupted one may simply be repeated."""
        return Outcome("untouched", message="a measurement leaves the sample as it was")


def saturation_moment_A_m2(sample: Sample) -> float:
    """Sum of the site moments of all phases of a sample."""
    return sum(
        sample.mass_g
        * phase.mass_fraction
        / mass_g_per_mol(phase.species)
        * AVOGADRO_PER_MOL
        * BOHR_MAGNETON_A_M2
        * sum(phase.moments_muB)
        for phase in sample.phases
    )
