"""A Gaussian process over a finite pool, its hyper-parameters integrated out instead of fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_PARTICLES = 32
_SWEEPS = 3
_JITTER = 1e-5
_BLOCK = 4096  # rows of the pool whose density is read at a time
_PAIRS = 8_000_000  # numbers held at a time when the pool is predicted
_NEIGHBOURS = 0.05  # share of the pool: the scale at which its density is read
_LANDMARKS = 2000  # rows that stand for the pool when its density is read


@dataclass(frozen=True)
class Prior:
    """What is believed before any measurement, for features in the unit cube and standardised values.

    Attributes:
        lengthscale: median for one feature; grows with the square root of their number (Hvarfner et al., ICML
            2024, arXiv:2402.02229).
        lengthscale_spread: standard deviation of its logarithm.
        noise: median noise variance relative to the signal's.
        noise_spread: standard deviation of its logarithm.
        scale_shape: shape (and rate) of the inverse gamma on the signal's variance.
        constant: variance of the unknown mean relative to the signal's.
        density: mean slope of the value on the log density of the pool (see ``log_density``).
        density_spread: standard deviation of that slope relative to the signal's; 0 with ``density`` 0 turns it off.
        density_floor: standard deviation of the log density up to which it is taken for the pattern of a design.
        rough: share of the draws with the rough kernel.
    """

    lengthscale: float = 0.8
    lengthscale_spread: float = 1.0
    noise: float = float(np.exp(-4.0))
    noise_spread: float = 1.5
    scale_shape: float = 2.0
    constant: float = 1.0
    density: float = 0.7
    density_spread: float = 0.5
    density_floor: float = 0.2
    rough: float = 0.5


@dataclass(frozen=True)
class Posterior:
    """Beliefs about every row of the pool, one line a particle (one draw of the hyper-parameters).

    Attributes:
        mean: shape (particles, n), in units of ``observed``.
        std: of a new measurement, noise included, same shape.
        observed: the values learnt from, transformed and standardised, shape (m,).
    """

    mean: np.ndarray
    std: np.ndarray
    observed: np.ndarray


class PoolGP:
    """Matérn process with a length scale a feature, averaged over draws of its hyper-parameters.

    Half of the draws are smooth (Matérn-5/2), half rough (Matérn-1/2): which it is cannot be told from twenty values,
    and their average predicts better than either. Draws come from population Monte Carlo: a Sobol set from the prior,
    resampled by marginal likelihood, then moved by differential-evolution Metropolis steps (ter Braak 2006,
    doi:10.1007/s11222-006-8769-1). The signal's variance is integrated in closed form, the constant mean and the slope
    on the pool's density are part of the kernel. Nothing is kept between two calls of ``posterior``, so that a
    campaign taken up again goes on as it would have.

    Args:
        X: features of the pool, shape (n, d); any units, NaN read as the median of the column.
        seed: of the draws.
        prior: see ``Prior``.
    """

    def __init__(self, X: np.ndarray, seed: int, prior: Prior | None = None) -> None:
        self.prior = prior or Prior()
        self._seed = seed
        cube = unit_cube(X)
        self._F = 0.5 * (cube + mid_ranks(cube))
        self.trend = np.zeros(len(cube))
        if self.prior.density or self.prior.density_spread:
            density = log_density(cube)
            spread = max(float(density.std()), 1e-12)
            self.trend = density * max(0.0, 1.0 - (self.prior.density_floor / spread) ** 2)

    def posterior(self, rows: Sequence[int], y: Sequence[float]) -> Posterior:
        """Return beliefs about the pool after ``y`` was measured at ``rows``.

        Args:
            rows: m rows of the pool, m >= 1; a row may be there twice.
            y: m finite values.
        """
        index = np.asarray(rows, dtype=int)
        observed = standardise(np.asarray(y, dtype=float))
        target = observed - self.prior.density * self.trend[index]
        rng = np.random.default_rng([abs(self._seed), len(index)])
        theta = self._draw(index, target, rng)
        root, weighted = self._factor(theta, index, target)[1:]
        shape = self.prior.scale_shape
        scale = (shape + 0.5 * (weighted**2).sum(axis=1)) / (shape + 0.5 * len(index))
        inverse = np.linalg.inv(root)
        alpha = np.einsum("hji,hj->hi", inverse, weighted).astype(np.float32)
        inverse = np.swapaxes(inverse, 1, 2).astype(np.float32)
        noise = np.exp(theta[:, -1])
        mean, std = np.empty((len(theta), len(self._F))), np.empty((len(theta), len(self._F)))
        step = max(1, _PAIRS // (len(index) * max(2 * _PARTICLES, self._F.shape[1])))
        for start in range(0, len(self._F), step):
            block = np.arange(start, min(start + step, len(self._F)))
            cross = self._kernel(theta, block, index, np.float32)
            own = 1.0 + self.prior.constant + (self.prior.density_spread * self.trend[block]) ** 2
            left = np.maximum(own - np.square(cross @ inverse).sum(axis=2), _JITTER)
            mean[:, block] = (cross @ alpha[..., None])[..., 0] + self.prior.density * self.trend[block]
            std[:, block] = np.sqrt((left + noise[:, None]) * scale[:, None])
        return Posterior(mean, std, observed)

    def believe(self, rows: Sequence[int], y: Sequence[float], pending: Sequence[int]) -> tuple[Posterior, list[int]]:
        """Return ``posterior`` as if what is pending had come out as predicted, and the rows it is then of."""
        beliefs = self.posterior(rows, y)
        if not len(pending):
            return beliefs, list(rows)
        order = np.argsort(y)
        expected = beliefs.mean[:, list(pending)].mean(axis=0)
        believed = np.interp(expected, beliefs.observed[order], np.asarray(y)[order])
        rows = [*rows, *pending]
        return self.posterior(rows, [*y, *believed]), rows

    def _kernel(self, theta: np.ndarray, rows: np.ndarray, columns: np.ndarray, dtype: type) -> np.ndarray:
        """Covariances, shape (particles, rows, columns): one matrix product serves all particles."""
        apart = np.square(self._F[rows][:, None] - self._F[columns][None]).reshape(-1, self._F.shape[1])
        square = np.exp(-2.0 * theta[:, :-1]).astype(dtype) @ apart.T.astype(dtype)
        half = round(len(theta) * (1.0 - self.prior.rough))
        smooth, rough = square[:half], square[half:]
        smooth *= 5.0
        r = np.sqrt(smooth)
        out = np.concatenate([(1.0 + r + smooth / 3.0) * np.exp(-r), np.exp(-np.sqrt(rough))])
        out = out.reshape(len(theta), len(rows), len(columns))
        shared = self.prior.constant + self.prior.density_spread**2 * np.outer(self.trend[rows], self.trend[columns])
        return out + shared.astype(dtype)

    def _factor(self, theta: np.ndarray, index: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, ...]:
        """Log marginal likelihood (particles,), Cholesky factors L, and L⁻¹ target (particles, m).

        The target rides along as one more row of the matrix: its row of the factor is L⁻¹ target.
        """
        m = len(index)
        K = np.empty((len(theta), m + 1, m + 1))
        K[:, :m, :m] = self._kernel(theta, index, index, np.float64)
        diagonal = np.exp(theta[:, -1]) + _JITTER
        K[:, range(m), range(m)] += diagonal[:, None]
        K[:, m, :m] = K[:, :m, m] = target
        K[:, m, m] = 1.0 + 2.0 * (target @ target) / diagonal
        L = np.linalg.cholesky(K)
        root, weighted = L[:, :m, :m], L[:, m, :m]
        shape = self.prior.scale_shape
        evidence = -np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        evidence -= (shape + 0.5 * m) * np.log(shape + 0.5 * np.square(weighted).sum(axis=1))
        return evidence, root, weighted

    def _draw(self, index: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Hyper-parameters, shape (particles, d + 1): log length scales and log noise variance."""
        from scipy.special import ndtri
        from scipy.stats import qmc

        d = self._F.shape[1]
        centre = np.append(np.full(d, np.log(self.prior.lengthscale) + 0.5 * np.log(d)), np.log(self.prior.noise))
        spread = np.append(np.full(d, self.prior.lengthscale_spread), self.prior.noise_spread)

        def score(theta: np.ndarray) -> np.ndarray:
            return self._factor(theta, index, target)[0] - 0.5 * np.square((theta - centre) / spread).sum(axis=1)

        u = np.clip(qmc.Sobol(d + 1, rng=rng).random(_PARTICLES), 1e-6, 1 - 1e-6)
        theta = centre + spread * ndtri(u)
        evidence = self._factor(theta, index, target)[0].reshape(2, -1)  # smooth and rough: each keeps its half
        weight = np.exp(evidence - evidence.max(axis=1, keepdims=True))
        places = (rng.random() + np.arange(weight.shape[1])) / weight.shape[1]
        kept = [np.searchsorted(np.cumsum(w / w.sum()), places).clip(max=len(w) - 1) for w in weight]
        theta = theta[np.concatenate([kept[0], kept[1] + weight.shape[1]])]
        current = score(theta)
        for sweep in range(_SWEEPS):
            one = rng.permutation(_PARTICLES)
            step = 2.38 / np.sqrt(2 * (d + 1)) * (0.5 if sweep % 2 else 1.0)
            moved = theta + step * (theta[one] - theta[np.roll(one, 1)]) + 0.15 * rng.standard_normal(theta.shape)
            proposed = score(moved)
            accept = np.log(rng.random(_PARTICLES)) < proposed - current
            theta = np.where(accept[:, None], moved, theta)
            current = np.where(accept, proposed, current)
        return theta


