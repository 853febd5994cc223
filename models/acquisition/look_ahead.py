"""What going on is worth: the expected improvement of what was chosen, and whether to repeat the best instead."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.acquisition.bayes import BayesAcquisition
from models.acquisition.beliefs import Beliefs
from models.acquisition.crude import with_crude
from models.acquisition.expected import log_expected_hypervolume_improvement
from models.acquisition.reproducible import reproducible
from models.acquisition.study import Study, posterior_covariance
from models.acquisition.surrogate import GaussianProcess
from models.candidate import Candidate
from models.observation import Choice, Constraint, Objective, Observation
from models.prospects import Prospects
from models.roles import Pool

_RIVALS = 64  # measured candidates, the most promising, that a repetition may reorder
_QUANTILES = 201  # equally likely outcomes of one more measurement


def look_ahead(
    acquisition: BayesAcquisition,
    pool: Pool,
    observations: Sequence[Observation],
    pending: Sequence[Candidate],
    choices: Sequence[Choice],
    *,
    seed: int,
    measure_at_most: int = 1,
) -> tuple[list[Choice], Prospects | None]:
    """Return the choices, the least wanted one perhaps replaced by a repetition, and what there is to gain.

    Measuring a candidate once more pays where it is not clear which one is the best: its worth is the expected rise of
    the best posterior mean among the measured candidates, the correlated knowledge gradient of Frazier, Powell &
    Dayanik, INFORMS J. Comput. 21, 599 (2009), doi:10.1287/ijoc.1080.0314. The same figure is worked out for the least
    wanted choice, as if it were measured and could then be the best, and the larger one is done. Without noise
    a repetition is worth nothing.

    Args:
        acquisition: whose models are asked; it has exactly one objective, measured or derived.
        pool, observations, pending, seed: what the decision saw.
        choices: most wanted first.
        measure_at_most: how often one candidate may be measured; 1: never repeat.

    Returns:
        Equal arguments give equal results. No prospects where nothing that counts has been measured.
    """
    objectives, constraints = acquisition.objectives, acquisition.constraints
    if not choices or len(objectives) != 1 or objectives[0].source == "computed":
        return list(choices), None
    pool = with_crude(pool, acquisition.knowledge.crude)
    with reproducible(acquisition.threads, seed):
        study = Study.of(acquisition, pool, observations, pending, seed)
        rivals = _rivals(study, observations, constraints) if study is not None else None
        if study is None or rivals is None:
            return list(choices), None
        beliefs = study.beliefs.believe(torch.from_numpy(study.problem.pending_X))
        points = study.points([choice.candidate for choice in choices])
        gains = _improvements(study, beliefs, points)
        improvement, chosen = max(gains), list(choices)
        waiting = {c.id for c in pending} | {c.candidate.id for c in choices}
        often = [
            i for i, name in enumerate(rivals.names) if rivals.times[name] < measure_at_most and name not in waiting
        ]
        process = beliefs.surrogates[objectives[0].name]
        if often and isinstance(process, GaussianProcess):
            here = rivals.within(process, objectives[0].sign)
            worth = {i: here.gain(rivals.points[i]) for i in often}
            best = max(worth, key=lambda i: worth[i])
            likely = float(beliefs.appraise(points[-1:], {}).log_feasibility.exp())
            other = likely * here.gain(points[-1], new=True)
            if worth[best] > other:
                unit = study.beliefs.scales[objectives[0].name].factor
                seen = acquisition.seen(pool, observations, pending)
                chosen[-1] = _repetition(study, rivals, best, chosen[-1], worth[best] * unit, other * unit, seen)
                gains[-1] = worth[best] * unit
        return chosen, _prospects(study, rivals, objectives[0], improvement, gains)


@dataclass(frozen=True)
class _Rivals:
    """Measured candidates that count, the most promising first.

    Attributes:
        names, candidates, experiments: ids, themselves, and the experiment that measured each first.
        times: how often each was measured.
        points: (k, d).
        mean, std: (k,) true values, oriented and unitless.
    """

    names: list[str]
    candidates: list[Candidate]
    experiments: list[str]
    times: Counter[str]
    points: Tensor
    mean: Tensor
    std: Tensor

    def within(self, process: GaussianProcess, sign: float) -> _Contest:
        return _Contest(process, sign, self.points, sign * process.predict(self.points)[0])


@dataclass(frozen=True)
class _Contest:
    """Who is the best, and what one more measurement is expected to change about that."""

    process: GaussianProcess
    sign: float
    points: Tensor
    mean: Tensor

    def gain(self, x: Tensor, new: bool = False) -> float:
        """Expected rise of the best mean by measuring at (d,) ``x``; ``new``: it may then be the best itself."""
        points = torch.cat([self.points, x[None]])
        shift = posterior_covariance(self.process, points, x)
        step = shift / math.sqrt(max(float(shift[-1]), 0.0) + self.process.noise)
        mean = torch.cat([self.mean, self.sign * self.process.predict(x[None])[0]])
        if not new:
            step, mean = step[:-1], mean[:-1]
        z = torch.special.ndtri((torch.arange(_QUANTILES, dtype=mean.dtype) + 0.5) / _QUANTILES)
        best = (mean[:, None] + step[:, None] * z).max(dim=0).values.mean()
        return max(0.0, float(best - self.mean.max()))


def _rivals(study: Study, observations: Sequence[Observation], constraints: Sequence[Constraint]) -> _Rivals | None:
    objective = study.beliefs.objectives[0]
    good = [i for i, o in enumerate(observations) if _counts(o, objective, constraints, study)]
    if not good:
        return None
    first: dict[str, int] = {}
    for i in good:
        first.setdefault(observations[i].candidate.id, i)
    rows = list(first.values())
    points = torch.from_numpy(study.problem.observed_X[rows])
    mean, std = study.beliefs.surrogates[objective.name].predict(points)
    order = torch.argsort(-(objective.sign * mean + 2 * std), stable=True)[:_RIVALS].tolist()
    return _Rivals(
        names=[observations[rows[i]].candidate.id for i in order],
        candidates=[observations[rows[i]].candidate for i in order],
        experiments=[observations[rows[i]].experiment for i in order],
        times=Counter(o.candidate.id for o in observations if o.outcome == "measured"),
        points=points[order],
        mean=objective.sign * mean[order],
        std=std[order],
    )


def _counts(o: Observation, objective: Objective, constraints: Sequence[Constraint], study: Study) -> bool:
    known = {**o.values}
    measured = o.outcome == "measured" and objective.name in known
    return measured and all(
        c.satisfied(known[c.name]) if c.name in known else c.name in study.problem.exact for c in constraints
    )


def _improvements(study: Study, beliefs: Beliefs, points: Tensor) -> list[float]:
    """Expected improvement of each choice in the objective's unit, what was chosen before it believed as predicted."""
    best = float(study.incumbents.front.max()) if len(study.incumbents.front) else -math.inf
    unit = study.beliefs.scales[beliefs.objectives[0].name].factor
    found = []
    for x in points:
        said = beliefs.appraise(x[None], {})
        bounds = np.array([[best]]), np.array([[np.inf]])
        log_gain = log_expected_hypervolume_improvement(said.mean, said.std, *bounds) + said.log_feasibility
        found.append(float(log_gain.exp()) * unit)
        best, beliefs = max(best, float(said.mean)), beliefs.believe(x[None])
    return found


