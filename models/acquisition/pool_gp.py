"""A Gaussian process over a finite pool, its hyper-parameters integrated out instead of fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_PARTICLES = 32
_SWEEPS = 3
_JITTER = 1e-6
_BLOCK = 4096  # rows of the pool predicted at a time
_NEIGHBOURS = 0.05  # of the pool: the scale on which its density is read
_LARGEST_FOR_DENSITY = 4000


@dataclass(frozen=True)
class Prior:
    """What is believed before any measurement, in units of the scaled pool and of standardised values.

    Attributes:
        lengthscale: median for one feature; grows with the square root of their number (Hvarfner et al.,
            ICML 2024, arXiv:2402.02229).
        lengthscale_spread: standard deviation of its logarithm.
        noise: median noise variance relative to the signal's.
        noise_spread: standard deviation of its logarithm.
        scale_shape: shape (and rate) of the inverse gamma on the signal variance.
        constant: variance of the unknown mean relative to the signal's.
        density: mean of the slope of the value on the log density of the pool.
        density_spread: standard deviation of that slope, relative to the signal's.
        density_floor: spread of the log density up to which it is taken for the pattern of a grid.
    """

    lengthscale: float = 0.5
    lengthscale_spread: float = 1.0
    noise: float = float(np.exp(-4.0))
    noise_spread: float = 1.5
    scale_shape: float = 2.0
    constant: float = 1.0
    density: float = 0.7
    density_spread: float = 0.5
    density_floor: float = 0.2


@dataclass(frozen=True)
class Posterior:
    """Beliefs about every row of the pool, one line a particle (a draw of the hyper-parameters).

    Attributes:
        mean: shape (particles, n), in standardised units.
        variance: of the value without noise, shape (particles, n).
        noise: noise variance, shape (particles,).
        whitened: covariance with the observed rows times the inverse Cholesky factor, in units of the signal's
            standard deviation, shape (particles, n, observed).
        scale: signal variance, shape (particles,).
        observed: standardised, transformed measured values.
    """

    mean: np.ndarray
    variance: np.ndarray
    noise: np.ndarray
    whitened: np.ndarray
    scale: np.ndarray
    observed: np.ndarray
