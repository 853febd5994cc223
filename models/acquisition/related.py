"""Related tasks: earlier campaigns, literature, cheap measurements; how much each says is learnt, down to nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.acquisition.hyperparameters import NOISE_PRIOR, Density, Kernel, fit_hyperparameters, lengthscale_prior
from models.acquisition.surrogate import GaussianProcess, Relations, covariance

_PART = 140  # values by which hyper-parameters are chosen: of the target at least half, where there are as many
_STEPS = 40
_KINSHIP_PRIOR = (1.0, 0.7)  # of the inverse hyperbolic tangent of a correlation: 0.3 to 0.95, most likely 0.76
_FEWEST = 4  # values of the target from which a source may be found misleading


@dataclass(frozen=True)
class Source:
    """Values of another task: features (m, d) in the unit cube and finite values (m,) in any unit; m may be 0."""

    name: str
    X: Tensor
    y: Tensor


def fit_related(
    X: Tensor, y: Tensor, sources: Sequence[Source], *, kernel: Kernel, noise: float | None = None
) -> GaussianProcess:
    """Fit a process of the target that learns from sources as far as they agree with it.

    Target and sources are standardised Gaussian processes with one kernel; that of a source has the correlation r with
    the target's, and sources are independent given the target: intrinsic coregionalisation (Bonilla, Chai & Williams,
    NeurIPS 2007), which is f = r f_source + sqrt(1 - r^2) delta, the autoregressive model of Kennedy & O'Hagan,
    Biometrika 87, 1 (2000), with equal kernels. Lengthscales, noises and correlations maximise the posterior density.
    A source that misleads gets a correlation near 0; where the target's values are more probable without any source,
    there is none.

    Args:
        X: (n, d) features in the unit cube.
        y: (n,) standardised values of the target; n may be 0.
        sources: each with its own mean, scale and noise.
        kernel: ``matern52`` or ``rbf``.
        noise: the target's noise variance, where it is known.

    Raises:
        ArithmeticError, RuntimeError: odd values.
    """
    rows = [X, *(s.X for s in sources)]
    values = [y, *(_standardised(s.y) for s in sources)]
    tasks = torch.cat([torch.full((len(part),), float(t)) for t, part in enumerate(rows)]).long()
    all_X, all_y = torch.cat(rows).double(), torch.cat(values).double()
    if not bool(torch.isfinite(all_X).all() and torch.isfinite(all_y).all()):
        raise ArithmeticError("features or values are not finite")
    part = _thinned([len(r) for r in rows])
    joint = _Joint(all_X[part], all_y[part], tasks[part], len(rows), kernel, noise)
    theta = joint.search()
    if len(y) >= _FEWEST and _better_alone(X, y, joint, theta, kernel):
        own = fit_hyperparameters(X, y, kernel, noise)
        alone = {"mean": own.mean, "noise": own.noise, "lengthscale": own.lengthscale}
        unrelated = Relations.of(torch.zeros(len(y)).long(), np.append(1.0, np.zeros(len(sources))), own.noise)
        return GaussianProcess.conditioned(X, y, kernel=kernel, relations=unrelated, **alone)
    lengthscale, noises, correlation = joint.read(theta)
    means = joint.means(theta, all_X, all_y, tasks)
    relations = Relations(tasks, torch.from_numpy(correlation), torch.from_numpy(noises))
    return GaussianProcess.conditioned(
        all_X,
        all_y - means[tasks] + means[0],  # every task about the target's mean
        mean=float(means[0]),
        noise=float(noises[0]),
        noises=relations.noise[tasks],
        lengthscale=torch.from_numpy(lengthscale),
        kernel=kernel,
        relations=relations,
    )


def _standardised(y: Tensor) -> Tensor:
    if not len(y):
        return y.double()
    spread = float(y.std(correction=0))
    return (y - y.mean()) / (spread if spread > 1e-12 * (1 + float(y.abs().max())) else 1.0)


def _thinned(counts: Sequence[int]) -> Tensor:
    """Places of at most ``_PART`` values, evenly over each task."""
    target = min(counts[0], max(_PART // 2, _PART - sum(counts[1:])))
    left = (_PART - target) // max(1, len(counts) - 1)
    kept, begin = [], 0
    for task, count in enumerate(counts):
        most = target if task == 0 else min(count, left)
        if most:
            kept.append(begin + torch.linspace(0, count - 1, most).long())
        begin += count
    return torch.cat(kept) if kept else torch.zeros(0).long()


def _better_alone(X: Tensor, y: Tensor, joint: _Joint, theta: np.ndarray, kernel: Kernel) -> bool:
    """True where the target's values are more probable by themselves than after the sources."""
    own = fit_hyperparameters(X, y, kernel)
    part = torch.linspace(0, len(X) - 1, min(len(X), _PART)).long()
    at_own = np.log(np.append(own.lengthscale.numpy(), own.noise))
    alone = -Density(X[part].double(), y[part].double(), kernel).likelihood(at_own)
    both = joint.likelihood(theta, None) - joint.likelihood(theta, 0)
    return alone / max(1, len(part)) > both / max(1, joint.size(0))


