"""BoTorch's noisy expected improvement of a short list, with constraints and pending points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.acquisition.backend import load_botorch
from models.acquisition.beliefs import Beliefs
from models.acquisition.surrogate import GaussianProcess
from models.observation import Constraint


@dataclass(frozen=True)
class MonteCarlo:
    """Scores candidates by qLogNEI (one objective) or qLogNEHVI (several), one candidate more than what is pending.

    Ament et al., NeurIPS 2023, arXiv:2310.20708; Daulton, Balandat & Bakshy, NeurIPS 2021, arXiv:2105.08195.

    Points are rows of features followed by one column an exactly known objective (oriented, unitless), which
    the objective reads beside the models' samples: exactly known quantities are never modelled.
    """

    beliefs: Beliefs
    baseline: Tensor
    reference: Tensor
    samples: int
    seed: int

    def scores(self, points: Tensor, pending: Tensor) -> Tensor:
        """Log acquisition value of each of the (n, columns) points after the (k, columns) pending ones; (n,)."""
        load_botorch()
        from botorch.acquisition.logei import qLogNoisyExpectedImprovement
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
        from botorch.acquisition.objective import GenericMCObjective
        from botorch.models import ModelListGP
        from botorch.sampling.normal import SobolQMCNormalSampler

        names = list(self.beliefs.surrogates)
        models = [s.to_botorch(points.shape[1]) for s in self._processes()]
        excesses = [f for c in self.beliefs.constraints for f in self._excesses(c, names.index(c.name))]
        common = {
            "model": ModelListGP(*models),
            "X_baseline": self.baseline,
            "sampler": SobolQMCNormalSampler(torch.Size([self.samples]), seed=self.seed % 2**31),
            "constraints": excesses or None,
            "X_pending": pending if len(pending) else None,
            "prune_baseline": True,
        }
        if len(self.beliefs.objectives) == 1:
            first = GenericMCObjective(lambda samples, X=None: self._objectives(samples, X)[..., 0])
            acquisition = qLogNoisyExpectedImprovement(objective=first, **common)
        else:
            every = GenericMCMultiOutputObjective(self._objectives)
            acquisition = qLogNoisyExpectedHypervolumeImprovement(objective=every, ref_point=self.reference, **common)
        with torch.no_grad():
            return acquisition(points[:, None, :])

    def _processes(self) -> list[GaussianProcess]:
        return [s for s in self.beliefs.surrogates.values() if isinstance(s, GaussianProcess)]

    def _objectives(self, samples: Tensor, X: Tensor | None = None) -> Tensor:
        names = list(self.beliefs.surrogates)
        columns, exact = [], self._processes()[0].X.shape[1]
        for objective in self.beliefs.objectives:
            if objective.name in names:
                columns.append(objective.sign * samples[..., names.index(objective.name)])
            elif X is None:
                raise ValueError("exactly known objectives are read from the points, which BoTorch did not pass")
            else:
                columns.append(X[..., exact].expand(samples.shape[:-1]))
                exact += 1
        return torch.stack(columns, dim=-1)

    def _excesses(self, constraint: Constraint, output: int) -> list[Callable[[Tensor], Tensor]]:
        """Functions of the models' samples that are negative inside the constraint."""
        low, high = self.beliefs.bounds(constraint)
        excesses: list[Callable[[Tensor], Tensor]] = []
        if constraint.at_least is not None:
            excesses.append(lambda samples: low - samples[..., output])
        if constraint.at_most is not None:
            excesses.append(lambda samples: samples[..., output] - high)
        return excesses
