"""Which phases a powder holds, and how much of each, when only its elements are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.characterization.crystal import Crystal
from models.characterization.pattern import Pattern, grid_of
from models.characterization.references import references_of
from models.characterization.refinement import Fit, Grid, Optics, Part, Radiation, peaks_of, refine
from models.characterization.scattering import ANODES, KALPHA2
from models.errors import DataError

_GRAIN_UM = 1.0
_TRIED = 4
_MOST_PHASES = 8
_LEAST_FRACTION = 0.01
_SYSTEMATIC = 0.12


@dataclass(frozen=True)
class PhaseFraction:
    """One phase of a powder.

    Attributes:
        formula: reduced formula of the reference.
        space_group: its Hermann-Mauguin symbol.
        weight_fraction: of the crystalline part; all fractions sum to one.
        std: standard deviation of it: counting and fitting, and what weighed mixtures showed beyond these.
        name: mineral or polymorph, where there is one.
    """

    formula: str
    space_group: str
    weight_fraction: float
    std: float
    name: str = ""


@dataclass(frozen=True, eq=False)
class Analysis:
    """All that the identification found out.

    Attributes:
        phases: heaviest first.
        r_wp: weighted profile residual, 0.05 to 0.15 is usual.
        two_theta_deg, measured, fitted: the pattern as it was fitted.
        fit: the refinement.
    """

    phases: tuple[PhaseFraction, ...]
    r_wp: float
    two_theta_deg: np.ndarray
    measured: np.ndarray
    fitted: np.ndarray
    fit: Fit


def quantify(
    two_theta_deg: Iterable[float],
    intensity: Iterable[float],
    elements: Iterable[str],
    *,
    references: str | Path | Sequence[Crystal] | None = None,
    wavelength: float | str | None = None,
) -> list[PhaseFraction]:
    """Identify and weigh the crystalline phases of a powder.

    Args:
        two_theta_deg: angles, in degrees.
        intensity: counts, or proportional to them; background and all.
        elements: all that the powder may hold.
        references: crystals, or a folder of them (see :func:`references_of`); ``None``: what ships, and what
            ``ATHANOR_DATA`` holds.
        wavelength: an anode (``Cu``: the Kα doublet), or Å; within 0.002 Å of a Kα1 line the doublet is meant.
            ``None``: Cu.

    Returns:
        Heaviest first; empty where no reference explains the pattern.

    Raises:
        DataError: the pattern cannot be used, or there is no reference for these elements.
        UnknownNameError: not an element.

    Method: background, instrument, cells, widths, displacement parameters and textures of all phases are refined
    together (Rietveld, J. Appl. Cryst. 2, 65 (1969)); phases enter one by one, the best first, and stay where the
    Bayesian information criterion says so. Weights are scale times mass times volume of the cell (Hill and Howard,
    J. Appl. Cryst. 20, 467 (1987)), corrected for microabsorption of grains of 1 µm (Brindley, Phil. Mag. 36, 347
    (1945)).
    """
    pattern = Pattern.of(two_theta_deg, intensity)
    return list(analyse(pattern, elements, references=references, wavelength=wavelength).phases)


def analyse(
    pattern: Pattern,
    elements: Iterable[str],
    *,
    references: str | Path | Sequence[Crystal] | None = None,
    wavelength: float | str | None = None,
) -> Analysis:
    """As :func:`quantify`, with the refinement."""
    wanted = list(dict.fromkeys(elements))
    if not wanted:
        raise DataError("name the elements that the powder may hold.")
    radiation = radiation_of(wavelength if wavelength is not None else pattern.wavelength_A)
    crystals = (
        references_of(wanted, references)
        if references is None or isinstance(references, str | Path)
        else list(references)
    )
    crystals = [c for c in crystals if set(c.counts) <= set(wanted)]
    if not crystals:
        raise DataError(f"no reference structure of {', '.join(wanted)}; give a folder of .cif files.")
    grid, width = grid_of(pattern)
    fit = _Search(crystals, grid, radiation, width, wanted).run()
    return _analysis(fit, grid, radiation)


def radiation_of(wavelength: float | str | None) -> Radiation:
    """The lines of an anode, or one line. Raises DataError: not an anode, or not between 0.05 and 5 Å."""
    if wavelength is None:
        wavelength = "Cu"
    if isinstance(wavelength, str):
        anode = next((a for a in ANODES if wavelength.lower().startswith(a.lower())), None)
        if anode is not None:
            return Radiation((ANODES[anode], KALPHA2[anode]), (1.0, 0.5))
        try:
            wavelength = float(wavelength)
        except ValueError:
            raise DataError(f"{wavelength!r} is no anode; give one of {', '.join(ANODES)}, or Å.") from None
    if not 0.05 < wavelength < 5:
        raise DataError(
            f"a wavelength of {wavelength:g} Å is not one of powder diffraction; give Å between 0.05 and 5."
        )
    for anode, line in ANODES.items():
        if abs(line - wavelength) < 0.002:
            return Radiation((ANODES[anode], KALPHA2[anode]), (1.0, 0.5))
    return Radiation((float(wavelength),), (1.0,))


class _Search:
    """Forward selection of phases with refinement in between."""

    def __init__(
        self, crystals: Sequence[Crystal], grid: Grid, radiation: Radiation, width: float, elements: Sequence[str]
    ) -> None:
        self.grid, self.radiation, self.width = grid, radiation, width
        self.elements = set(elements)
        end = float(grid.two_theta_deg[-1])
        self.candidates = [
            Part(c, r, np.zeros(len(r.metric)), size_deg=0.5 * width, strain_deg=0.02)
            for c in crystals
            if len((r := c.reflections(radiation.main_A, end)).strength)
        ]
        self.blur = self._blur()
        self.scans = [self._scan(part) for part in self.candidates]
        # peaks are several points wide: neighbours say the same
        self.independent = len(grid.intensity) * grid.step_deg / max(width, grid.step_deg)

    def run(self) -> Fit:
        optics = Optics(gauss_deg=0.7 * self.width)
        fit = refine([], optics, self.grid, self.radiation, steps=0)
        while len(fit.parts) < _MOST_PHASES:
            better = self._add(fit)
            if better is None:
                break
            fit = better
        fit = refine(fit.parts, fit.optics, self.grid, self.radiation, steps=10) if fit.parts else fit
        return self._prune(fit)

    def _add(self, fit: Fit) -> Fit | None:
        taken = {id(p.crystal) for p in fit.parts}
        missing = self.elements - {e for p in fit.parts for e in p.crystal.counts}
        residual = self.grid.intensity - fit.fitted
        ranked = sorted(
            ((*self._gain(i, residual), i) for i, p in enumerate(self.candidates) if id(p.crystal) not in taken),
            key=lambda t: -t[0] * (1.5 if self.candidates[t[2]].crystal.measured else 1.0),
        )
        best, merit = None, 0.0
        for gain, change, i in ranked[:_TRIED]:
            if gain <= 0:
                break
            part = self.candidates[i]
            part = replace(part, cell=part.cell + change, cell_guess=change)
            parts = [*fit.parts, part]
            first = not fit.parts
            trial = refine(
                parts, fit.optics, self.grid, self.radiation, free=[len(fit.parts)], steps=4, free_optics=first
            )
            gained = self._evidence(fit.chi2, trial.chi2, part, missing)
            if gained > merit and trial.scales[-1] > 0:
                best, merit = trial, gained
        if best is None:
            return None
        best = refine(best.parts, best.optics, self.grid, self.radiation, steps=3)
        fractions = weight_fractions(best, self.radiation)
        return best if fractions[-1] >= 0.5 * _LEAST_FRACTION or len(fractions) == 1 else None

    def _evidence(self, before: float, after: float, part: Part, missing: set[str]) -> float:
        """Half the change of the Bayesian information criterion; calculated structures have to be more convincing."""
        cost = 0.5 * (len(part.cell) + 3) * np.log(self.independent)
        if not part.crystal.measured:
            cost *= 1.7
        if missing & set(part.crystal.counts):
            cost *= 0.5
        floor = self.independent
        return 0.5 * self.independent * float(np.log((before + floor) / (after + floor))) - cost

    def _prune(self, fit: Fit) -> Fit:
        """Take out what the others can explain as well."""
        while len(fit.parts) > 1:
            fractions = weight_fractions(fit, self.radiation)
            weakest = int(np.argmin(fractions))
            rest = [p for i, p in enumerate(fit.parts) if i != weakest]
            other = refine(rest, fit.optics, self.grid, self.radiation, steps=3)
            elements = {e for p in rest for e in p.crystal.counts}
            merit = self._evidence(other.chi2, fit.chi2, fit.parts[weakest], self.elements - elements)
            if merit > 0 and fractions[weakest] >= _LEAST_FRACTION:
                break
            fit = other
        return fit

    def _blur(self) -> np.ndarray:
        """Transform of one peak of the typical width, its top at zero."""
        n = len(self.grid.intensity)
        x = self.grid.step_deg * np.concatenate([np.arange(n), np.arange(-n, 0)])
        u = (2 * x / self.width) ** 2
        return np.fft.rfft(0.5 / (1 + u) + 0.5 * np.exp(-np.log(2) * u))

    def _scan(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Patterns of the phase over cells a little smaller and larger: relative changes (m,), patterns (m, n)."""
        reach, step = (0.008, 0.002) if part.crystal.measured else (0.05, 0.0025)
        changes = np.arange(-reach, reach + 1e-9, step)
        n = len(self.grid.intensity)
        lines = np.zeros((len(changes), n + 1))
        for row, change in zip(lines, changes):
            peaks = peaks_of(replace(part, cell=part.cell + change), Optics(), self.radiation)
            place = np.round((peaks.centres_deg - self.grid.start_deg) / self.grid.step_deg).astype(int)
            place = np.where((place >= 0) & (place < n), place, n)
            row += np.bincount(place, peaks.areas, minlength=n + 1)
        size = 2 * n
        return changes, np.fft.irfft(np.fft.rfft(lines[:, :n], size) * self.blur, size)[:, :n]

    def _gain(self, i: int, residual: np.ndarray) -> tuple[float, float]:
        """How much of χ² the phase could take away, and with which change of its cell."""
        changes, shapes = self.scans[i]
        weight = 1 / self.grid.sigma**2
        inner = shapes @ (weight * residual)
        norm = (shapes**2) @ weight
        gains = np.where(inner > 0, inner**2 / np.maximum(norm, 1e-300), 0.0)
        best = int(gains.argmax())
        return float(gains[best]), float(changes[best])