def _repetition(study: Study, rivals: _Rivals, i: int, instead: Choice, gain: float, other: float, seen: str) -> Choice:
    again = f"repeats {rivals.experiments[i]}: expected gain {gain:.3g}, of the new {instead.candidate.id} {other:.3g}"
    return Choice(
        candidate=rivals.candidates[i],
        value=gain,
        method="replicate",
        predicted=study.beliefs.predictions(rivals.points[i], {}),
        runner_up=(instead.candidate.id, other),
        model_hash=study.beliefs.model_hash,
        data_hash=seen,
        note="; ".join(filter(None, [again, instead.note])),
    )


def _prospects(
    study: Study, rivals: _Rivals, objective: Objective, improvement: float, gains: Sequence[float]
) -> Prospects | None:
    scale, top = study.beliefs.scales[objective.name], int(rivals.mean.argmax())
    mean, std = scale.mean_std(objective.sign * float(rivals.mean[top]), float(rivals.std[top]))
    noise = study.beliefs.surrogates[objective.name].noise_std * scale.factor
    numbers = [improvement, *gains, mean, std, noise]
    if not all(map(math.isfinite, numbers)):
        return None
    return Prospects(
        expected_improvement=improvement,
        gains=tuple(gains),
        noise_std=noise,
        best=rivals.names[top],
        best_mean=mean,
        best_std=std,
    )
