"""A simulated powder diffractometer with its analysis software."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.errors import Refused
from instruments.simulated.analysis import refine
from instruments.simulated.instrument import SimulatedInstrument
from instruments.simulated.pattern import element_reflections, profile, reflections
from instruments.simulated.scan import LIMITS, Scan
from instruments.simulated.world import Sample

if TYPE_CHECKING:
    import numpy as np


class Diffractometer(SimulatedInstrument):
    """Capability ``diffract``: takes a pattern of what the sample really is, then fits the expected crystal to it.

    The pattern comes from the sample in the world; the analysis sees the pattern and the command's ``target`` alone.

    Settings beside those of ``SimulatedInstrument``:
        minutes: mounting, scan and return.
    """

    name = "diffractometer"

    def __init__(
        self,
        *,
        minutes: float = 30.0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.minutes = minutes

    def capabilities(self) -> list[Capability]:
        """``diffract``; leaves the sample as it was."""
        quantities = {
            "lattice_parameter_A": Limit(1.5, 40.0),
            "cell_volume_A3_per_atom": Limit(2.0, 150.0),
            "phase_fraction": Limit(0.0, 1.0),
            "rwp_pct": Limit(0.0, 100.0),
        }
        return [Capability("diffract", LIMITS, quantities, idempotent=True)]

    def act(self, job: Job, rng: random.Random, progress: Progress) -> Outcome:
        """Scan, then analyse. Arrays: ``two_theta_deg`` and ``counts``, float64."""
        given = job.parameters
        if "target" not in given:
            raise Refused("diffract lacks target: the crystal that the analysis should look for")
        scan = Scan.of(given, 20.0, 100.0)
        sample = self.world.need(job.sample)
        progress(0.1, "sample mounted")
        self.wait()
        counts = scan.counts(partial(_ideal, sample, scan), rng, self.noise)
        progress(0.8, "scan taken")
        result = refine(scan.grid, counts, given["target"], scan.wavelength_A)
        readings = {
            "lattice_parameter_A": result.lattice_parameter_A,
            "cell_volume_A3_per_atom": result.cell_volume_A3_per_atom,
            "phase_fraction": result.phase_fraction,
            "rwp_pct": result.rwp_pct,
        }
        self.world.touch(job.sample, job.command_id, self.name)
        progress(1.0, "pattern analysed")
        return Outcome("ok", readings, {"two_theta_deg": scan.grid, "counts": counts}, duration_s=60 * self.minutes)

    def inspect(self, job: Job) -> Outcome | None:
        """A measurement leaves the sample as it was, so an interrupted one may simply be repeated."""
        return Outcome("untouched", message="a measurement leaves the sample as it was")


def _ideal(sample: Sample, scan: Scan, zero_shift_deg: float, displacement_deg: float) -> np.ndarray:
    import numpy as np

    ideal, highest = np.zeros(len(scan.grid)), float(scan.grid[-1])
    for phase in sample.phases:
        if phase.target:
            cell = {"lattice_A": phase.lattice_A, "species": phase.species, "frac_coords": phase.frac_coords}
            lines = reflections(cell, scan.wavelength_A, highest + 2)
        else:
            lines = element_reflections(phase.formula, scan.wavelength_A, highest + 1)
        ideal += phase.mass_fraction * profile(
            lines,
            scan.grid,
            scan.wavelength_A,
            zero_shift_deg=zero_shift_deg,
            displacement_deg=displacement_deg,
        )
    return ideal
