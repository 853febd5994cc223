"""One belief a quantity: a Gaussian process, and what stands in where there is none."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from models.acquisition.backend import load_botorch
from models.acquisition.hyperparameters import NOISE_PRIOR, Kernel, fit_hyperparameters

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP

log = logging.getLogger(__name__)

_BLOCK = 8192  # candidates predicted at a time


class Surrogate(Protocol):
    """A belief about one standardised quantity as a function of features in the unit cube."""

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """What identifies the fitted model, JSON-like."""
        ...

    @property
    def noise_std(self) -> float:
        """Standard deviation of one measurement about the true value."""
        ...

    def predict(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the true value, (n,) each, for (n, d) features."""
        ...

    def believe(self, X: Tensor) -> Surrogate:
        """The same belief had the (k, d) points been measured just as predicted (Ginsbourger's Kriging believer)."""
        ...


@dataclass(frozen=True)
class Relations:
    """Which task each value is of, task 0 being the one that is believed about.

    Attributes:
        tasks: (n,) whole numbers.
        correlation: (T,) of each task's process with that of task 0; tasks are independent given task 0.
        noise: (T,) variance of a measurement of each.
    """

    tasks: Tensor
    correlation: Tensor
    noise: Tensor

    @classmethod
    def of(cls, tasks: Tensor, correlation: np.ndarray, noise: float) -> Relations:
        """With one noise for all."""
        return cls(tasks, torch.from_numpy(correlation), torch.full((len(correlation),), noise, dtype=torch.float64))

    def own(self, task: int = 0) -> Tensor:
        """Correlation of each value's process with that of a task, (n,)."""
        others = self.correlation[self.tasks] * self.correlation[task]
        return torch.where(self.tasks == task, torch.ones_like(others), others)

    def between(self) -> Tensor:
        """Correlations of the values' processes with each other, (n, n)."""
        r = self.correlation[self.tasks]
        return torch.where(self.tasks[:, None] == self.tasks[None], 1.0, torch.outer(r, r))

    def grown(self, task: int, count: int) -> Relations:
        """With values of a task added."""
        return replace(self, tasks=torch.cat([self.tasks, torch.full((count,), task)]))


