"""Rietveld refinement of a mixture: scales and background are solved for, cells, widths and textures are searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.characterization.crystal import Crystal, Reflections
from models.characterization.profile import Comb, Peaks, width_and_mixing

_NUDGE = 1e-5
_CELL_SPREAD = {True: 0.004, False: 0.02}
_CELL_LIMIT = {True: 0.02, False: 0.06}


@dataclass(frozen=True)
class Radiation:
    """Lines of the X-ray tube: wavelengths in Å and relative strengths, strongest first."""

    wavelengths_A: tuple[float, ...]
    strengths: tuple[float, ...]

    @property
    def main_A(self) -> float:
        """The strongest line."""
        return self.wavelengths_A[0]


@dataclass(frozen=True, eq=False)
class Part:
    """One phase in a refinement.

    Attributes:
        crystal: the reference.
        cell: relative changes of the components of the reciprocal metric, as many as the symmetry leaves free.
        size_deg: Lorentzian width at θ = 0 (small crystallites) in degrees.
        strain_deg: Lorentzian width that grows as tan θ.
        b_A2: isotropic displacement parameter in Å².
        log_texture: logarithm of the March-Dollase parameter; 0: no preferred orientation.
        axis: reciprocal axis of the texture.
        cell_guess: expected relative change of the whole reciprocal metric, where the search has found one.
    """

    crystal: Crystal
    reflections: Reflections
    cell: np.ndarray
    size_deg: float = 0.06
    strain_deg: float = 0.05
    b_A2: float = 0.8
    log_texture: float = 0.0
    axis: int = 2
    cell_guess: float = 0.0

    def vector(self) -> np.ndarray:
        """All free parameters of this phase."""
        return np.array([*self.cell, self.size_deg, self.strain_deg, self.b_A2, self.log_texture])

    def with_vector(self, v: np.ndarray) -> Part:
        """The same phase with other parameters, kept within what is physical."""
        limit = _CELL_LIMIT[self.crystal.measured]
        cell = np.clip(v[:-4], self.cell_guess - limit, self.cell_guess + limit)
        size, strain = np.clip(v[-4:-2], 0.0, 3.0)
        return replace(
            self,
            cell=cell,
            size_deg=float(size),
            strain_deg=float(strain),
            b_A2=float(np.clip(v[-2], 0.0, 3.0)),
            log_texture=float(np.clip(v[-1], -1.0, 1.0)),
        )

    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Expected values of the parameters and how far they stray."""
        n = len(self.cell)
        mean = np.array([self.cell_guess] * n + [0.06, 0.05, 0.8, 0.0])
        spread = np.array([_CELL_SPREAD[self.crystal.measured]] * n + [0.15, 0.3, 0.3, 0.12])
        return mean, spread


@dataclass(frozen=True)
class Optics:
    """What the diffractometer does to every phase.

    Attributes:
        zero_deg: error of the zero of 2θ.
        displacement_deg: sample displacement, shifts by this times cos θ.
        gauss_deg: Gaussian width of the instrument at θ = 0.
        caglioti_deg: Gaussian width that grows as tan θ.
        slit: exponent of sin θ in the intensity: 0 for a fixed divergence slit and an endless flat sample, 1 for an
            automatic slit. Small or rough samples lose intensity at low angles too, so the truth is often between.
    """

    zero_deg: float = 0.0
    displacement_deg: float = 0.0
    gauss_deg: float = 0.10
    caglioti_deg: float = 0.03
    slit: float = 0.5

    def vector(self) -> np.ndarray:
        """All of them."""
        return np.array([self.zero_deg, self.displacement_deg, self.gauss_deg, self.caglioti_deg, self.slit])

    def with_vector(self, v: np.ndarray) -> Optics:
        """Other values, kept within what is physical."""
        zero, displacement = np.clip(v[:2], -0.5, 0.5)
        gauss, caglioti = np.clip(v[2:4], 0.003, 2.0)
        return replace(
            self,
            zero_deg=float(zero),
            displacement_deg=float(displacement),
            gauss_deg=float(gauss),
            caglioti_deg=float(caglioti),
            slit=float(np.clip(v[4], -0.5, 1.2)),
        )

    PRIOR = (np.array([0.0, 0.0, 0.10, 0.03, 0.5]), np.array([0.02, 0.08, 0.1, 0.1, 0.5]))