def unit_cube(X: np.ndarray) -> np.ndarray:
    """Return features scaled to [0, 1] by column; constant columns dropped, what is not finite set to the median."""
    X = np.asarray(X, dtype=float).reshape(len(X), -1).copy()
    X[~np.isfinite(X)] = np.nan
    X = X[:, ~np.isnan(X).all(axis=0)]
    X = np.where(np.isnan(X), np.nanmedian(X, axis=0) if X.size else X, X)
    X /= np.maximum(np.abs(X).max(axis=0, initial=0.0), 1e-300)  # so that the range of huge columns is finite
    width = np.ptp(X, axis=0) if X.size else np.zeros(X.shape[1])
    X = X[:, width > 0]
    return (X - X.min(axis=0)) / np.ptp(X, axis=0) if X.size else np.zeros((len(X), 1))


def mid_ranks(cube: np.ndarray) -> np.ndarray:
    """Return each column's ranks scaled to [0, 1], ties averaged: where the pool is crowded, space is stretched."""
    from scipy.stats import rankdata

    ranks = rankdata(cube, axis=0) - 1.0
    low = ranks.min(axis=0)
    return (ranks - low) / np.maximum(ranks.max(axis=0) - low, 1.0)


def log_density(cube: np.ndarray) -> np.ndarray:
    """Return minus the log distance of each row to its neighbour at 5 % of the pool, mean zero, shape (n,).

    People, generators and earlier optimisers put more candidates where they expect more, so a crowded region is a
    weak promise; in a regular design the density is nearly constant and says nothing.
    """
    n = len(cube)
    marks = cube[np.random.default_rng(0).choice(n, _LANDMARKS, replace=False)] if n > _LANDMARKS else cube
    k = min(max(3, round(_NEIGHBOURS * len(marks))), len(marks) - 1)
    out = np.empty(n)
    for start in range(0, n, _BLOCK):
        rows = cube[start : start + _BLOCK]
        square = np.square(rows).sum(axis=1)[:, None] + np.square(marks).sum(axis=1) - 2.0 * rows @ marks.T
        out[start : start + _BLOCK] = np.sqrt(np.maximum(np.partition(square, k, axis=1)[:, k], 0.0))
    logarithm = -np.log(out + 1e-3)
    return logarithm - logarithm.mean()


def standardise(y: np.ndarray) -> np.ndarray:
    """Return the mean of the z-scores and the normal scores of ``y``, standardised; zeros where all are equal.

    Half of each: an outlier is pulled in, yet the size of a gap still counts.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    y = y / max(float(np.abs(y).max()), 1e-300)
    if np.ptp(y) <= 1e-12:
        return np.zeros(len(y))
    normal = ndtri((rankdata(y) - 0.5) / len(y))
    mixed = (y - y.mean()) / y.std() + normal / normal.std()
    return (mixed - mixed.mean()) / mixed.std()