def weight_fractions(fit: Fit, radiation: Radiation) -> np.ndarray:
    """Weight fractions of the phases of a fit, microabsorption corrected; (phases,), sums to one."""
    if not fit.parts or not fit.scales.any():
        return np.zeros(len(fit.parts))
    crystals = [p.crystal for p in fit.parts]
    weights = fit.scales * np.array([c.mass_u * c.volume_A3 for c in crystals])
    volumes = fit.scales * np.array([c.volume_A3**2 for c in crystals])
    attenuation = np.array([c.attenuation_per_cm(radiation.main_A) for c in crystals])
    mean = float(volumes @ attenuation / volumes.sum())
    weights = weights * np.exp(np.clip((attenuation - mean) * _GRAIN_UM * 1e-4, -0.5, 0.5))
    return weights / weights.sum()


def _analysis(fit: Fit, grid: Grid, radiation: Radiation) -> Analysis:
    fractions = weight_fractions(fit, radiation)
    errors = _errors(fit, grid, fractions)
    phases = [
        PhaseFraction(p.crystal.formula, p.crystal.space_group, float(w), float(e), p.crystal.name)
        for p, w, e in zip(fit.parts, fractions, errors)
        if w > 0
    ]
    noise = np.maximum(grid.intensity, 1e-3 * np.ptp(grid.intensity))
    r_wp = float(np.sqrt(((grid.intensity - fit.fitted) ** 2 / noise).sum() / noise.sum()))
    phases.sort(key=lambda p: -p.weight_fraction)
    return Analysis(tuple(phases), r_wp, grid.two_theta_deg, grid.intensity, fit.fitted, fit)


def _errors(fit: Fit, grid: Grid, fractions: np.ndarray) -> np.ndarray:
    active = fit.scales > 0
    errors = np.zeros(len(fractions))
    if not active.any():
        return errors
    design = np.concatenate([fit.shapes[active].T, grid.background], 1) / grid.sigma[:, None]
    size = np.linalg.norm(design, axis=0)
    covariance = np.linalg.pinv((design / size).T @ (design / size)) / np.outer(size, size)
    reduced = max(1.0, fit.chi2 / len(grid.intensity))
    relative = np.sqrt(np.diag(covariance)[: active.sum()] * reduced) / fit.scales[active]
    w = fractions[active]
    counting = w * (1 - w) * relative
    errors[active] = np.hypot(counting, _SYSTEMATIC * w * (1 - w) + 0.002)
    return errors
