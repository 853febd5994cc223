"""Planners behind the interface of ``evaluation.PoolPlanner``, for comparison: other people's, our campaigns'."""

# BayBE and Ax need not be installed.
# pyright: reportMissingImports=false

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np

from models.acquisition.evaluation import MakePlanner, PoolPlanner
from models.acquisition.row_pool import ParetoPlanner, TopPlanner
from models.errors import UnknownNameError


def _unit(X: np.ndarray) -> np.ndarray:
    width = np.ptp(X, axis=0)
    return (X - X.min(axis=0)) / np.where(width > 0, width, 1.0)


def _argbest(score: np.ndarray, taken: list[int]) -> int:
    score = np.array(score, dtype=float)
    score[taken] = -np.inf
    return int(np.argmax(score))


class RandomSearch:
    """Uniform over what is left."""

    def __init__(self, X: np.ndarray, feature_names: list[str], seed: int) -> None:
        self._n, self._rng = len(X), np.random.default_rng(seed)

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Return a random free row."""
        return int(self._rng.choice(np.setdiff1d(np.arange(self._n), [*observed, *pending])))


class GaussianProcessLCB:
    """The best method of Liang et al. 2021: scikit-learn GP, ARD Matérn-5/2, mean + 2 standard deviations."""

    def __init__(self, X: np.ndarray, feature_names: list[str], seed: int) -> None:
        self._X, self._seed = _unit(X), seed

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Fit with two restarts and return the best row."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        lengthscales: Any = np.full(self._X.shape[1], 0.5)
        kernel = ConstantKernel() * Matern(lengthscales, (1e-2, 1e2), nu=2.5) + WhiteKernel(1e-2)
        model = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=self._seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a length scale at its bound is usual with few data
            mean, std = model.fit(self._X[observed], y).predict(self._X, return_std=True)
        return _argbest(mean + 2 * std, [*observed, *pending])


class ForestLCB:
    """scikit-learn random forest of 100 trees, mean + 2 standard deviations over the trees."""

    def __init__(self, X: np.ndarray, feature_names: list[str], seed: int) -> None:
        self._X, self._seed = X, seed

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Fit and return the best row."""
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(100, random_state=self._seed).fit(self._X[observed], y)
        trees = np.stack([tree.predict(self._X) for tree in forest.estimators_])
        return _argbest(trees.mean(axis=0) + 2 * trees.std(axis=0), [*observed, *pending])


