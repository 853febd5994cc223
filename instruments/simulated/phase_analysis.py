"""Which phases a pattern shows, and how much of each: non-negative least squares on simulated patterns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from instruments.simulated.pattern import Reflections, profile

if TYPE_CHECKING:
    import numpy as np

EDGES = (0.995, 1.005, 11)
"""Edges tried for each phase, as factors on the reference crystal, which is a computed one."""
BACKGROUND_TERMS = 4
COARSE_DEG = 0.06
DOUBTFUL = 0.003
"""What explains less of the pattern is left out and the rest fitted again."""


def fit_mixture(
    two_theta_deg: np.ndarray, counts: np.ndarray, library: Mapping[str, Reflections], wavelength_A: float
) -> tuple[dict[str, float], float]:
    """Return the weight fraction of each phase that the pattern needs, and Rwp in percent.

    All phases of the library are fitted at once; then the edge of each that is needed is improved in turn, and what
    explains nearly nothing is dropped.

    Args:
        two_theta_deg, counts: even grid, shape (n,).
        library: name -> lines of every phase that may be there.
        wavelength_A: of the beam.
    """
    import numpy as np

    step = (two_theta_deg[-1] - two_theta_deg[0]) / (len(two_theta_deg) - 1)
    bunch = max(1, round(COARSE_DEG / step))
    n = len(two_theta_deg) // bunch * bunch
    grid = two_theta_deg[:n].reshape(-1, bunch).mean(axis=1)
    seen = counts[:n].reshape(-1, bunch).mean(axis=1)
    sigma = np.sqrt(np.maximum(seen, 1.0) / bunch)
    y, background = seen / sigma, _background(grid) / sigma[:, None]
    factors = np.linspace(*EDGES)
    trial = {
        name: np.stack([profile(lines, grid, wavelength_A, edge_factor=f) for f in factors]) / sigma
        for name, lines in library.items()
        if len(lines.spacing_A)
    }
    trial = {name: rows for name, rows in trial.items() if rows.max() > 0}
    names = list(trial)
    middle = len(factors) // 2
    at = dict.fromkeys(names, middle)
    weights = _weights([trial[name][middle] for name in names], background, y)
    for turn in range(4):
        for name in sorted(names, key=lambda m: -weights[m_index(names, m)] * trial[m][at[m]].sum()):
            others = [trial[m][at[m]] for m in names if m != name and weights[m_index(names, m)] > 0]
            at[name] = _best_edge(trial[name], others, background, y)
        weights = _weights([trial[name][at[name]] for name in names], background, y)
        explained = np.array([w * trial[m][at[m]].sum() for w, m in zip(weights, names, strict=True)])
        keep = explained > (DOUBTFUL if turn else DOUBTFUL / 3) * max(explained.sum(), 1e-300)
        names = [name for name, kept in zip(names, keep, strict=True) if kept]
        weights = _weights([trial[name][at[name]] for name in names], background, y)
    columns = np.column_stack([*(trial[name][at[name]] for name in names), background])
    full = _solve(columns, y)
    rwp = float(((y - columns @ full) ** 2).sum() / (y**2).sum()) ** 0.5
    total = max(weights.sum(), 1e-300)
    return {name: float(w / total) for name, w in zip(names, weights, strict=True)}, 100 * rwp


def m_index(names: list[str], name: str) -> int:
    """Place of a name."""
    return names.index(name)


def _best_edge(rows: np.ndarray, others: list[np.ndarray], background: np.ndarray, y: np.ndarray) -> int:
    """The edge whose pattern explains most of what the others leave."""
    import numpy as np

    basis = np.column_stack([*others, background])
    left = y - basis @ _solve(basis, y)
    score = rows @ left / np.maximum(np.sqrt((rows**2).sum(axis=1)), 1e-12)
    return int(np.argmax(score))


def _weights(rows: list[np.ndarray], background: np.ndarray, y: np.ndarray) -> np.ndarray:
    import numpy as np

    return _solve(np.column_stack([*rows, background]), y)[: len(rows)]


def _solve(columns: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Non-negative least squares on the Cholesky triangle: the same minimum with few rows."""
    import numpy as np
    from scipy.optimize import nnls

    scale = np.maximum(np.sqrt((columns**2).sum(axis=0)), 1e-300)
    unit = columns / scale
    normal = unit.T @ unit
    upper = np.linalg.cholesky(normal + 1e-9 * np.eye(len(normal))).T
    return nnls(upper, np.linalg.solve(upper.T, unit.T @ y))[0] / scale


def _background(grid: np.ndarray) -> np.ndarray:
    """Bernstein polynomials over the grid, shape (n, terms)."""
    import numpy as np
    from scipy.special import comb

    t, k = (grid - grid[0]) / (grid[-1] - grid[0]), BACKGROUND_TERMS - 1
    return np.column_stack([comb(k, i) * t**i * (1 - t) ** (k - i) for i in range(k + 1)])
