"""All that is believed about a problem: one surrogate a quantity, read as objectives and constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.acquisition.expected import log_best_probability_between, log_probability_between
from models.acquisition.feasibility import fit_feasibility
from models.acquisition.knowledge import Knowledge, fit_informed
from models.acquisition.problem import EVEN_CHANCE, SYNTHESIS, Number, Problem, Scale
from models.acquisition.related import Source
from models.acquisition.surrogate import GaussianProcess, Kernel, Surrogate, fit_surrogate
from models.candidate import digest
from models.observation import Constraint, Objective, Prediction

_FEW = 5  # values by which those of a related task count as much


@dataclass(frozen=True)
class Beliefs:
    """Surrogates in unitless scales, larger is better in every objective.

    Attributes:
        objectives: in the campaign's order.
        constraints: those on modelled quantities.
        surrogates: modelled quantity -> surrogate of its unitless value.
        scales: every quantity -> its scale.
        note: where a surrogate is not a Gaussian process, and why.
        graded: the objective that has fidelities, if one has.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    surrogates: Mapping[str, Surrogate]
    scales: Mapping[str, Scale]
    note: str
    graded: str = ""

    @classmethod
    def fit(
        cls,
        problem: Problem,
        objectives: Sequence[Objective],
        *,
        kernel: Kernel,
        seed: int,
        knowledge: Knowledge | None = None,
    ) -> Beliefs:
        """Fit every surrogate from scratch, each on the rows that know its quantity."""
        known_before = knowledge or Knowledge()
        surrogates: dict[str, Surrogate] = {}
        scales = {name: Scale.of(exact.pool) for name, exact in problem.exact.items()}
        notes = []
        for name, values in problem.values.items():
            known = np.isfinite(values)
            yes_or_no = name == SYNTHESIS
            scales[name] = Scale(EVEN_CHANCE) if yes_or_no else _scale(problem, name, values)
            X = torch.from_numpy(problem.observed_X[known])
            y = torch.from_numpy(scales[name].to_unitless(values[known]))
            informed = _informed(problem, name, known_before, scales[name])
            fit = _fit_success if yes_or_no else partial(fit_informed, **informed) if informed else None
            alone = any(len(s.y) for s in informed.get("sources", ()))  # nothing measured, and yet something known
            surrogates[name], note = fit_surrogate(X, y, kernel=kernel, seed=seed, fit=fit, known=alone)
            if note:
                notes.append(f"{name}: {note}")
        return cls(tuple(objectives), problem.constraints, surrogates, scales, "; ".join(notes), problem.graded)

    @property
    def gaussian(self) -> bool:
        """True where every surrogate is a Gaussian process."""
        return all(isinstance(s, GaussianProcess) for s in self.surrogates.values())

    @property
    def model_hash(self) -> str:
        """Digest of all hyper-parameters."""
        return digest({name: dict(s.hyperparameters) for name, s in self.surrogates.items()})

    @property
    def plain(self) -> bool:
        """True where no surrogate has learnt from related tasks."""
        return all(getattr(s, "relations", None) is None for s in self.surrogates.values())

    def believe(self, X: Tensor, tasks: np.ndarray | None = None) -> Beliefs:
        """As if the points had been measured just as predicted, in full or (``tasks``) at a fidelity."""
        if tasks is None or not tasks.any():
            return replace(self, surrogates={name: s.believe(X) for name, s in self.surrogates.items()})
        surrogates = dict(self.surrogates)
        for x, task in zip(X, tasks.tolist(), strict=True):
            for name, s in surrogates.items():
                if not task:
                    surrogates[name] = s.believe(x[None])
                elif isinstance(s, GaussianProcess) and s.relations is not None and name == self.graded:
                    surrogates[name] = s.believe(x[None], task)
        return replace(self, surrogates=surrogates)

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
            if name == SYNTHESIS:
                works = float(torch.special.ndtr(torch.tensor(mean / std)))
                predicted[name] = Prediction(mean=works, std=math.sqrt(works * (1.0 - works)))
                continue
            mean, std = self.scales[name].mean_std(mean, math.hypot(std, surrogate.noise_std))
            predicted[name] = Prediction(mean=mean, std=std)
        return predicted


def _scale(problem: Problem, name: str, values: np.ndarray) -> Scale:
    """The scale of a quantity: that of its values, or, while they are few, as they would be in a related task.

    Two values from one corner say nothing of how much there is to gain elsewhere; the values that a source has nearest
    to them do.
    """
    scale, known = Scale.of(values), np.isfinite(values)
    weight = _FEW / (_FEW + known.sum())
    for _, X, there in problem.sources.get(name, []):
        told = np.isfinite(there)
        if known.sum() < 2 or told.sum() < _FEW:
            continue
        source = Scale.of(there[told])
        gap = ((problem.observed_X[known][:, None] - X[told][None]) ** 2).sum(axis=2)
        alike = source.to_unitless(there[told][gap.argmin(axis=1)])
        stretch = float(np.clip(alike.std(), 0.2, 2.0)) ** -weight
        shift = scale.shift - weight * float(alike.mean()) * scale.factor * stretch
        return Scale(shift, scale.factor * stretch)
    return scale


def _informed(problem: Problem, name: str, knowledge: Knowledge, scale: Scale) -> dict[str, Any]:
    """What is known of a quantity beside its own values, as arguments of ``fit_informed``; empty: nothing."""
    found: dict[str, Any] = {}
    if name in knowledge.noise:
        found["noise"] = (knowledge.noise[name] / scale.factor) ** 2
    signs = np.zeros(len(problem.columns))
    for column, feature in enumerate(problem.columns):
        if feature in knowledge.crude and name != SYNTHESIS:
            signs[column] = np.nan
        direction = knowledge.monotone.get(name, {}).get(feature)
        if direction is not None:
            signs[column] = 1.0 if direction == "increasing" else -1.0
    if np.any(signs != 0):
        found["signs"] = signs
    sources = []
    for label, X, values in problem.sources.get(name, []):
        known = np.isfinite(values)
        sources.append(Source(label, torch.from_numpy(X[known]), torch.from_numpy(values[known])))
    if sources:
        found["sources"] = sources
    return found


def _fit_success(X: Tensor, y: Tensor, *, kernel: Kernel) -> GaussianProcess:
    return fit_feasibility(X, (y > 0).double(), kernel=kernel)


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
        promised &= problem.tasks == 0
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
