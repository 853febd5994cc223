"""The learned screen: drop what is confidently bad, keep whatever might be good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from models.errors import UnknownNameError
from models.observation import Constraint, Objective, Observation
from models.roles import Pool, Predictor

Beliefs = dict[str, tuple[np.ndarray, np.ndarray]]
"""Quantity -> (mean (n,), std (n,))."""

OPTIMISM = 2.0
"""Standard deviations between a mean and the optimistic end of a belief."""


@runtime_checkable
class SelfJudging(Protocol):
    """A predictor that knows its own mistakes.

    Attributes:
        taught: how many observations it was fitted to, the first ones.
        learned: names of the quantities that it has learned.
    """

    taught: int

    @property
    def learned(self) -> Any:
        """Iterates over the names of the quantities."""
        ...

    def left_out(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Truth, mean and std of the observations that have the quantity, by models that had not seen them."""
        ...


@dataclass(frozen=True)
class OptimisticScreen:
    """What an optimistic screen lets through.

    Attributes:
        mask: (n,) True for those that stay.
        infeasible: how many went because a constraint is missed even at the optimistic end of the belief.
        uninteresting: how many more went because, at the optimistic end, an observation beats them in every objective.
        false_negative_rate: share of the observed feasible, non-dominated candidates that the rule would have dropped
            before they were seen (predicted by models that had not); ``nan`` where there are none.
        judged: how many observations that share is taken from.
    """

    mask: np.ndarray
    infeasible: int
    uninteresting: int
    false_negative_rate: float
    judged: int

    @property
    def passed(self) -> int:
        """How many stay."""
        return int(self.mask.sum())

    @property
    def detail(self) -> dict[str, float]:
        """The numbers, for a stage's report."""
        out = {"infeasible": self.infeasible, "uninteresting": self.uninteresting, "judged": self.judged}
        rate = {"false_negative_rate": self.false_negative_rate} if self.judged else {}
        return {name: float(value) for name, value in out.items()} | rate


def optimistic_screen(
    predictor: Predictor,
    pool: Pool,
    observations: Sequence[Observation],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    keep: int = 512,
    *,
    fitted: bool = False,
) -> OptimisticScreen:
    """Fit ``predictor`` to the observations and judge a pool at the optimistic end of its beliefs.

    A candidate goes when, two standard deviations to its favour, it still misses a constraint or is still worse in
    every objective than one feasible observation. A quantity that no observation has drops nobody. The best ``keep``
    candidates stay in any case, and all do where there are no observations.

    Args:
        predictor: any; is fitted here unless it is ``fitted``. One that knows its own mistakes (``SelfJudging``) gets a
            false-negative rate.
        pool: (n) candidates.
        observations: what is known.
        objectives: ``computed`` ones count exactly.
        constraints: on measured, derived or computed quantities.
        keep: at least so many stay.
        fitted: take the predictor as it is.
    """
    n = len(pool)
    if n == 0 or not observations:
        return OptimisticScreen(np.ones(n, dtype=bool), 0, 0, float("nan"), 0)
    if not fitted:
        predictor.fit(observations)
    beliefs = _beliefs(predictor, pool)
    best = np.column_stack([_objective_end(o, pool, beliefs) for o in objectives])
    margin = np.min([_constraint_margin(c, pool, beliefs) for c in constraints], axis=0) if constraints else np.zeros(n)

    feasible = [o for o in observations if _is_feasible(o, objectives, constraints)]
    seen = _signed(feasible, objectives)
    infeasible = margin < 0
    dominated = _beaten(best, seen)
    mask = ~(infeasible | dominated)
    if mask.sum() < keep:
        spread = np.where(np.isfinite(best), best, 0.0).std(axis=0) + 1e-12
        score = np.where(np.isfinite(best), best / spread, 1e9).sum(axis=1)
        order = np.lexsort((-score, -np.minimum(margin, 0.0)))
        order = np.concatenate([order[mask[order]], order[~mask[order]]])
        mask[order[: min(keep, n)]] = True
    rate, judged = float("nan"), 0
    if isinstance(predictor, SelfJudging):
        rate, judged = _false_negatives(predictor, observations[: predictor.taught], objectives, constraints)
    return OptimisticScreen(mask, int(infeasible.sum()), int((dominated & ~infeasible).sum()), rate, judged)


