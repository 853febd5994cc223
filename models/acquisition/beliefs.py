"""All that is believed about a problem: one surrogate a quantity, read as objectives and constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models.acquisition.expected import log_best_probability_between, log_probability_between
from models.acquisition.problem import Number, Problem, Scale
from models.acquisition.surrogate import GaussianProcess, Kernel, Surrogate, fit_surrogate
from models.candidate import digest
from models.observation import Constraint, Objective, Prediction


@dataclass(frozen=True)
class Beliefs:
    """Surrogates in unitless scales, larger is better in every objective.

    Attributes:
        objectives: in the campaign's order.
        constraints: those on modelled quantities.
        surrogates: modelled quantity -> surrogate of its unitless value.
        scales: every quantity -> its scale.
        note: where a surrogate is not a Gaussian process, and why.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    surrogates: Mapping[str, Surrogate]
    scales: Mapping[str, Scale]
    note: str

    @classmethod
    def fit(cls, problem: Problem, objectives: Sequence[Objective], *, kernel: Kernel, seed: int) -> Beliefs:
        """Fit every surrogate from scratch, each on the rows that know its quantity."""
        surrogates: dict[str, Surrogate] = {}
        scales = {name: Scale.of(exact.pool) for name, exact in problem.exact.items()}
        notes = []
        for name, values in problem.values.items():
            known = np.isfinite(values)
            scales[name] = Scale.of(values)
            X = torch.from_numpy(problem.observed_X[known])
            y = torch.from_numpy(scales[name].to_unitless(values[known]))
            surrogates[name], note = fit_surrogate(X, y, kernel=kernel, seed=seed)
            if note:
                notes.append(f"{name}: {note}")
        return cls(tuple(objectives), problem.constraints, surrogates, scales, "; ".join(notes))

    @property
    def gaussian(self) -> bool:
        """True where every surrogate is a Gaussian process."""
        return all(isinstance(s, GaussianProcess) for s in self.surrogates.values())

    @property
    def model_hash(self) -> str:
        """Digest of all hyper-parameters."""
        return digest({name: dict(s.hyperparameters) for name, s in self.surrogates.items()})

    def believe(self, X: Tensor) -> Beliefs:
        """As if the points had been measured just as predicted."""
        return replace(self, surrogates={name: s.believe(X) for name, s in self.surrogates.items()})

    def oriented(self, objective: Objective, values: Number) -> Number:
        """An objective's values, unitless, larger is better."""
        return objective.sign * self.scales[objective.name].to_unitless(values)

    def bounds(self, constraint: Constraint) -> tuple[float, float]:
        """A constraint's unitless bounds, infinite where open."""
        scale, limit = self.scales[constraint.name], 1e9
        low = -math.inf if constraint.at_least is None else scale.to_unitless(constraint.at_least)
        high = math.inf if constraint.at_most is None else scale.to_unitless(constraint.at_most)
        low = low if low == -math.inf else min(max(low, -limit), limit)
        high = high if high == math.inf else min(max(high, -limit), limit)
        return low, high

    def appraise(self, X: Tensor, exact: Mapping[str, np.ndarray]) -> Appraisal:
        """What is believed about points: features (n, d), and the exactly known quantities of the same points."""
        beliefs = {name: s.predict(X) for name, s in self.surrogates.items()}
        means, stds = [], []
        for objective in self.objectives:
            if objective.name in beliefs:
                mean, std = beliefs[objective.name]
                means.append(objective.sign * mean)
                stds.append(std)
            else:
                means.append(torch.from_numpy(self.oriented(objective, exact[objective.name])))
                stds.append(X.new_zeros(len(X)))
        log_feasibility, spread, hope = X.new_zeros(len(X)), X.new_zeros(len(X)), X.new_zeros(len(X))
        for constraint in self.constraints:
            mean, std = beliefs[constraint.name]
            low, high = self.bounds(constraint)
            log_feasibility = log_feasibility + log_probability_between(mean, std, low, high)
            hope = hope + log_best_probability_between(mean, std, low, high)
            spread = spread + std.log()
        return Appraisal(torch.stack(means, 1), torch.stack(stds, 1), log_feasibility, spread, hope)

    def predictions(self, x: Tensor, exact: Mapping[str, float]) -> dict[str, Prediction]:
        """What a measurement of one point (d,) is expected to say, noise included, in each quantity's unit."""
        predicted = {name: Prediction(mean=value, std=0.0) for name, value in exact.items()}
        for name, surrogate in self.surrogates.items():
            mean, std = (float(v[0]) for v in surrogate.predict(x[None]))
            mean, std = self.scales[name].mean_std(mean, math.hypot(std, surrogate.noise_std))
            predicted[name] = Prediction(mean=mean, std=std)
        return predicted


