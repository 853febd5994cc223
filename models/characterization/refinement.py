"""Rietveld refinement of a mixture: scales and background are solved for, cells, widths and textures are searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import nnls

from models.characterization.crystal import Crystal, Reflections
from models.characterization.profile import summed_peaks, width_and_mixing

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
        scale_covariance: (phases, phases) for χ² as it came.
    """

    parts: tuple[Part, ...]
    optics: Optics
    scales: np.ndarray
    shapes: np.ndarray
    fitted: np.ndarray
    chi2: float
    objective: float
    scale_covariance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))


def pattern_of(part: Part, optics: Optics, grid: Grid, radiation: Radiation) -> np.ndarray:
    """Calculated pattern of one phase with a scale of one, without background."""
    r = part.reflections
    inverse_d2 = r.keys @ (r.metric * (1 + part.cell))
    s2 = inverse_d2 / 4
    areas = r.strength * np.exp(-2 * part.b_A2 * s2)
    if part.log_texture:
        areas = areas * r.texture(part.axis, float(np.exp(part.log_texture)))
    total = np.zeros(len(grid.intensity))
    for wavelength, strength in zip(radiation.wavelengths_A, radiation.strengths):
        sine = np.sqrt(s2) * wavelength
        seen = (sine > 0.005) & (sine < 0.999)
        theta = np.arcsin(sine[seen])
        lorentz_polarization = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
        centres = np.degrees(2 * theta) + optics.zero_deg + optics.displacement_deg * np.cos(theta)
        gauss = np.hypot(optics.gauss_deg, optics.caglioti_deg * np.tan(theta))
        lorentz = part.size_deg / np.cos(theta) + part.strain_deg * np.tan(theta) + 1e-4
        width, mixing = width_and_mixing(gauss, lorentz)
        area = strength * areas[seen] * lorentz_polarization * (2 * np.sin(theta)) ** optics.slit
        total += summed_peaks(grid.start_deg, grid.step_deg, len(total), centres, area, width, mixing)
    return total


def solve(parts: Sequence[Part], optics: Optics, shapes: np.ndarray, grid: Grid) -> Fit:
    """Best scales (none negative) and background for these shapes."""
    n = len(parts)
    design = np.concatenate([shapes.T, grid.background, -grid.background], 1) / grid.sigma[:, None]
    target = grid.intensity / grid.sigma
    size = np.linalg.norm(design, axis=0)
    size[size == 0] = 1.0
    gram = design / size
    # normal equations: few columns, many points
    matrix, right = gram.T @ gram, gram.T @ target
    matrix[np.diag_indices_from(matrix)] += 1e-9
    root = np.linalg.cholesky(matrix)
    solution = nnls(root.T, np.linalg.solve(root, right))[0] / size
    fitted = (design @ solution) * grid.sigma
    chi2 = float((((grid.intensity - fitted) / grid.sigma) ** 2).sum())
    return Fit(tuple(parts), optics, solution[:n], shapes, fitted, chi2, chi2 + _penalty(parts, optics))


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
    columns, means, spreads, values = [], [], [], []
    base = (fit.scales[:, None] * fit.shapes).sum(0)
    if free_optics:
        vector = fit.optics.vector()
        for i, step in enumerate((0.003, 0.003, 0.003, 0.003, 0.01)):
            moved = vector.copy()
            moved[i] += step
            optics = fit.optics.with_vector(moved)
            shapes = [pattern_of(p, optics, grid, radiation) * s if s > 0 else 0 for p, s in zip(fit.parts, fit.scales)]
            columns.append((np.sum(shapes, axis=0) - base) / step)
        means += list(Optics.PRIOR[0])
        spreads += list(Optics.PRIOR[1])
        values += list(vector)
    for k in chosen:
        part, scale = fit.parts[k], fit.scales[k]
        vector = part.vector()
        mean, spread = part.prior()
        means += list(mean)
        spreads += list(spread)
        values += list(vector)
        free_cell = len(part.cell)
        for i in range(len(vector)):
            step = 2e-4 if i < free_cell else 0.01
            if scale <= 0:
                columns.append(np.zeros_like(base))
                continue
            moved = vector.copy()
            moved[i] += step
            columns.append(
                (pattern_of(part.with_vector(moved), fit.optics, grid, radiation) - fit.shapes[k]) * scale / step
            )
    jacobian = np.array(columns).T / grid.sigma[:, None]
    residual = (grid.intensity - fit.fitted) / grid.sigma
    active = np.concatenate([fit.shapes[fit.scales > 0].T, grid.background], 1) / grid.sigma[:, None]
    q, _ = np.linalg.qr(active / np.maximum(np.linalg.norm(active, axis=0), 1e-12))
    jacobian = jacobian - q @ (q.T @ jacobian)
    weight = 1 / np.array(spreads) ** 2
    return jacobian, residual, np.diag(weight), weight * (np.array(means) - np.array(values))


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