@dataclass(frozen=True, eq=False)
class Grid:
    """A pattern on an even grid with its weights.

    Attributes:
        start_deg, step_deg: of 2θ.
        intensity: (n,).
        sigma: (n,) believed error of each point, misfit of the model included.
        background: (n, m) functions whose sum is the background.
    """

    start_deg: float
    step_deg: float
    intensity: np.ndarray
    sigma: np.ndarray
    background: np.ndarray

    @property
    def two_theta_deg(self) -> np.ndarray:
        """The angles."""
        return self.start_deg + self.step_deg * np.arange(len(self.intensity))


@dataclass(frozen=True, eq=False)
class Fit:
    """A refined mixture.

    Attributes:
        parts: the phases.
        optics: the instrument.
        scales: (phases,) ≥ 0.
        shapes: (phases, n) the pattern of each phase with a scale of one.
        fitted: (n,) the whole calculated pattern.
        chi2: weighted sum of squared residuals, priors left out.
        objective: χ² and the priors.
    """

    parts: tuple[Part, ...]
    optics: Optics
    scales: np.ndarray
    shapes: np.ndarray
    fitted: np.ndarray
    chi2: float
    objective: float


def peaks_of(part: Part, optics: Optics, radiation: Radiation) -> Peaks:
    """Peaks of one phase with a scale of one; those that the geometry forbids have no area."""
    r = part.reflections
    s2 = r.keys @ (r.metric * (1 + part.cell)) / 4
    strength = r.strength * np.exp(-2 * part.b_A2 * s2)
    if part.log_texture:
        strength = strength * r.texture(part.axis, float(np.exp(part.log_texture)))
    sine = np.sqrt(np.maximum(s2, 0)) * np.array(radiation.wavelengths_A)[:, None]
    seen = (sine > 0.005) & (sine < 0.998)
    theta = np.arcsin(np.clip(sine, 0.005, 0.998))
    cosine, tangent = np.cos(theta), np.tan(theta)
    polarization = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * cosine)
    areas = np.array(radiation.strengths)[:, None] * strength * polarization * (2 * np.sin(theta)) ** optics.slit * seen
    centres = np.degrees(2 * theta) + optics.zero_deg + optics.displacement_deg * cosine
    gauss = np.hypot(optics.gauss_deg, optics.caglioti_deg * tangent)
    lorentz = part.size_deg / cosine + part.strain_deg * tangent + 1e-4
    width, mixing = width_and_mixing(gauss, lorentz)
    return Peaks(centres.ravel(), areas.ravel(), width.ravel(), mixing.ravel())


def pattern_of(part: Part, optics: Optics, grid: Grid, radiation: Radiation) -> np.ndarray:
    """Calculated pattern of one phase with a scale of one, without background."""
    peaks = peaks_of(part, optics, radiation)
    return Comb(peaks, grid.start_deg, grid.step_deg, len(grid.intensity)).total()


def solve(parts: Sequence[Part], optics: Optics, shapes: np.ndarray, grid: Grid) -> Fit:
    """Best scales (none negative) and background for these shapes."""
    n = len(parts)
    design = np.concatenate([shapes.T, grid.background], 1) / grid.sigma[:, None]
    size = np.linalg.norm(design, axis=0)
    size[size == 0] = 1.0
    design = design / size
    target = grid.intensity / grid.sigma
    matrix, right = design.T @ design, design.T @ target
    matrix[np.diag_indices_from(matrix)] += 1e-10
    active = np.ones(len(right), bool)
    while True:
        solution = np.zeros(len(right))
        solution[active] = np.linalg.solve(matrix[np.ix_(active, active)], right[active])
        worst = int(np.argmin(solution[:n])) if n else 0
        if n == 0 or solution[worst] >= 0:
            break
        active[worst] = False
    fitted = (design @ solution) * grid.sigma
    chi2 = float((((grid.intensity - fitted) / grid.sigma) ** 2).sum())
    scales = (solution / size)[:n]
    return Fit(tuple(parts), optics, scales, shapes, fitted, chi2, chi2 + _penalty(parts, optics))


