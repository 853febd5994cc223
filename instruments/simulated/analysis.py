"""What a diffractometer's software makes of a pattern: lattice parameter and phase fraction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from instruments.simulated.cell import lattice_parameter_A, scaled, volume_A3
from instruments.simulated.pattern import Reflections, element_reflections, profile, reflections, scaled_cell

if TYPE_CHECKING:
    import numpy as np

BACKGROUND_TERMS = 5
SEARCH = (0.88, 1.12)
"""Edges tried, as a factor on the expected cell, which is an unrelaxed guess."""


@dataclass(frozen=True)
class Refinement:
    """Result of the fit of one pattern.

    Attributes:
        lattice_parameter_A: conventional edge of the target phase (meaningless where its fraction is near 0).
        cell_volume_A3_per_atom: of the target phase.
        phase_fraction: mass fraction of the target phase among the crystalline phases, 0..1.
        rwp_pct: weighted profile residual (Young 1993, The Rietveld Method).
    """

    lattice_parameter_A: float
    cell_volume_A3_per_atom: float
    phase_fraction: float
    rwp_pct: float


def refine(two_theta_deg: np.ndarray, counts: np.ndarray, target: Mapping[str, Any], wavelength_A: float) -> Refinement:
    """Fit the expected crystal and the elements it is made of to a measured pattern.

    The edge of the target is searched over ``SEARCH`` on a coarse pattern, then refined together with the zero shift;
    at each trial the weights of the phases and of a smooth background follow from non-negative least squares.

    Args:
        two_theta_deg: even grid, shape (n,).
        counts: shape (n,).
        target: expected crystal; its edge may be wrong by some per cent. Nothing else is known of the sample.
        wavelength_A: of the beam.
    """
    import numpy as np

    last_deg = float(two_theta_deg[-1])
    # Lines just outside the grid come in as the cell grows.
    beyond = float(np.degrees(2 * np.arcsin(min(0.999, np.sin(np.radians(last_deg) / 2) * SEARCH[1]))))
    others = [element_reflections(el, wavelength_A, last_deg + 1) for el in sorted(set(target["species"]))]
    factor = _search(two_theta_deg, counts, reflections(target, wavelength_A, beyond), others, wavelength_A)
    # Scattering factors depend on the angle: take them where the lines were found.
    expected = scaled_cell(target, factor)
    lines = reflections(expected, wavelength_A, min(beyond, last_deg + 5))
    fit = _Fit(two_theta_deg, counts, [lines, *others], wavelength_A)
    edge, zero = fit.refine()
    weights, rwp = fit.weights(edge, zero)
    lattice = scaled(expected["lattice_A"], edge)
    return Refinement(
        lattice_parameter_A=lattice_parameter_A(lattice),
        cell_volume_A3_per_atom=volume_A3(lattice) / len(target["species"]),
        phase_fraction=float(weights[0] / max(weights.sum(), 1e-300)),
        rwp_pct=100 * rwp,
    )


class _Fit:
    def __init__(self, grid: np.ndarray, counts: np.ndarray, phases: list[Reflections], wavelength_A: float) -> None:
        import numpy as np

        self.grid, self.counts, self.phases, self.wavelength_A = grid, counts, phases, wavelength_A
        self.sigma = np.sqrt(np.maximum(counts, 1.0))
        self.background = _background(grid)
        self.unit = counts.mean() + 1.0

    def weights(self, edge: float, zero: float) -> tuple[np.ndarray, float]:
        """Return the mass weights of the phases and Rwp."""
        weights, model = self._solve(edge, zero)
        misfit, signal = (self.counts - model) / self.sigma, self.counts / self.sigma
        return weights, float(((misfit**2).sum() / (signal**2).sum()) ** 0.5)

    def refine(self) -> tuple[float, float]:
        """Return edge factor and zero shift (degrees) of least misfit: damped Gauss-Newton from (1, 0)."""
        import numpy as np

        best = start = np.array([1.0, 0.0])
        small, farthest = np.array([1e-5, 1e-4]), np.array([0.006, 0.15])
        residual = self._residual(best)
        for _ in range(8):
            slope = np.array([(self._residual(best + h) - residual) / h.sum() for h in np.diag(small)])
            normal, gradient = _products(slope.T, residual)
            step = -np.linalg.solve(normal + 1e-9 * np.diag(np.diag(normal)) + 1e-12 * np.eye(2), gradient)
            for shrink in (1.0, 0.5, 0.25, 0.1):
                trial = np.clip(best + shrink * step, start - farthest, start + farthest)
                attempt = self._residual(trial)
                if (attempt**2).sum() < (residual**2).sum():
                    break
            else:
                break
            moved, best, residual = np.abs(trial - best), trial, attempt
            if (moved < 0.02 * small).all():
                break
        return float(best[0]), float(best[1])

    def _residual(self, at: np.ndarray) -> np.ndarray:
        return (self.counts - self._solve(float(at[0]), float(at[1]))[1]) / self.sigma

    def _solve(self, edge: float, zero: float) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np
        from scipy.optimize import nnls

        columns = [
            profile(lines, self.grid, self.wavelength_A, edge_factor=edge if i == 0 else 1.0, zero_shift_deg=zero)
            for i, lines in enumerate(self.phases)
        ]
        heights = [c.max() or 1.0 for c in columns]
        matrix = np.column_stack([c / h for c, h in zip(columns, heights, strict=True)] + [self.background])
        normal, right = _products(matrix / self.sigma[:, None] * self.unit, self.counts / self.sigma)
        upper = _upper(normal)
        # NNLS on the Cholesky triangle: the same minimum, with a dozen rows in place of thousands.
        solution, _ = nnls(upper, np.linalg.solve(upper.T, right))
        n = len(columns)
        model = np.einsum("ij,j->i", matrix, solution) * self.unit
        return solution[:n] / heights, model


def _search(
    grid: np.ndarray, counts: np.ndarray, target: Reflections, others: list[Reflections], wavelength_A: float
) -> float:
    """Return the edge factor whose pattern explains most of what elements and background leave unexplained."""
    import numpy as np

    step = (grid[-1] - grid[0]) / (len(grid) - 1)
    bunch = max(1, round(0.08 / step))
    n = len(grid) // bunch * bunch
    coarse = grid[:n].reshape(-1, bunch).mean(axis=1)
    y = counts[:n].reshape(-1, bunch).mean(axis=1)
    sigma = np.sqrt(np.maximum(y, 1.0))
    nuisance = [profile(lines, coarse, wavelength_A) for lines in others]
    nuisance = [column / (column.max() or 1.0) for column in nuisance]
    basis = np.column_stack([*nuisance, _background(coarse)]) / sigma[:, None]
    basis = np.einsum("ij,jk->ik", basis, np.linalg.inv(_upper(_products(basis, y)[0])))
    left = y / sigma - np.einsum("ij,j->i", basis, np.einsum("ij,i->j", basis, y / sigma))
    factors = np.arange(SEARCH[0], SEARCH[1] + 1e-9, 0.001)
    trial = np.stack([profile(target, coarse, wavelength_A, edge_factor=f, broadening=1.5) for f in factors]) / sigma
    trial -= np.einsum("tj,ij->ti", np.einsum("ti,ij->tj", trial, basis), basis)
    score = np.einsum("ti,i->t", trial, left) / np.maximum((trial**2).sum(axis=1) ** 0.5, 1e-12)
    return float(factors[int(np.argmax(score))])


def _products(columns: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return A^T A and A^T b. By einsum, not BLAS, whose threads fight with those of the other hosts on few cores."""
    import numpy as np

    return np.einsum("ni,nj->ij", columns, columns), np.einsum("ni,n->i", columns, values)


def _upper(normal: np.ndarray) -> np.ndarray:
    """Upper Cholesky triangle of a Gram matrix, with a trace of ridge: two phases may have the same pattern."""
    import numpy as np

    return np.linalg.cholesky(normal + 1e-10 * np.trace(normal) * np.eye(len(normal))).T


def _background(grid: np.ndarray) -> np.ndarray:
    """Bernstein polynomials over the grid, shape (n, BACKGROUND_TERMS): with positive weights, a positive curve."""
    import numpy as np
    from scipy.special import comb

    t = (grid - grid[0]) / (grid[-1] - grid[0])
    k = BACKGROUND_TERMS - 1
    return np.column_stack([comb(k, i) * t**i * (1 - t) ** (k - i) for i in range(k + 1)])