def screen_with(
    predictor: Any, pool: Pool, observations: Sequence[Observation], *, fitted: bool = False
) -> tuple[np.ndarray | None, dict[str, float]]:
    """Screen with a predictor that says what it looks for (``objectives``, ``constraints``, ``keep``, ``fewest``).

    Returns:
        Mask over the pool (n,), or None where there is too little to judge by, and what happened, in numbers:
        ``false_negative_rate`` is the estimated share of the good that the screen drops.
    """
    taught = sum(o.outcome != "failed_measurement" for o in observations)
    if taught < predictor.fewest or not predictor.objectives:
        return None, {"observations": float(taught)}
    result = optimistic_screen(
        predictor, pool, observations, predictor.objectives, predictor.constraints, predictor.keep, fitted=fitted
    )
    return result.mask, {"observations": float(taught), **result.detail}


def _beliefs(predictor: Predictor, pool: Pool) -> Beliefs:
    if hasattr(predictor, "predict_array"):
        return predictor.predict_array(pool)  # type: ignore[attr-defined]
    predictions = predictor.predict([pool[i] for i in range(len(pool))])
    return {
        name: (np.array([p[name].mean for p in predictions]), np.array([p[name].std for p in predictions]))
        for name in (predictions[0] if predictions else {})
    }


def _objective_end(objective: Objective, pool: Pool, beliefs: Beliefs) -> np.ndarray:
    """Signed value (large is good) at the optimistic end, (n,); +inf where nothing is known."""
    if objective.source == "computed":
        return objective.sign * pool.computed(objective.name)
    if objective.name not in beliefs:
        return np.full(len(pool), np.inf)
    mean, std = beliefs[objective.name]
    return objective.sign * mean + OPTIMISM * std


def _constraint_margin(constraint: Constraint, pool: Pool, beliefs: Beliefs) -> np.ndarray:
    """Distance inside the bounds at the optimistic end, in standard deviations, (n,); negative is missed."""
    if constraint.name in beliefs:
        mean, std = beliefs[constraint.name]
        return _margin(constraint, mean, std)
    try:
        return _margin(constraint, pool.computed(constraint.name), np.zeros(len(pool)))
    except UnknownNameError:
        return np.zeros(len(pool))  # a reading that no experiment has given yet: it judges nobody


def _margin(constraint: Constraint, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    unit = np.maximum(std, 1e-12)
    out = np.full(len(mean), np.inf)
    if constraint.at_least is not None:
        out = np.minimum(out, (mean + OPTIMISM * std - constraint.at_least) / unit)
    if constraint.at_most is not None:
        out = np.minimum(out, (constraint.at_most - mean + OPTIMISM * std) / unit)
    return out


def _is_feasible(o: Observation, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> bool:
    known = o.outcome == "measured" and all(q.name in o.values for q in objectives)
    return known and all(c.name in o.values and c.satisfied(o.values[c.name]) for c in constraints)


def _signed(observations: Sequence[Observation], objectives: Sequence[Objective]) -> np.ndarray:
    """Objective values, large is good, (n, m)."""
    return np.array([[o.values[q.name] * q.sign for q in objectives] for o in observations]).reshape(
        -1, len(objectives)
    )


def _beaten(best: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """True for rows of ``best`` (n, m) that some row of ``seen`` (k, m) strictly exceeds in every column."""
    out = np.zeros(len(best), dtype=bool)
    for row in seen:
        out |= (row[None, :] > best).all(axis=1)
    return out


def _false_negatives(
    predictor: SelfJudging,
    observations: Sequence[Observation],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
) -> tuple[float, int]:
    """Judge the observed front by left-out predictions: (share dropped, how many there are)."""
    known = [o for o in observations if o.outcome != "failed_measurement"]
    left_out = {}
    for name in predictor.learned:
        rows = [i for i, o in enumerate(known) if np.isfinite(o.values.get(name, np.nan))]
        _, mean, std = predictor.left_out(name)
        left_out[name] = {i: (float(m), float(s)) for i, m, s in zip(rows, mean, std, strict=True)}
    feasible = [i for i, o in enumerate(known) if _is_feasible(o, objectives, constraints)]
    truth = _signed([known[i] for i in feasible], objectives)
    front = [k for k in range(len(feasible)) if not _beaten(truth[k : k + 1], np.delete(truth, k, axis=0))[0]]
    dropped = 0
    for k in front:
        i = feasible[k]
        end = np.array([truth[k]])
        for j, q in enumerate(objectives):
            if i in left_out.get(q.name, {}):
                mean, std = left_out[q.name][i]
                end[0, j] = q.sign * mean + OPTIMISM * std
        missed = any(
            _margin(c, *(np.array([x]) for x in left_out[c.name][i]))[0] < 0
            for c in constraints
            if i in left_out.get(c.name, {})
        )
        dropped += bool(missed or _beaten(end, np.delete(truth, k, axis=0))[0])
    return (dropped / len(front) if front else float("nan")), len(front)