def refine(
    parts: Sequence[Part],
    optics: Optics,
    grid: Grid,
    radiation: Radiation,
    *,
    free: Sequence[int] | None = None,
    steps: int = 6,
    free_optics: bool = True,
) -> Fit:
    """Refine phases ``free`` (all, where not given) and the optics by damped Gauss-Newton steps with priors.

    Scales and background are projected out of every step (Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973)).
    """
    chosen = list(range(len(parts))) if free is None else list(free)
    shapes = np.array([pattern_of(p, optics, grid, radiation) for p in parts]).reshape(len(parts), len(grid.intensity))
    best = solve(parts, optics, shapes, grid)
    damping = 1e-2
    for _ in range(steps):
        jacobian, residual, hessian_prior, gradient_prior = _linearized(best, grid, radiation, chosen, free_optics)
        curvature = jacobian.T @ jacobian + hessian_prior
        gradient = jacobian.T @ residual + gradient_prior
        improved = False
        for _ in range(4):
            damped = curvature + damping * np.diag(np.diag(curvature) + 1e-12)
            move = np.linalg.solve(damped, gradient)
            longest = np.abs(move * np.sqrt(np.diag(hessian_prior))).max()
            move *= min(1.0, 1.5 / longest) if longest > 0 else 1.0
            trial = _moved(best, move, grid, radiation, chosen, free_optics)
            if trial.objective < best.objective:
                gain = best.objective - trial.objective
                best, improved, damping = trial, True, max(damping / 5, 1e-4)
                break
            damping *= 6
        if not improved or gain < 1e-3 * best.objective:
            break
    return best


def _penalty(parts: Sequence[Part], optics: Optics) -> float:
    total = float((((optics.vector() - Optics.PRIOR[0]) / Optics.PRIOR[1]) ** 2).sum())
    for part in parts:
        mean, spread = part.prior()
        total += float((((part.vector() - mean) / spread) ** 2).sum())
    return total


def _linearized(
    fit: Fit, grid: Grid, radiation: Radiation, chosen: Sequence[int], free_optics: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Jacobian (n, parameters) with scales and background projected out, residual, and the prior's two terms."""
    n = len(grid.intensity)
    of_optics = np.zeros((5 if free_optics else 0, n))
    of_parts: list[np.ndarray] = []
    means, spreads, values = [], [], []
    if free_optics:
        means += list(Optics.PRIOR[0])
        spreads += list(Optics.PRIOR[1])
        values += list(fit.optics.vector())
    for k, (part, scale) in enumerate(zip(fit.parts, fit.scales)):
        vector = part.vector()
        if k in chosen:
            mean, spread = part.prior()
            means += list(mean)
            spreads += list(spread)
            values += list(vector)
        if scale <= 0 or not (free_optics or k in chosen):
            of_parts += [np.zeros(n)] * (len(vector) if k in chosen else 0)
            continue
        comb = Comb(peaks_of(part, fit.optics, radiation), grid.start_deg, grid.step_deg, n, derivatives=True)
        for i in range(len(of_optics)):
            optics = fit.optics.with_vector(_nudged(fit.optics.vector(), i))
            of_optics[i] += scale / _NUDGE * comb.moved(peaks_of(part, optics, radiation))
        for i in range(len(vector) if k in chosen else 0):
            of_parts.append(
                scale / _NUDGE * comb.moved(peaks_of(part.with_vector(_nudged(vector, i)), fit.optics, radiation))
            )
    jacobian = np.array([*of_optics, *of_parts]).T / grid.sigma[:, None]
    residual = (grid.intensity - fit.fitted) / grid.sigma
    active = np.concatenate([fit.shapes[fit.scales > 0].T, grid.background], 1) / grid.sigma[:, None]
    q, _ = np.linalg.qr(active / np.maximum(np.linalg.norm(active, axis=0), 1e-12))
    jacobian = jacobian - q @ (q.T @ jacobian)
    weight = 1 / np.array(spreads) ** 2
    return jacobian, residual, np.diag(weight), weight * (np.array(means) - np.array(values))


def _nudged(vector: np.ndarray, i: int) -> np.ndarray:
    moved = vector.copy()
    moved[i] += _NUDGE
    return moved


def _moved(
    fit: Fit, step: np.ndarray, grid: Grid, radiation: Radiation, chosen: Sequence[int], free_optics: bool
) -> Fit:
    position = 0
    optics = fit.optics
    if free_optics:
        optics = optics.with_vector(optics.vector() + step[:5])
        position = 5
    parts = list(fit.parts)
    for k in chosen:
        vector = parts[k].vector()
        parts[k] = parts[k].with_vector(vector + step[position : position + len(vector)])
        position += len(vector)
    shapes = np.array(
        [
            pattern_of(p, optics, grid, radiation) if free_optics or k in chosen else fit.shapes[k]
            for k, p in enumerate(parts)
        ]
    )
    return solve(parts, optics, shapes, grid)
