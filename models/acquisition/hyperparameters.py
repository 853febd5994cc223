"""Hyper-parameters of a Gaussian process: the most probable ones, by gradients in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Kernel = Literal["rbf", "matern52"]

ITERATIONS = 60
_COARSE = 160  # values from which the search starts on a part of them
_FINE_ITERATIONS = 20  # on all of them, after the search on the part
_LEAST_LENGTHSCALE, _LEAST_NOISE = 0.025, 1e-4
# BoTorch's own noise prior, LogNormal(-4, 1), suits smooth test functions; with 16 to 40 measurements of real
# campaigns it is overconfident: this one lowers the negative log likelihood of unseen ones at equal error.
NOISE_PRIOR = (-2.0, 1.0)


@dataclass(frozen=True)
class Hyperparameters:
    """Constant mean, noise variance and (d,) lengthscales of a process with unit signal variance."""

    mean: float
    noise: float
    lengthscale: Tensor


def lengthscale_prior(d: int) -> tuple[float, float]:
    """Mean and standard deviation of the log-normal prior of each of ``d`` lengthscales.

    Hvarfner, Hellsten & Nardi, ICML 2024, arXiv:2402.02229.
    """
    return math.sqrt(2.0) + 0.5 * math.log(d), math.sqrt(3.0)


def fit_hyperparameters(
    X: Tensor, y: Tensor, kernel: Kernel = "matern52", noise: float | None = None
) -> Hyperparameters:
    """Maximise the posterior density of lengthscales and noise, as BoTorch's ``SingleTaskGP`` has it.

    L-BFGS-B in logarithms from the priors' modes, at most 60 steps; the mean is the best for each. With many values the
    search runs over a part of them first and only ends on all, so that it begins near the optimum, and equal
    arguments give equal results, which a start from the last fit would not. The last few results are kept.

    Args:
        X: (n, d) features in the unit cube, n >= 1.
        y: (n,) values, standardised.
        kernel: ``matern52`` or ``rbf``.
        noise: the noise variance, where it is known.

    Raises:
        ArithmeticError: the values or the hyper-parameters are not finite.
    """
    given = None if noise is None else max(noise, _LEAST_NOISE)
    found = _fit(kernel, X.shape, X.double().numpy().tobytes(), y.double().numpy().tobytes(), given)
    mean, fitted, lengthscale = found
    return Hyperparameters(mean, fitted, torch.tensor(lengthscale, dtype=torch.float64))


@lru_cache(maxsize=16)
def _fit(
    kernel: Kernel, shape: tuple[int, int], X_bytes: bytes, y_bytes: bytes, given: float | None
) -> tuple[float, float, list[float]]:
    n, d = shape
    X = torch.from_numpy(np.frombuffer(X_bytes).reshape(n, d).copy())
    y = torch.from_numpy(np.frombuffer(y_bytes).copy())
    if not bool(torch.isfinite(X).all() and torch.isfinite(y).all()):
        raise ArithmeticError("features or values are not finite")
    (centre, spread), (noise_centre, noise_spread) = lengthscale_prior(d), NOISE_PRIOR
    theta = np.append(np.full(d, centre - spread**2), noise_centre - noise_spread**2)  # the modes
    if given is not None:
        theta[-1] = math.log(given)
    if n >= 3 and float(y.max() - y.min()) > 0:  # else the data say nothing about hyper-parameters
        if n > _COARSE:
            part = torch.linspace(0, n - 1, _COARSE).long()
            theta = _search(X[part], y[part], kernel, theta, ITERATIONS, given)
        theta = _search(X, y, kernel, theta, ITERATIONS if n <= _COARSE else _FINE_ITERATIONS, given)
    mean = Density(X, y, kernel).mean(theta)
    lengthscale, noise = np.exp(theta[:-1]).tolist(), math.exp(theta[-1])
    if not (np.isfinite(theta).all() and math.isfinite(mean)):
        raise ArithmeticError("hyper-parameters are not finite")
    return mean, noise, lengthscale


def _search(
    X: Tensor, y: Tensor, kernel: Kernel, theta: np.ndarray, iterations: int, given: float | None
) -> np.ndarray:
    from scipy.optimize import minimize

    low = np.append(np.full(len(theta) - 1, math.log(_LEAST_LENGTHSCALE)), math.log(_LEAST_NOISE))
    bounds = [(b, 12.0) for b in low]
    if given is not None:
        bounds[-1] = (math.log(given), math.log(given))
    density = Density(X, y, kernel)
    options = {"maxiter": iterations, "ftol": 1e-7, "gtol": 1e-4}
    found = minimize(density, theta, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return found.x


class Density:
    """Minus the log posterior density of hyper-parameters per value, and its gradient.

    Called with the (d + 1,) logarithms of lengthscales and noise. The densities are those of the quantities, not
    of their logarithms, so that the optimum is BoTorch's.
    """

    def __init__(self, X: Tensor, y: Tensor, kernel: Kernel) -> None:
        self._X, self._y, self._kernel = X - X.mean(0), y, kernel

    def mean(self, theta: np.ndarray) -> float:
        """The most probable constant mean."""
        return self._solved(theta)[2]

    def _solved(self, theta: np.ndarray) -> tuple[Tensor, Tensor, float, Tensor, Tensor, Tensor]:
        """Scaled features, factor of the covariance, mean, weights, inverse, and slope of the kernel."""
        z = self._X / torch.from_numpy(np.exp(theta[:-1]))
        square = z.square().sum(1)
        distance = torch.addmm(square[:, None] + square[None], z, z.T, alpha=-2).clamp_min_(0.0)
        if self._kernel == "rbf":
            K = slope = distance.mul_(-0.5).exp_()
        else:
            root = distance.mul_(5.0).sqrt()
            decay = torch.exp(-root)
            slope = (root + 1).mul_(decay).mul_(5.0 / 3.0)
            K = slope * 0.6 + distance.mul_(decay).div_(3.0)
        K = K.clone() if K is slope else K
        K.diagonal().copy_(torch.full((len(K),), 1.0 + math.exp(theta[-1]), dtype=K.dtype))
        root = torch.linalg.cholesky(K)
        inverse = torch.cholesky_inverse(root)
        ones = inverse.sum(1)
        mean = float((ones @ self._y) / ones.sum())
        return z, root, mean, inverse @ (self._y - mean), inverse, slope

    def likelihood(self, theta: np.ndarray) -> float:
        """Minus the log density of the values, without the priors."""
        _, root, mean, weights, _, _ = self._solved(theta)
        value = 0.5 * float((self._y - mean) @ weights) + float(root.diagonal().log().sum())
        return value + 0.5 * len(self._y) * math.log(2 * math.pi)

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and (d + 1,) gradient. Raises RuntimeError where the covariance is not positive definite."""
        n, d = self._X.shape
        z, root, mean, weights, inverse, slope = self._solved(theta)
        value = 0.5 * float((self._y - mean) @ weights) + float(root.diagonal().log().sum())
        value += 0.5 * n * math.log(2 * math.pi)
        outer = inverse.addr_(weights, weights, alpha=-1.0)
        noise_slope = 0.5 * float(outer.diagonal().sum()) * math.exp(theta[-1])
        outer.mul_(slope)  # gradient by the log lengthscales: sum over pairs of this times the squared scaled distance
        slopes = (z.square() * outer.sum(1)[:, None]).sum(0) - (z * (outer @ z)).sum(0)
        gradient = np.append(slopes.numpy(), noise_slope)
        centre, spread = (np.append(np.full(d, a), b) for a, b in zip(lengthscale_prior(d), NOISE_PRIOR))
        gap = (theta - centre) / spread
        value += float((theta + 0.5 * gap**2 + np.log(spread) + 0.5 * math.log(2 * math.pi)).sum())
        return value / n, (gradient + 1.0 + gap / spread) / n
