"""A simulated powder diffractometer for mixtures: takes a pattern and says which phases there are, and how much."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.errors import LabError, Refused
from instruments.simulated.diffractometer import BACKGROUND_COUNTS_PER_S, PEAK_COUNTS_PER_S
from instruments.simulated.instrument import SimulatedInstrument
from instruments.simulated.oxides import Oxides, load, parse
from instruments.simulated.pattern import WAVELENGTH_A, Reflections, profile, reflections
from instruments.simulated.phase_analysis import fit_mixture
from instruments.simulated.solid_state import real_edge
from instruments.simulated.world import Sample

if TYPE_CHECKING:
    import numpy as np

SEEN = 0.008
"""Smallest weight fraction that is reported."""


class PhaseDiffractometer(SimulatedInstrument):
    """Capability ``identify``: a pattern of what the sample really is, and the phases that explain it.

    The analysis sees the pattern, the ``elements`` and the reference crystals of all phases of these elements; not the
    sample, and not what was wanted. Readings: ``phase_fraction``, the weight fraction of the phase whose composition is
    ``target_formula``; ``n_phases``; ``rwp_pct``; and ``weight_fraction_FORMULA`` of every phase found.

    Settings beside those of ``SimulatedInstrument``:
        minutes: mounting, scan and return.
        file: table of phases; by default the one that ships.
        analysis: ``module:function`` of another analysis, called as ``f(two_theta_deg, counts, elements)``; it returns
            objects with ``formula`` and ``weight_fraction``. By default the instrument's own fit.
    """

    name = "phase_diffractometer"

    def __init__(self, *, minutes: float = 30.0, file: str = "", analysis: str = "", **shared: Any) -> None:
        super().__init__(**shared)
        self.minutes, self.oxides, self.analysis = minutes, load(file), analysis
        self._analyse = _function(analysis) if analysis else None

    def capabilities(self) -> list[Capability]:
        """``identify``; leaves the sample as it was."""
        limits = {
            "two_theta_min_deg": Limit(5.0, 120.0),
            "two_theta_max_deg": Limit(20.0, 150.0),
            "step_deg": Limit(0.005, 0.1),
            "count_time_s": Limit(0.01, 600.0),
        }
        quantities = {
            "phase_fraction": Limit(0.0, 1.0),
            "n_phases": Limit(0.0, 100.0),
            "rwp_pct": Limit(0.0, 100.0),
        }
        return [Capability("identify", limits, quantities, idempotent=True)]

    def act(self, job: Job, rng: random.Random, progress: Progress) -> Outcome:
        """Scan, then analyse. Arrays: ``two_theta_deg`` and ``counts``, float64."""
        import numpy as np

        given = job.parameters
        symbols = {str(el) for el in given.get("elements", [])} - {"O"}
        wanted = _share(str(given.get("target_formula", "")))
        if not symbols or not wanted:
            raise Refused("identify needs elements, what may be in the sample, and target_formula")
        radiation = str(given.get("wavelength", "CuKa"))
        if radiation not in WAVELENGTH_A:
            raise Refused(f"wavelength {radiation!r}: choose one of {', '.join(WAVELENGTH_A)}")
        low, high = float(given.get("two_theta_min_deg", 10.0)), float(given.get("two_theta_max_deg", 80.0))
        step, seconds = float(given.get("step_deg", 0.02)), float(given.get("count_time_s", 1.0))
        if not (high - low > 100 * step > 0 and seconds > 0):
            raise Refused(f"a scan from {low} to {high} degrees in steps of {step} has too few points")
        sample = self.world.need(job.sample)
        progress(0.1, "sample mounted")
        self.wait()
        grid = low + step * np.arange(round((high - low) / step) + 1)
        counts = self._scan(sample, grid, WAVELENGTH_A[radiation], seconds, rng)
        progress(0.5, "scan taken")
        found, rwp_pct = self._phases(grid, counts, symbols, WAVELENGTH_A[radiation])
        readings = {"phase_fraction": 0.0, "n_phases": float(len(found)), "rwp_pct": rwp_pct}
        for formula, fraction in sorted(found.items()):
            readings[f"weight_fraction_{formula}"] = fraction
            if _share(formula) == wanted:
                readings["phase_fraction"] = min(1.0, readings["phase_fraction"] + fraction)
        self.world.touch(job.sample, job.command_id, self.name)
        return Outcome("ok", readings, {"two_theta_deg": grid, "counts": counts}, duration_s=60 * self.minutes)

    def inspect(self, job: Job) -> Outcome | None:
        """A measurement leaves the sample as it was, so an interrupted one may simply be repeated."""
        return Outcome("untouched", message="a measurement leaves the sample as it was")

    def _phases(
        self, grid: np.ndarray, counts: np.ndarray, symbols: set[str], wavelength_A: float
    ) -> tuple[dict[str, float], float]:
        if self._analyse is not None:
            phases = self._analyse(grid, counts, sorted({*symbols, "O", "C"}))
            return {p.formula: float(p.weight_fraction) for p in phases if p.weight_fraction >= SEEN}, 0.0
        names = [p.formula for p in self.oxides.phases.values() if set(p.metals) <= symbols]
        beyond = float(grid[-1]) + 3
        library = {name: lines_of(self.oxides, name, wavelength_A, beyond) for name in sorted(names)}
        fractions, rwp_pct = fit_mixture(grid, counts, library, wavelength_A)
        return {name: x for name, x in fractions.items() if x >= SEEN}, rwp_pct

    def _scan(
        self, sample: Sample, grid: np.ndarray, wavelength_A: float, seconds: float, rng: random.Random
    ) -> np.ndarray:
        """Counts of the sample as it really is, shape (n,), with misalignment and counting noise."""
        import numpy as np

        zero, displacement = (rng.gauss(0, 0.01) * self.noise for _ in range(2))
        ideal = np.zeros(len(grid))
        for phase in sample.phases:
            if phase.formula not in self.oxides:
                continue  # amorphous: a nitrate that was not fired
            lines = lines_of(self.oxides, phase.formula, wavelength_A, float(grid[-1]) + 3)
            ideal += phase.mass_fraction * profile(
                lines,
                grid,
                wavelength_A,
                edge_factor=real_edge(phase.formula),
                zero_shift_deg=zero,
                displacement_deg=displacement,
            )
        rate = PEAK_COUNTS_PER_S * ideal / max(ideal.max(), 1e-300)
        rate += BACKGROUND_COUNTS_PER_S * (0.5 + 0.5 * np.exp(-(grid - grid[0]) / 25.0))
        expected = rate * seconds
        drawn = np.random.default_rng(rng.getrandbits(64)).poisson(expected)
        return expected + (drawn - expected) * self.noise if self.noise != 1 else drawn.astype(float)


_lines: dict[tuple[int, str, float, float], Reflections] = {}


def lines_of(oxides: Oxides, name: str, wavelength_A: float, max_deg: float) -> Reflections:
    """Lines of a phase of the table, kept."""
    key = (id(oxides), name, wavelength_A, max_deg)
    if key not in _lines:
        phase = oxides[name]
        cell = {"lattice_A": phase.lattice_A, "species": phase.species, "frac_coords": phase.frac_coords}
        _lines[key] = reflections(cell, wavelength_A, max_deg)
    return _lines[key]


@cache
def _share(formula: str) -> tuple[tuple[str, float], ...]:
    """Atomic fractions: equal for ``ZnFe2O4`` and ``Zn(FeO2)2``; nothing where it is no formula."""
    try:
        atoms = parse(formula)
    except LabError:
        return ()
    total = sum(atoms.values())
    return tuple(sorted((el, round(n / total, 5)) for el, n in atoms.items()))


def _function(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise LabError(f"analysis {path!r} cannot be loaded ({error}); write it as module:function") from error