@dataclass(frozen=True)
class GaussianProcess:
    """Exact Gaussian process regression with fixed hyper-parameters.

    Unit outputscale, one lengthscale a feature. The algebra gives BoTorch's posterior over tens of thousands of
    candidates within tenths of a second.

    Attributes:
        noise: variance of a new measurement.
        noises: (n,) variance of each value, where they differ.
        chance: standard deviation that no measurement takes away, part of every prediction's.
        relations: of values of other tasks among the data.
        trend: (d,) slope of the mean.
    """

    X: Tensor
    y: Tensor
    mean: float
    noise: float
    lengthscale: Tensor
    kernel: Kernel
    root: Tensor
    weights: Tensor
    noises: Tensor | None = None
    chance: float = 0.0
    relations: Relations | None = None
    trend: Tensor | None = None

    @classmethod
    def conditioned(
        cls,
        X: Tensor,
        y: Tensor,
        *,
        mean: float,
        noise: float,
        lengthscale: Tensor,
        kernel: Kernel,
        noises: Tensor | None = None,
        chance: float = 0.0,
        relations: Relations | None = None,
        trend: Tensor | None = None,
    ) -> GaussianProcess:
        """Condition on (n, d) features and (n,) values."""
        noisy = covariance(X, X, lengthscale, kernel)
        if relations is not None:
            noisy = noisy * relations.between()
        noisy.diagonal().add_(noise if noises is None else noises)
        root = torch.linalg.cholesky(noisy)
        gap = y - mean if trend is None else y - mean - X @ trend
        weights = torch.cholesky_solve(gap[:, None], root)[:, 0]
        return cls(X, y, mean, noise, lengthscale, kernel, root, weights, noises, chance, relations, trend)

    def cross(self, X: Tensor, task: int = 0) -> Tensor:
        """Prior covariance of the data with the values of a task at points (k, d), (n, k)."""
        plain = covariance(self.X, X, self.lengthscale, self.kernel)
        return plain if self.relations is None else plain * self.relations.own(task)[:, None]

    def prior_mean(self, X: Tensor) -> Tensor | float:
        """What is expected of points (k, d) before any value."""
        return self.mean if self.trend is None else self.mean + X @ self.trend

    @property
    def noise_std(self) -> float:
        """Standard deviation of one measurement about the true value."""
        return math.sqrt(self.noise)

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """Kernel, mean, noise variance and lengthscales, to 6 digits."""
        scales = [float(f"{v:.6g}") for v in self.lengthscale.tolist()]
        fitted = {"mean": float(f"{self.mean:.6g}"), "noise": float(f"{self.noise:.6g}"), "lengthscale": scales}
        more: dict[str, Any] = {}
        if self.relations is not None:
            more["correlation"] = [float(f"{v:.6g}") for v in self.relations.correlation.tolist()]
        if self.trend is not None:
            more["trend"] = [float(f"{v:.6g}") for v in self.trend.tolist()]
        return {"model": "gaussian-process", "kernel": self.kernel, "rows": len(self.X), **fitted, **more}

    def predict(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the true value, (n,) each."""
        means, stds = [], []
        for block in X.split(_BLOCK):
            cross = self.cross(block)
            means.append(self.prior_mean(block) + self.weights @ cross)
            half = torch.linalg.solve_triangular(self.root, cross, upper=False)
            stds.append(((1.0 - half.square().sum(0)).clamp_min(1e-10) + self.chance**2).sqrt())
        return torch.cat(means), torch.cat(stds)

    def believe(self, X: Tensor, task: int = 0) -> GaussianProcess:
        """Condition on the posterior mean at ``X`` as if it had been measured, of a related task if so said.

        The factor grows by the new rows and the mean stays as it is, so that a point costs O(n^2), not O(n^3).
        """
        if not len(X):
            return self
        cross = self.cross(X, task)
        half = torch.linalg.solve_triangular(self.root, cross, upper=False)
        corner = covariance(X, X, self.lengthscale, self.kernel) - half.T @ half
        noise = self.noise if self.relations is None else float(self.relations.noise[task])
        corner.diagonal().add_(noise)
        corner = torch.linalg.cholesky(corner)
        above = torch.cat([self.root, torch.zeros_like(half)], 1)
        return replace(
            self,
            X=torch.cat([self.X, X]),
            y=torch.cat([self.y, self.prior_mean(X) + self.weights @ cross]),
            root=torch.cat([above, torch.cat([half.T, corner], 1)]),
            weights=torch.cat([self.weights, self.weights.new_zeros(len(X))]),  # nothing new was learnt of the mean
            noises=None if self.noises is None else torch.cat([self.noises, X.new_full((len(X),), noise)]),
            relations=None if self.relations is None else self.relations.grown(task, len(X)),
        )

    def informed_std(self, X: Tensor, task: int) -> Tensor:
        """Standard deviation by which a measurement of a task at each of (k, d) would move the mean there, (k,)."""
        if self.relations is None:
            return self.predict(X)[1]
        target, other = self.cross(X), self.cross(X, task)
        half = torch.linalg.solve_triangular(self.root, target, upper=False)
        half_other = torch.linalg.solve_triangular(self.root, other, upper=False)
        shared = self.relations.correlation[task] - (half * half_other).sum(0)
        own = (1.0 - half_other.square().sum(0)).clamp_min(1e-10) + self.relations.noise[task]
        return shared.abs() / own.sqrt()

    def to_botorch(self, columns: int) -> SingleTaskGP:
        """The same model for BoTorch's acquisition functions, reading the first features of ``columns`` columns."""
        load_botorch()
        from botorch.models.transforms.input import FilterFeatures

        d = self.X.shape[1]
        extra = torch.zeros(len(self.X), columns - d, dtype=self.X.dtype)
        picked = FilterFeatures(torch.arange(d))
        model = _single_task_gp(torch.cat([self.X, extra], 1), self.y, self.kernel, picked, self.noises)
        fitted: dict[str, Any] = {"covar_module.lengthscale": self.lengthscale}
        if self.noises is None:
            fitted["likelihood.noise"] = self.noise
        if self.trend is None:
            fitted["mean_module.constant"] = self.mean
        else:
            from gpytorch.means import LinearMean

            model.mean_module = LinearMean(d).to(self.X.dtype)
            fitted["mean_module.weights"] = self.trend[:, None]
            fitted["mean_module.bias"] = torch.tensor([self.mean], dtype=self.X.dtype)
        model.initialize(**fitted)
        return model.eval()


@dataclass(frozen=True)
class Forest:
    """A random forest; the spread of its trees is the standard deviation. Stands in where no Gaussian process fits."""

    trees: Any
    rows: int
    noise_std: float

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """Size of the forest and of its data."""
        return {"model": "random-forest", "trees": len(self.trees), "rows": self.rows}

    def predict(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the trees, (n,) each."""
        if not len(X):
            return X.new_zeros(0), X.new_zeros(0)
        features = X.numpy().astype(np.float32)  # what a tree works in; checked here once, not once a tree
        votes = torch.stack([torch.from_numpy(tree.predict(features, check_input=False)) for tree in self.trees])
        return votes.mean(0), votes.std(0).clamp_min(0.05)

    def believe(self, X: Tensor) -> Forest:
        """A forest does not learn from its own opinion."""
        return self


@dataclass(frozen=True)
class Ignorance:
    """Mean 0 and standard deviation 1 everywhere: nothing has been measured."""

    noise_std: float = 0.0

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """There are none."""
        return {"model": "ignorance"}

    def predict(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros and ones."""
        return X.new_zeros(len(X)), X.new_ones(len(X))

    def believe(self, X: Tensor) -> Ignorance:
        """Nothing to condition."""
        return self


def fit_surrogate(
    X: Tensor,
    y: Tensor,
    *,
    kernel: Kernel,
    seed: int,
    fit: Callable[..., GaussianProcess] | None = None,
    known: bool = False,
) -> tuple[Surrogate, str]:
    """Fit the best surrogate that the data allow, and say in words where it is not the Gaussian process.

    Args:
        fit: makes the Gaussian process; ``fit_gaussian_process`` where left out.
        known: ``fit`` knows something without any value.
    """
    if not len(y) and not known:
        return Ignorance(), "no value measured yet"
    try:
        return (fit or fit_gaussian_process)(X, y, kernel=kernel), ""
    except (RuntimeError, ValueError, ArithmeticError) as error:  # torch's and scipy's numerical failures
        from models.acquisition.rescue import rescue

        why = f"{type(error).__name__}: {str(error)[:80]}"
        if found := rescue(X, y, kernel, why):
            return found
        reason = f"GP fit failed ({why}), used a random forest"
        log.warning(reason)
        if not len(y):
            return Ignorance(), reason
        return _fit_forest(X, y, seed), reason


def fit_gaussian_process(
    X: Tensor, y: Tensor, *, kernel: Kernel = "matern52", noise: float | None = None
) -> GaussianProcess:
    """Condition on the data with the most probable hyper-parameters (``fit_hyperparameters``), deterministic.

    Args:
        X: (n, d) features in the unit cube.
        y: (n,) values, standardised.
        kernel: ``matern52`` or ``rbf``.
        noise: the noise variance, where it is known.
    """
    found = fit_hyperparameters(X, y, kernel, noise)
    fitted = {"mean": found.mean, "noise": found.noise, "lengthscale": found.lengthscale}
    return GaussianProcess.conditioned(X, y, kernel=kernel, **fitted)


def _single_task_gp(X: Tensor, y: Tensor, kernel: Kernel, transform: Any, noises: Tensor | None = None) -> SingleTaskGP:
    from botorch.models import SingleTaskGP
    from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
    from gpytorch.constraints import GreaterThan
    from gpytorch.likelihoods import GaussianLikelihood
    from gpytorch.priors import LogNormalPrior

    d = X.shape[1] if transform is None else len(transform.feature_indices)
    module = get_covar_module_with_dim_scaled_prior(ard_num_dims=d, use_rbf_kernel=kernel == "rbf")
    prior = LogNormalPrior(*NOISE_PRIOR)
    noise = GreaterThan(1e-4, transform=cast(Any, None), initial_value=prior.mode)
    known = None if noises is None else noises[:, None]
    return SingleTaskGP(
        X,
        y[:, None],
        train_Yvar=known,
        likelihood=GaussianLikelihood(noise_prior=prior, noise_constraint=noise) if known is None else None,
        covar_module=module,
        outcome_transform=None,
        input_transform=transform,
    )


def _fit_forest(X: Tensor, y: Tensor, seed: int) -> Forest:
    from sklearn.ensemble import RandomForestRegressor

    values = np.nan_to_num(y.numpy(), posinf=1e6, neginf=-1e6)
    forest = RandomForestRegressor(100, min_samples_leaf=2, random_state=seed % 2**32, n_jobs=1)
    forest.fit(np.nan_to_num(X.numpy()), values)
    noise = float(np.std(values - forest.predict(np.nan_to_num(X.numpy()))))
    return Forest(tuple(forest.estimators_), len(values), noise)


def covariance(A: Tensor, B: Tensor, lengthscale: Tensor, kernel: Kernel) -> Tensor:
    """Prior covariance of (n, d) and (m, d) points, (n, m): unit variance, one lengthscale a feature."""
    a, b = A / lengthscale, B / lengthscale
    squared = (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T).clamp_min_(0.0)
    if kernel == "rbf":
        return squared.mul_(-0.5).exp_()
    distance = squared.mul_(5.0).sqrt_()
    return (1 + distance + distance.square() / 3) * torch.exp(-distance)