@dataclass(frozen=True)
class Appraisal:
    """Beliefs about n points.

    Attributes:
        mean, std: (n, m) oriented objectives.
        log_feasibility: (n,) log probability that all modelled constraints hold.
        log_spread: (n,) log of the product of the constraints' standard deviations: what there is to learn of them.
        log_hope: (n,) the most that ``log_feasibility`` can become when spreads shrink and means stay.
    """

    mean: Tensor
    std: Tensor
    log_feasibility: Tensor
    log_spread: Tensor
    log_hope: Tensor


@dataclass(frozen=True)
class Incumbents:
    """What has been reached, in oriented unitless objectives.

    Attributes:
        rows: observed rows with every modelled objective known, the acquisition's baseline.
        front: (k, m) points that count: feasible ones, denoised by the posterior, pending ones as predicted.
        reference: (m,) worst outcome still of interest.
        found: True where a measured point satisfies the constraints.
    """

    rows: np.ndarray
    front: np.ndarray
    reference: np.ndarray
    found: bool

    @classmethod
    def of(cls, problem: Problem, beliefs: Beliefs) -> Incumbents:
        """Weigh the observed and the pending points."""
        measured = [problem.values[o.name] for o in beliefs.objectives if o.name in problem.values]
        count = len(problem.observed_X)
        known = np.all(np.isfinite(measured), axis=0) if measured else np.ones(count, dtype=bool)
        rows = np.flatnonzero(known)
        X = torch.from_numpy(problem.observed_X[rows])
        seen = beliefs.appraise(X, {name: e.observed[rows] for name, e in problem.exact.items()})
        believed_feasible = (seen.log_feasibility > math.log(0.5)).numpy()
        feasible = np.ones(len(rows), dtype=bool)
        for c in beliefs.constraints:
            values = problem.values[c.name][rows]
            said = np.array([c.satisfied(v) for v in values], dtype=bool)
            feasible &= np.where(np.isfinite(values), said, believed_feasible)
        for c in problem.exact_constraints:
            feasible &= np.array([c.satisfied(v) for v in problem.exact[c.name].observed[rows]], dtype=bool)
        ahead = beliefs.appraise(
            torch.from_numpy(problem.pending_X), {name: e.pending for name, e in problem.exact.items()}
        )
        promised = (ahead.log_feasibility > math.log(0.5)).numpy()
        front = np.concatenate([seen.mean.numpy()[feasible], ahead.mean.numpy()[promised]])
        raw = [
            beliefs.oriented(o, problem.values[o.name] if o.name in problem.values else problem.exact[o.name].observed)
            for o in beliefs.objectives
        ]
        outcomes = np.column_stack(raw)[rows]
        reference = _reference(beliefs, outcomes, feasible)
        return cls(rows, front, reference, bool(feasible.any()))


def _reference(beliefs: Beliefs, outcomes: np.ndarray, feasible: np.ndarray) -> np.ndarray:
    """The campaign's reference point, or a little below the worst of every objective measured so far.

    Not below the front's nadir, as is often done: an early front is narrow, and what lies beyond its ends would
    count for nothing.
    """
    m = len(beliefs.objectives)
    if not feasible.any():  # anything feasible is a gain: look far down
        return outcomes.min(axis=0) - 1.0 if len(outcomes) else np.full(m, -3.0)
    extent = np.ptp(outcomes, axis=0)
    reference = outcomes.min(axis=0) - 0.1 * np.where(extent > 1e-9, extent, 1.0)
    if m > 1:
        for j, objective in enumerate(beliefs.objectives):
            if objective.reference is not None:
                reference[j] = beliefs.oriented(objective, objective.reference)
    return reference