class _Joint:
    """Posterior density of the hyper-parameters of all tasks.

    A point is (d + 2 T - 1,): logarithms of lengthscales, of one noise a task, and one inverse hyperbolic tangent of a
    correlation a source.
    """

    def __init__(
        self, X: Tensor, y: Tensor, tasks: Tensor, count: int, kernel: Kernel, noise: float | None = None
    ) -> None:
        self._X, self._y, self._tasks, self._count, self._noise = X, y, tasks, count, noise
        self._kernel: Kernel = kernel
        d = X.shape[1]
        centre, spread = lengthscale_prior(d)
        kin = count - 1
        self._centre = np.concatenate([np.full(d, centre), np.full(count, NOISE_PRIOR[0]), [_KINSHIP_PRIOR[0]] * kin])
        self._spread = np.concatenate([np.full(d, spread), np.full(count, NOISE_PRIOR[1]), [_KINSHIP_PRIOR[1]] * kin])

    def size(self, task: int) -> int:
        """How many values a task has."""
        return int((self._tasks == task).sum())

    def search(self) -> np.ndarray:
        """The most probable point."""
        from scipy.optimize import minimize

        d = self._X.shape[1]
        start = self._centre.copy()
        start[:d] -= 1.5
        start[d : d + self._count] -= 1.0
        if self._noise is not None:
            start[d] = math.log(max(self._noise, 1e-4))
        if len(self._y) < 3:
            return start
        bounds = (
            [(math.log(0.025), 8.0)] * d + [(math.log(1e-4), 1.5)] * self._count + [(-3.0, 3.0)] * (self._count - 1)
        )
        if self._noise is not None:
            bounds[d] = (start[d], start[d])
        found = minimize(self, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
        return found.x

    def read(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lengthscales (d,), noises (T,), correlations with the target (T,)."""
        d, count = self._X.shape[1], self._count
        return np.exp(theta[:d]), np.exp(theta[d : d + count]), np.append(1.0, np.tanh(theta[d + count :]))

    def means(self, theta: np.ndarray, X: Tensor, y: Tensor, tasks: Tensor) -> Tensor:
        """The most probable constant mean of each task, (T,)."""
        lengthscale, noise, correlation = self.read(theta)
        relations = Relations(tasks, torch.from_numpy(correlation), torch.from_numpy(noise))
        K = covariance(X, X, torch.from_numpy(lengthscale), self._kernel) * relations.between()
        K.diagonal().add_(relations.noise[tasks])
        return _means(torch.cholesky_inverse(torch.linalg.cholesky(K)), y, tasks, self._count)

    def likelihood(self, theta: np.ndarray, without: int | None) -> float:
        """Log density of the values of all tasks, or of all but one."""
        kept = torch.ones(len(self._y), dtype=torch.bool) if without is None else self._tasks != without
        if not bool(kept.any()):
            return 0.0
        lengthscale, noise, correlation = self.read(theta)
        tasks, X, y = self._tasks[kept], self._X[kept], self._y[kept]
        relations = Relations(tasks, torch.from_numpy(correlation), torch.from_numpy(noise))
        K = covariance(X, X, torch.from_numpy(lengthscale), self._kernel) * relations.between()
        K.diagonal().add_(relations.noise[tasks])
        root = torch.linalg.cholesky(K)
        everything = self.means(theta, self._X, self._y, self._tasks)
        gap = (y - everything[tasks])[:, None]
        quadratic = float((torch.linalg.solve_triangular(root, gap, upper=False)).square().sum())
        return -0.5 * quadratic - float(root.diagonal().log().sum()) - 0.5 * len(y) * math.log(2 * math.pi)

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log density and its gradient."""
        tasks, y, d, count = self._tasks, self._y, self._X.shape[1], self._count
        lengthscale, noise, correlation = self.read(theta)
        relations = Relations(tasks, torch.from_numpy(correlation), torch.from_numpy(noise))
        z = (self._X - self._X.mean(0)) / torch.from_numpy(lengthscale)
        square = z.square().sum(1)
        distance = torch.addmm(square[:, None] + square[None], z, z.T, alpha=-2).clamp_min_(0.0)
        if self._kernel == "rbf":
            k = slope = torch.exp(-0.5 * distance)
        else:
            root = (5.0 * distance).sqrt()
            decay = torch.exp(-root)
            k, slope = (1 + root + root.square() / 3) * decay, (1 + root) * decay * (5.0 / 3.0)
        between = relations.between()
        K = k * between
        K.diagonal().copy_(1.0 + 1e-9 + relations.noise[tasks])
        factor = torch.linalg.cholesky(K)
        inverse = torch.cholesky_inverse(factor)
        means = _means(inverse, y, tasks, count)
        gap = y - means[tasks]
        weights = inverse @ gap
        value = 0.5 * float(gap @ weights) + 0.5 * float(means @ means) + float(factor.diagonal().log().sum())
        outer = inverse - torch.outer(weights, weights)
        gradient = np.zeros(len(theta))
        along = outer * slope * between
        gradient[:d] = ((z.square() * along.sum(1)[:, None]).sum(0) - (z * (along @ z)).sum(0)).numpy()
        kin = outer * k
        for t in range(count):
            own = tasks == t
            gradient[d + t] = 0.5 * float(outer.diagonal()[own].sum()) * noise[t]
            if t:
                slope_r = float((kin[own][:, ~own] @ relations.own()[~own]).sum())
                gradient[d + count + t - 1] = slope_r * (1 - correlation[t] ** 2)
        apart = (theta - self._centre) / self._spread
        return value + 0.5 * float(apart @ apart), gradient + apart / self._spread


def _means(inverse: Tensor, y: Tensor, tasks: Tensor, count: int) -> Tensor:
    """Generalised least squares; a task without values has the mean 0, as have all to begin with (variance 1)."""
    H = torch.nn.functional.one_hot(tasks, count).double()
    return torch.linalg.solve(H.T @ inverse @ H + torch.eye(count, dtype=torch.float64), H.T @ inverse @ y)
