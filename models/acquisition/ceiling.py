"""What a candidate of a pool is worth at most, from a cheap look at each belief."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models.acquisition.beliefs import Appraisal, Beliefs, Incumbents
from models.acquisition.expected import log_best_probability_between, log_expected_hypervolume_improvement
from models.acquisition.hypervolume import improvement_cells
from models.acquisition.skim import Skim
from models.acquisition.surrogate import GaussianProcess, Surrogate


@dataclass(frozen=True)
class Worth:
    """Log expected feasible (hypervolume) improvement over what has been reached.

    Nothing else can raise it than a new measurement: where points are believed to come out as predicted, means stay,
    standard deviations shrink and the front grows, and the expected improvement falls with all three (it is convex
    in each objective); what feasibility may gain by a smaller spread is counted beforehand by ``ceiling``.

    Attributes:
        lower, upper: (k, m) boxes not yet dominated.
        found: something feasible is known; else what teaches most about the constraints is worth more.
    """

    lower: np.ndarray
    upper: np.ndarray
    found: bool

    @classmethod
    def over(cls, incumbents: Incumbents) -> Worth:
        """Prepare to compare with what has been reached."""
        front = incumbents.front if incumbents.found else incumbents.front[:0]
        return cls(*improvement_cells(front, incumbents.reference), incumbents.found)

    def of(self, seen: Appraisal) -> tuple[Tensor, Tensor]:
        """Score and its ceiling, (n,) each, nan read as minus infinity."""
        gain = log_expected_hypervolume_improvement(seen.mean, seen.std, self.lower, self.upper)
        if not self.found:
            gain = gain + seen.log_spread
        return _known(gain + seen.log_feasibility), _known(gain + seen.log_hope)


@dataclass(frozen=True)
class Ceiling:
    """An upper bound of the worth of candidates, now and after any further points are believed.

    Attributes:
        worth: what is bounded.
        beliefs: how quantities are read as objectives and constraints.
        looks: quantity -> a cheap look at its surrogate, or the surrogate where it is no Gaussian process.
    """

    worth: Worth
    beliefs: Beliefs
    looks: Mapping[str, Skim | Surrogate]

    @classmethod
    def of(cls, worth: Worth, beliefs: Beliefs, sample: Tensor) -> Ceiling:
        """Prepare for points like the (s, d) sample."""
        looks = {
            name: Skim.of(surrogate, sample) if isinstance(surrogate, GaussianProcess) else surrogate
            for name, surrogate in beliefs.surrogates.items()
        }
        return cls(worth, replace(beliefs, surrogates={}), looks)

    def to(self, device: torch.device) -> Ceiling:
        """The same on another device."""
        return replace(self, looks={n: v.to(device) if isinstance(v, Skim) else v for n, v in self.looks.items()})

    @property
    def portable(self) -> bool:
        """True where another device than the processor can do it."""
        return all(isinstance(look, Skim) for look in self.looks.values())

    def __call__(self, X: Tensor, exact: Mapping[str, Tensor]) -> Tensor:
        """Bounds (n,) of points with features (n, d) and exactly known quantities (n,) each."""
        seen = {name: self._look(look, X) for name, look in self.looks.items()}
        nothing = torch.zeros(len(X), dtype=torch.float64, device=X.device)
        means, stds, hope, spread = [], [], nothing, nothing
        for objective in self.beliefs.objectives:
            if objective.name in seen:
                mean, std, margin = seen[objective.name]
                means.append(objective.sign * mean + margin)
                stds.append(std)
            else:
                shift, factor = self.beliefs.scales[objective.name].shift, self.beliefs.scales[objective.name].factor
                means.append(objective.sign * (exact[objective.name] - shift) / factor)
                stds.append(nothing)
        for constraint in self.beliefs.constraints:
            mean, std, margin = seen[constraint.name]
            low, high = self.beliefs.bounds(constraint)
            hope = hope + log_best_probability_between(mean, std, low - margin, high + margin)
            spread = spread + std.log()
        return self.worth.of(Appraisal(torch.stack(means, 1), torch.stack(stds, 1), hope, spread, hope))[1]

    @staticmethod
    def _look(look: Skim | Surrogate, X: Tensor) -> tuple[Tensor, Tensor, float]:
        if isinstance(look, Skim):
            return *look(X), look.margin
        return *look.predict(X.double()), 0.0


def _known(score: Tensor) -> Tensor:
    return score.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
