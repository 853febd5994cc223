"""Which phases a pattern shows, and how much of each: non-negative least squares on simulated patterns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from instruments.simulated.pattern import Reflections, profile

if TYPE_CHECKING:
    import numpy as np

EDGES = (0.994, 1.006, 13)
"""Edges tried for each phase at first, as factors on the reference crystal, which is a computed one."""
FINE = 5
"""Each later turn tries so many edges on either side of the last best, in steps that shrink by ``SHRINK``."""
SHRINK = 3.0
TURNS = 4
BACKGROUND_TERMS = 4
COARSE_DEG = 0.06
DOUBTFUL = (0.002, 0.003, 0.005, 0.008)
"""What explains less of the pattern than this, turn by turn, is left out."""

ALIKE = 0.3
"""Patterns with this cosine between them may stand for each other."""
WORSE = 0.05
"""A phase is done without where the misfit grows by less than this, relatively."""


def fit_mixture(
    two_theta_deg: np.ndarray, counts: np.ndarray, library: Mapping[str, Reflections], wavelength_A: float
) -> tuple[dict[str, float], float]:
    """Return the weight fraction of each phase that the pattern needs, and Rwp in percent.

    All phases of the library are fitted at once; then, turn by turn, the edge of each that is needed is improved while
    the others stand, and what explains nearly nothing is dropped.

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

    def pattern(name: str, edge: float, broadening: float = 1.0) -> np.ndarray:
        return profile(library[name], grid, wavelength_A, edge_factor=edge, broadening=broadening) / sigma

    def tune(name: str, around: np.ndarray, broadening: float = 1.0) -> None:
        others = [columns[m] for m in columns if m != name and weights[m] > 0]
        trial = np.stack([pattern(name, edges[name] + shift, broadening) for shift in around])
        edges[name] = float(np.clip(edges[name] + around[_best(trial, others, background, y)], 0.99, 1.01))
        columns[name] = pattern(name, edges[name])

    columns = {name: pattern(name, 1.0, 1.5) for name, lines in library.items() if len(lines.spacing_A)}
    columns = {name: column for name, column in columns.items() if column.max() > 0}
    edges = dict.fromkeys(columns, 1.0)
    weights = _weights(columns, background, y)
    around, width = np.linspace(*EDGES) - 1.0, (EDGES[1] - EDGES[0]) / (EDGES[2] - 1)
    for turn in range(TURNS):
        for name in sorted(columns, key=lambda m: -weights[m] * columns[m].sum()):
            tune(name, around, 1.0 if turn else 1.5)
        weights = _weights(columns, background, y)
        explained = {name: weights[name] * columns[name].sum() for name in columns}
        whole = max(sum(explained.values()), 1e-300)
        columns = {name: column for name, column in columns.items() if explained[name] > DOUBTFUL[turn] * whole}
        weights = _weights(columns, background, y)
        width /= SHRINK
        around = width * np.arange(-FINE, FINE + 1)
    for name in sorted(columns, key=lambda m: weights[m] * columns[m].sum()):
        # Two phases with nearly one pattern share its weight at random: the weaker goes where the other explains both.
        alike = [m for m in columns if m != name and _likeness(columns[m], columns[name]) > ALIKE]
        if not alike:
            continue
        before = dict(columns), dict(edges), dict(weights), _misfit(columns, background, y)
        del columns[name]
        weights = _weights(columns, background, y)
        for shrink in (1.0, SHRINK, SHRINK**2):
            for other in alike:
                tune(other, (EDGES[1] - 1.0) / shrink / FINE * np.arange(-FINE, FINE + 1))
            weights = _weights(columns, background, y)
        if _misfit(columns, background, y) > (1 + WORSE) * before[3]:
            columns, edges, weights = before[0], before[1], before[2]
    rwp = (_misfit(columns, background, y) / float((y**2).sum())) ** 0.5
    total = max(sum(weights.values()), 1e-300)
    return {name: weight / total for name, weight in weights.items()}, 100 * rwp


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other) / max(float(one @ one) * float(other @ other), 1e-300) ** 0.5


def _misfit(columns: Mapping[str, np.ndarray], background: np.ndarray, y: np.ndarray) -> float:
    import numpy as np

    matrix = np.column_stack([*columns.values(), background])
    return float(((y - matrix @ _solve(matrix, y)) ** 2).sum())


def _best(rows: np.ndarray, others: list[np.ndarray], background: np.ndarray, y: np.ndarray) -> int:
    """The row that explains most of what the others leave."""
    import numpy as np

    basis = np.column_stack([*others, background])
    left = y - basis @ _solve(basis, y)
    score = rows @ left / np.maximum(np.sqrt((rows**2).sum(axis=1)), 1e-12)
    return int(np.argmax(score))


def _weights(columns: Mapping[str, np.ndarray], background: np.ndarray, y: np.ndarray) -> dict[str, float]:
    import numpy as np

    solution = _solve(np.column_stack([*columns.values(), background]), y)
    return {name: float(x) for name, x in zip(columns, solution, strict=False)}


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
