"""Whether a synthesis works, learnt from those that did and those that did not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from models.acquisition.hyperparameters import Kernel, lengthscale_prior
from models.acquisition.surrogate import GaussianProcess, covariance

_PART = 120  # syntheses by which hyper-parameters are chosen
_STEPS = 25  # of the search
_NEWTON = 40  # steps at most
_AMPLITUDE_PRIOR = (math.log(3.0), 0.7)  # of the latent process; the width of the link is 1


def fit_feasibility(X: Tensor, made: Tensor, *, kernel: Kernel) -> GaussianProcess:
    """Return a process f such that a synthesis at x works with the probability that f(x) > 0.

    Gaussian process classification with a probit link by Laplace's approximation, hyper-parameters by the
    approximate evidence (Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, algorithms 3.1 and
    5.1, eq. 3.82 for the averaged probability): a failure is a fact about its neighbourhood, not a number. The
    approximate posterior is that of a regression on values and noises of its own, so that the result is an ordinary
    ``GaussianProcess``; its ``chance`` is the width of the link.

    Args:
        X: (n, d) features in the unit cube, n >= 1.
        made: (n,) 1 where it worked, 0 where not.
        kernel: ``matern52`` or ``rbf``.

    Raises:
        ArithmeticError, RuntimeError: odd features.
    """
    if not bool(torch.isfinite(X).all()):
        raise ArithmeticError("features are not finite")
    part = torch.linspace(0, len(X) - 1, min(len(X), _PART)).long()
    shape = (len(part), X.shape[1])
    theta = _search(kernel, shape, X[part].double().numpy().tobytes(), (made[part] > 0.5).numpy().tobytes())
    lengthscale = torch.tensor(theta[:-1], dtype=torch.float64).exp()
    amplitude = math.exp(theta[-1])
    labels = torch.where(made > 0.5, 1.0, -1.0).double()
    mode = _Mode.of(amplitude**2 * covariance(X, X, lengthscale, kernel), labels)
    return GaussianProcess.conditioned(
        X,
        (mode.f + mode.mean + mode.slope / mode.curvature) / amplitude,
        mean=mode.mean / amplitude,
        noise=0.5 * math.pi / amplitude**2,  # of a label at the edge: what the next one will say
        noises=1.0 / (mode.curvature * amplitude**2),
        chance=1.0 / amplitude,
        lengthscale=lengthscale,
        kernel=kernel,
    )


@dataclass(frozen=True)
class _Mode:
    """The most probable latent values (n,) without their mean, and the likelihood's derivatives there."""

    evidence: float
    mean: float
    f: Tensor
    weights: Tensor
    slope: Tensor
    curvature: Tensor
    root: Tensor

    @classmethod
    def of(cls, K: Tensor, labels: Tensor, start: Tensor | None = None) -> _Mode:
        """Newton's method (algorithm 3.1) for covariance (n, n) and labels (n,) of +1 and -1."""
        n = len(labels)
        share = (float((labels > 0).sum()) + 1.0) / (n + 2.0)
        mean = math.sqrt(2.0) * float(torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))
        f = torch.zeros(n, dtype=torch.float64) if start is None else start
        evidence, one = -math.inf, torch.eye(n, dtype=torch.float64)
        value, slope, curvature = _likelihood(f + mean, labels)
        for _ in range(_NEWTON):
            half = curvature.sqrt()
            root = torch.linalg.cholesky(one + half[:, None] * K * half)
            b = curvature * f + slope
            weights = b - half * torch.cholesky_solve((half * (K @ b))[:, None], root)[:, 0]
            f = K @ weights
            value, slope, curvature = _likelihood(f + mean, labels)
            before, evidence = evidence, float(value - 0.5 * (weights @ f) - root.diagonal().log().sum())
            if abs(evidence - before) < 1e-7 * (1 + abs(evidence)):
                break
        half = curvature.sqrt()
        root = torch.linalg.cholesky(one + half[:, None] * K * half)
        evidence = float(value - 0.5 * (weights @ f) - root.diagonal().log().sum())
        return cls(evidence, mean, f, weights, slope, curvature, root)


