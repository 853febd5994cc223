"""Planners for several objectives behind one interface, for comparison: ours, BoTorch's, random."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from models.acquisition.pareto_evaluation import MakeParetoPlanner, ParetoPlanner, ParetoTask
from models.acquisition.row_pool import AskedAcquisition
from models.errors import UnknownNameError
from models.observation import Objective

_SAMPLES = {2: 128}  # Monte Carlo samples of BoTorch's qLogNEHVI by number of objectives
_MANY = 32  # where there are more: one box decomposition a sample
_BLOCK = 512  # rows scored at a time


class RandomSearch:
    """Uniform over what is left."""

    def __init__(self, task: ParetoTask, seed: int) -> None:
        self._n, self._rng = len(task.X), np.random.default_rng(seed)

    def suggest(self, observed: list[int], Y: np.ndarray) -> int:
        """Return a random free row."""
        return int(self._rng.choice(np.setdiff1d(np.arange(self._n), observed)))


class Pareto:
    """What campaigns choose by unless told otherwise, ``acquisition: {name: pareto}``, with its defaults."""

    name = "pareto"

    def __init__(self, task: ParetoTask, seed: int) -> None:
        goals = [Objective(name=f"y{j}", reference=float(worst)) for j, worst in enumerate(task.reference)]
        self._asked, self._seed = AskedAcquisition(self.name, goals, task.X, task.feature_names), seed

    def suggest(self, observed: list[int], Y: np.ndarray) -> int:
        """Return the acquisition's choice."""
        return self._asked.rows(observed, Y, [], 1, 1000 * self._seed + len(observed))[0]


class Top(Pareto):
    """``acquisition: {name: top}``."""

    name = "top"


class _BoTorch:
    """``SingleTaskGP`` with its defaults for each objective, scored over the whole pool."""

    def __init__(self, task: ParetoTask, seed: int) -> None:
        width = np.ptp(task.X, axis=0)
        self._X = (task.X - task.X.min(axis=0)) / np.where(width > 0, width, 1.0)
        self._reference, self._seed = task.reference, seed

    def suggest(self, observed: list[int], Y: np.ndarray) -> int:
        """Fit by maximum a posteriori and return the best row."""
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from gpytorch.mlls import SumMarginalLogLikelihood

        torch.manual_seed(1000 * self._seed + len(observed))
        spread = np.where(Y.std(axis=0) > 1e-12, Y.std(axis=0), 1.0)
        target = torch.tensor((Y - Y.mean(axis=0)) / spread)
        reference = torch.tensor((self._reference - Y.mean(axis=0)) / spread)
        X = torch.tensor(self._X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ModelListGP(
                *(SingleTaskGP(X[observed], y[:, None], outcome_transform=None) for y in target.unbind(1))
            )
            fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
            acquisition = self._acquisition(model, X[observed], reference)
            with torch.no_grad():
                value = torch.cat([acquisition(block[:, None]) for block in X.split(_BLOCK)]).numpy()
        value[observed] = -np.inf
        return int(np.argmax(value))

    def _acquisition(self, model: Any, baseline: Any, reference: Any) -> Any:
        raise NotImplementedError


class LogNEHVI(_BoTorch):
    """BoTorch's qLogNoisyExpectedHypervolumeImprovement."""

    def _acquisition(self, model: Any, baseline: Any, reference: Any) -> Any:
        import torch
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.sampling.normal import SobolQMCNormalSampler

        samples = torch.Size([_SAMPLES.get(len(reference), _MANY)])
        return qLogNoisyExpectedHypervolumeImprovement(
            model, reference, baseline, sampler=SobolQMCNormalSampler(samples, seed=self._seed), prune_baseline=True
        )


class ParEGO(_BoTorch):
    """BoTorch's qLogNParEGO: a random augmented Chebyshev scalarisation a suggestion, then qLogNEI."""

    def _acquisition(self, model: Any, baseline: Any, reference: Any) -> Any:
        from botorch.acquisition.multi_objective.parego import qLogNParEGO

        return qLogNParEGO(model, baseline, prune_baseline=True)


_METHODS: dict[str, type[ParetoPlanner]] = {
    "top": Top,
    "pareto": Pareto,
    "qlognehvi": LogNEHVI,
    "parego": ParEGO,
    "random": RandomSearch,
}


def pareto_methods() -> list[str]:
    """Return the names of the methods, ours first."""
    return list(_METHODS)


def pareto_method(name: str) -> MakeParetoPlanner:
    """Return the class of a method. Raises UnknownNameError."""
    if name not in _METHODS:
        raise UnknownNameError(f"no planning method {name!r} for several objectives: choose from {', '.join(_METHODS)}")
    return _METHODS[name]
