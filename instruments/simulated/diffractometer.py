"""A simulated powder diffractometer with its analysis software."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.errors import Refused
from instruments.simulated.analysis import refine
from instruments.simulated.instrument import SimulatedInstrument
from instruments.simulated.pattern import WAVELENGTH_A, element_reflections, profile, reflections
from instruments.simulated.world import Sample

if TYPE_CHECKING:
    import numpy as np

PEAK_COUNTS_PER_S = 4000.0
BACKGROUND_COUNTS_PER_S = 40.0


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
        limits = {
            "two_theta_min_deg": Limit(5.0, 120.0),
            "two_theta_max_deg": Limit(20.0, 150.0),
            "step_deg": Limit(0.005, 0.1),
            "count_time_s": Limit(0.01, 600.0),
        }
        quantities = {
            "lattice_parameter_A": Limit(1.5, 40.0),
            "cell_volume_A3_per_atom": Limit(2.0, 150.0),
            "phase_fraction": Limit(0.0, 1.0),
            "rwp_pct": Limit(0.0, 100.0),
        }
        return [Capability("diffract", limits, quantities, idempotent=True)]

    def act(self, job: Job, rng: random.Random, progress: Progress) -> Outcome:
        """Scan, then analyse. Arrays: ``two_theta_deg`` and ``counts``, float64."""
        import numpy as np

        given = job.parameters
        if "target" not in given:
            raise Refused("diffract lacks target: the crystal that the analysis should look for")
        radiation = str(given.get("wavelength", "CuKa"))
        if radiation not in WAVELENGTH_A:
            raise Refused(f"wavelength {radiation!r}: choose one of {', '.join(WAVELENGTH_A)}")
        low, high = float(given.get("two_theta_min_deg", 20.0)), float(given.get("two_theta_max_deg", 100.0))
        step, seconds = float(given.get("step_deg", 0.02)), float(given.get("count_time_s", 1.0))
        if not (high - low > 100 * step > 0 and seconds > 0):
            raise Refused(f"a scan from {low} to {high} degrees in steps of {step} has too few points")

        sample = self.world.need(job.sample)
        progress(0.1, "sample mounted")
        self.wait()
        grid = low + step * np.arange(round((high - low) / step) + 1)
        counts = self._scan(sample, grid, WAVELENGTH_A[radiation], seconds, rng)
        progress(0.8, "scan taken")
        result = refine(grid, counts, given["target"], WAVELENGTH_A[radiation])
        readings = {
            "lattice_parameter_A": result.lattice_parameter_A,
            "cell_volume_A3_per_atom": result.cell_volume_A3_per_atom,
            "phase_fraction": result.phase_fraction,
            "rwp_pct": result.rwp_pct,
        }
        self.world.touch(job.sample, job.command_id, self.name)
        progress(1.0, "pattern analysed")
        return Outcome("ok", readings, {"two_theta_deg": grid, "counts": counts}, duration_s=60 * self.minutes)

    def inspect(self, job: Job) -> Outcome | None:
        """A measurement leaves the sample as it was, so an interrupted one may simply be repeated."""
        return Outcome("untouched", message="a measurement leaves the sample as it was")

    def _scan(
        self, sample: Sample, grid: np.ndarray, wavelength_A: float, seconds: float, rng: random.Random
    ) -> np.ndarray:
        """Counts of the sample as it really is, shape (n,), with misalignment and counting noise."""
        import numpy as np

        zero, displacement = (rng.gauss(0, 0.01) * self.noise for _ in range(2))
        ideal = np.zeros(len(grid))
        for phase in sample.phases:
            if phase.target:
                cell = {"lattice_A": phase.lattice_A, "species": phase.species, "frac_coords": phase.frac_coords}
                lines = reflections(cell, wavelength_A, float(grid[-1]) + 2)
            else:
                lines = element_reflections(phase.formula, wavelength_A, float(grid[-1]) + 1)
            ideal += phase.mass_fraction * profile(
                lines, grid, wavelength_A, zero_shift_deg=zero, displacement_deg=displacement
            )
        background = 0.5 + 0.5 * np.exp(-(grid - grid[0]) / 25.0)
        rate = PEAK_COUNTS_PER_S * ideal / max(ideal.max(), 1e-300) + BACKGROUND_COUNTS_PER_S * background
        expected = rate * seconds
        drawn = np.random.default_rng(rng.getrandbits(64)).poisson(expected)
        return expected + (drawn - expected) * self.noise if self.noise != 1 else drawn.astype(float)