def _likelihood(f: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log likelihood of the labels, and its first and negative second derivatives (n,) each."""
    z = labels * f
    log_cdf = torch.special.log_ndtr(z)
    ratio = torch.exp(-0.5 * z * z - 0.5 * math.log(2 * math.pi) - log_cdf)
    return log_cdf.sum(), labels * ratio, (ratio * (z + ratio)).clamp_min(1e-8)


@lru_cache(maxsize=8)
def _search(kernel: Kernel, shape: tuple[int, int], X_bytes: bytes, made_bytes: bytes) -> tuple[float, ...]:
    """The most probable logarithms of (d,) lengthscales and of the amplitude."""
    from scipy.optimize import minimize

    X = torch.from_numpy(np.frombuffer(X_bytes).reshape(shape).copy())
    labels = torch.from_numpy(np.where(np.frombuffer(made_bytes, dtype=bool), 1.0, -1.0))
    d = shape[1]
    (centre, spread), (middle, width) = lengthscale_prior(d), _AMPLITUDE_PRIOR
    density = _Density(X, labels, kernel)
    start = np.append(np.full(d, centre - 1.5), middle)
    bounds = [(math.log(0.05), 8.0)] * d + [(math.log(0.3), math.log(30.0))]

    def negative(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = density(theta)
        gap = (theta - np.append(np.full(d, centre), middle)) / np.append(np.full(d, spread), width)
        return -value + 0.5 * float(gap @ gap), -gradient + gap / np.append(np.full(d, spread), width)

    found = minimize(negative, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
    return tuple(float(f"{v:.12g}") for v in found.x)


class _Density:
    """Log evidence and its gradient by the (d + 1,) logarithms of lengthscales and amplitude (algorithm 5.1)."""

    def __init__(self, X: Tensor, labels: Tensor, kernel: Kernel) -> None:
        self._X, self._labels, self._kernel = X - X.mean(0), labels, kernel
        self._start: Tensor | None = None

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and (d + 1,) gradient."""
        z = self._X / torch.from_numpy(np.exp(theta[:-1]))
        square = z.square().sum(1)
        distance = torch.addmm(square[:, None] + square[None], z, z.T, alpha=-2).clamp_min_(0.0)
        scale = math.exp(2 * theta[-1])
        if self._kernel == "rbf":
            K = slope = torch.exp(-0.5 * distance) * scale
        else:
            root = (5.0 * distance).sqrt()
            decay = torch.exp(-root) * scale
            K, slope = (1 + root + root.square() / 3) * decay, (1 + root) * decay * (5.0 / 3.0)
        mode = _Mode.of(K, self._labels, self._start)
        self._start = mode.f
        half = mode.curvature.sqrt()
        R = half[:, None] * torch.cholesky_inverse(mode.root) * half
        explained = torch.linalg.solve_triangular(mode.root, half[:, None] * K, upper=False).square().sum(0)
        zf = self._labels * (mode.f + mode.mean)
        ratio = self._labels * mode.slope
        third = self._labels * ratio * (ratio * (2 * ratio + 3 * zf) + zf.square() - 1)
        shift = 0.5 * (K.diagonal() - explained) * third
        shift = shift - R @ (K @ shift)
        outer = 0.5 * (torch.outer(mode.weights, mode.weights) - R)
        implicit = torch.outer(shift, mode.slope)
        outer = outer + 0.5 * (implicit + implicit.T)
        along_amplitude = 2.0 * float((outer * K).sum())
        outer = outer * slope
        along = 2 * ((z.square() * outer.sum(1)[:, None]).sum(0) - (z * (outer @ z)).sum(0))
        return mode.evidence, np.append(along.numpy(), along_amplitude)