class BoTorch:
    """``SingleTaskGP`` with its default priors and ``LogExpectedImprovement``."""

    def __init__(self, X: np.ndarray, feature_names: list[str], seed: int) -> None:
        self._X, self._seed = _unit(X), seed

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Fit by maximum a posteriori and return the best row."""
        import torch
        from botorch.acquisition import LogExpectedImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Standardize
        from gpytorch.mlls import ExactMarginalLogLikelihood

        torch.manual_seed(self._seed)
        X, target = torch.tensor(self._X), torch.tensor(y, dtype=torch.float64)[:, None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = SingleTaskGP(X[observed], target, outcome_transform=Standardize(1))
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            with torch.no_grad():
                value = LogExpectedImprovement(model, best_f=target.max())(X[:, None]).numpy()
        return _argbest(value, [*observed, *pending])


class BayBE:
    """BayBE's defaults on the pool, except that no experiment is recommended twice."""

    def __init__(self, X: np.ndarray, feature_names: list[str], seed: int) -> None:
        import pandas as pd
        from baybe import Campaign
        from baybe.parameters import NumericalDiscreteParameter
        from baybe.searchspace import SearchSpace
        from baybe.targets import NumericalTarget
        from baybe.utils.random import set_random_seed

        set_random_seed(seed)
        varied = np.ptp(X, axis=0) > 0
        self._table = pd.DataFrame(X[:, varied], columns=[f"x{i}" for i in np.flatnonzero(varied)])
        parameters = [NumericalDiscreteParameter(c, sorted(set(self._table[c]))) for c in self._table]
        space = SearchSpace.from_dataframe(self._table, parameters)
        objective = NumericalTarget("y").to_objective()
        self._campaign = Campaign(space, objective, allow_recommending_already_measured=False)
        self._known = 0

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Add what is new and return the recommended row."""
        new = observed[self._known :]
        self._campaign.add_measurements(self._table.iloc[new].assign(y=y[self._known :]))
        self._known = len(observed)
        waiting = self._table.iloc[pending] if pending else None
        point = self._campaign.recommend(1, pending_experiments=waiting)[list(self._table)].to_numpy(float)[0]
        return int(np.argmin(((self._table.to_numpy(float) - point) ** 2).sum(axis=1)))


class Ax:
    """Ax's default model and acquisition function, scored on the pool (its Client cannot take one)."""

    def __init__(self, X: np.ndarray, feature_names: list[str], seed: int) -> None:
        self._X, self._seed = _unit(X), seed

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Rebuild the experiment and return the row of the highest acquisition value."""
        import pandas as pd
        import torch
        from ax.adapter.registry import Generators
        from ax.core import (
            Arm,
            Data,
            Experiment,
            Metric,
            Objective,
            ObservationFeatures,
            OptimizationConfig,
            ParameterType,
            RangeParameter,
            SearchSpace,
        )

        torch.manual_seed(self._seed)
        names = [f"x{i}" for i in range(self._X.shape[1])]
        space = SearchSpace([RangeParameter(name, ParameterType.FLOAT, 0.0, 1.0) for name in names])
        goal = OptimizationConfig(Objective(metric=Metric("y"), minimize=False))
        experiment = Experiment(search_space=space, optimization_config=goal, name="pool")
        points: list[dict[str, Any]] = [dict(zip(names, map(float, row), strict=True)) for row in self._X]
        rows: list[dict[str, Any]] = []
        for number, (row, value) in enumerate(zip(observed, y, strict=True)):
            arm = Arm(points[row], name=f"{number}_0")
            experiment.new_trial().add_arm(arm).mark_running(no_runner_required=True).mark_completed()
            named = {"trial_index": number, "arm_name": arm.name, "metric_name": "y", "metric_signature": "y"}
            rows.append({**named, "mean": value, "sem": float("nan")})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapter = Generators.BOTORCH_MODULAR(experiment=experiment, data=Data(df=pd.DataFrame(rows)))
            value = adapter.evaluate_acquisition_function([ObservationFeatures(p) for p in points])
        return _argbest(np.asarray(value), [*observed, *pending])


_METHODS: dict[str, tuple[str, type[PoolPlanner]]] = {
    "top": ("torch", TopPlanner),
    "pareto": ("torch", ParetoPlanner),
    "random": ("numpy", RandomSearch),
    "forest": ("sklearn", ForestLCB),
    "gp-lcb": ("sklearn", GaussianProcessLCB),
    "botorch": ("botorch", BoTorch),
    "baybe": ("baybe", BayBE),
    "ax": ("ax", Ax),
}


def methods() -> list[str]:
    """Return the names of the methods whose library is installed, ``athanor`` first."""
    return ["athanor", *(name for name, (needs, _) in _METHODS.items() if importlib.util.find_spec(needs))]


def missing() -> dict[str, str]:
    """Return the methods whose library is not installed, with the library's name."""
    return {name: needs for name, (needs, _) in _METHODS.items() if not importlib.util.find_spec(needs)}


def method(name: str) -> MakePlanner:
    """Return the class of a method.

    Raises:
        UnknownNameError: no such method, or its library is not installed.
    """
    if name == "athanor":
        from models.acquisition.benchmark import Planner

        return Planner
    if name not in methods():
        known = f"choose from {', '.join(methods())}"
        hint = f"{_METHODS[name][0]} is not installed: pip install 'athanor[peers]'" if name in _METHODS else known
        raise UnknownNameError(f"no planning method {name!r}: {hint}")
    return _METHODS[name][1]
