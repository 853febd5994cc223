"""A simulated powder diffractometer for mixtures: takes a pattern and says which phases there are, and how much."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.errors import LabError, Refused
from instruments.simulated.instrument import SimulatedInstrument
from instruments.simulated.oxides import Oxides, load, parse
from instruments.simulated.pattern import Reflections, profile, reflections
from instruments.simulated.phase_analysis import fit_mixture
from instruments.simulated.scan import LIMITS, Scan
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
        quantities = {
            "phase_fraction": Limit(0.0, 1.0),
            "n_phases": Limit(0.0, 100.0),
            "rwp_pct": Limit(0.0, 100.0),
        }
        return [Capability("identify", LIMITS, quantities, idempotent=True)]

    def act(self, job: Job, rng: random.Random, progress: Progress) -> Outcome:
        """Scan, then analyse. Arrays: ``two_theta_deg`` and ``counts``, float64."""
        given = job.parameters
        symbols = {str(el) for el in given.get("elements", [])} - {"O"}
        wanted = _share(str(given.get("target_formula", "")))
        if not symbols or not wanted:
            raise Refused("identify needs elements, what may be in the sample, and target_formula")
        scan = Scan.of(given, 10.0, 80.0)
        sample = self.world.need(job.sample)
        progress(0.1, "sample mounted")
        self.wait()
        counts = scan.counts(partial(self._ideal, sample, scan), rng, self.noise)
        progress(0.5, "scan taken")
        found, rwp_pct = self._phases(scan.grid, counts, symbols, scan.wavelength_A)
        readings = {"phase_fraction": 0.0, "n_phases": float(len(found)), "rwp_pct": rwp_pct}
        for formula, fraction in sorted(found.items()):
            readings[f"weight_fraction_{formula}"] = fraction
            if _share(formula) == wanted:
                readings["phase_fraction"] = min(1.0, readings["phase_fraction"] + fraction)
        self.world.touch(job.sample, job.command_id, self.name)
        return Outcome("ok", readings, {"two_theta_deg": scan.grid, "counts": counts}, duration_s=60 * self.minutes)

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

    def _ideal(self, sample: Sample, scan: Scan, zero_shift_deg: float, displacement_deg: float) -> np.ndarray:
        import numpy as np

        ideal = np.zeros(len(scan.grid))
        for phase in sample.phases:
            if phase.formula not in self.oxides:
                continue  # amorphous: a nitrate that was not fired
            lines = lines_of(self.oxides, phase.formula, scan.wavelength_A, float(scan.grid[-1]) + 3)
            ideal += phase.mass_fraction * profile(
                lines,
                scan.grid,
                scan.wavelength_A,
                edge_factor=real_edge(phase.formula),
                zero_shift_deg=zero_shift_deg,
                displacement_deg=displacement_deg,
            )
        return ideal


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
