"""What a choice is made from, as arrays: the pool, what was observed, what is pending."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from models.acquisition.unit_features import BLOCK_ROWS, Features, FeatureScaling, UnitFeatures, is_mapped
from models.candidate import Candidate, digest
from models.errors import UnknownNameError
from models.fidelity import Fidelity
from models.observation import Constraint, Objective, Observation
from models.pool import CandidatePool
from models.roles import Pool

Number = TypeVar("Number", float, np.ndarray)

SYNTHESIS = "synthesis_success"
"""Quantity learned (1 made, 0 not) where failed syntheses report no constraint value that says why."""
EVEN_CHANCE = 0.5


@dataclass(frozen=True)
class Scale:
    """Affine map between a quantity's unit and a dimensionless one of about unit spread."""

    shift: float = 0.0
    factor: float = 1.0

    @classmethod
    def of(cls, values: np.ndarray) -> Scale:
        """Mean and standard deviation of the finite ones; of equal values their magnitude."""
        values = values[np.isfinite(values)]
        largest = float(np.abs(values).max()) if len(values) else 0.0
        if largest < 1e-300:
            return cls()
        relative = values / largest  # keeps the square of 1e300 finite
        spread = float(relative.std())
        return cls(float(relative.mean()) * largest, (spread if spread > 1e-9 else 1.0) * largest)

    def to_unitless(self, value: Number) -> Number:
        """From the quantity's unit."""
        return (value - self.shift) / self.factor

    def mean_std(self, mean: float, std: float) -> tuple[float, float]:
        """A Gaussian back in the quantity's unit, finite."""
        limit = 1e307
        back = min(max(self.shift + mean * self.factor, -limit), limit)
        return back, min(std * self.factor, limit)


@dataclass(frozen=True)
class Exact:
    """A quantity known without an experiment, for the rows of pool, observed and pending points."""

    pool: np.ndarray
    observed: np.ndarray
    pending: np.ndarray


@dataclass(frozen=True)
class Problem:
    """Everything that the models see. Features lie in the unit cube; values keep their units.

    Attributes:
        pool_X: (n, d) features; of a memory-mapped pool they are read when asked for.
        observed_X, pending_X: (n, d) features.
        eligible: (n,) rows that may be chosen: not taken, and inside the constraints on exactly known quantities.
        values: modelled quantity -> (observed,) measured values, nan where unknown.
        exact: quantity -> known values.
        constraints: those on modelled quantities.
        exact_constraints: those on exactly known quantities; ``eligible`` satisfies them.
        scaling: from raw features to the unit cube.
        columns: name of each feature in the unit cube.
        sources: quantity -> related tasks: name, (m, d) features, (m,) values, nan where unknown.
        graded: the objective that has fidelities, if one has.
        pending_tasks: (pending,) 0 for a full measurement, k for the k-th fidelity; empty: all in full.
    """

    pool_X: Features
    observed_X: np.ndarray
    pending_X: np.ndarray
    eligible: np.ndarray
    values: dict[str, np.ndarray]
    exact: dict[str, Exact]
    constraints: tuple[Constraint, ...]
    exact_constraints: tuple[Constraint, ...]
    columns: tuple[str, ...] = ()
    sources: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = field(default_factory=dict)
    pending_tasks: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    graded: str = ""
    scaling: FeatureScaling | None = None

    def scaled(self, features: np.ndarray) -> np.ndarray:
        """Raw features (n, d) in the unit cube of this problem."""
        return np.asarray(features, float) if self.scaling is None else self.scaling(np.asarray(features, float))

    def grown(self, features: np.ndarray, exact: dict[str, np.ndarray], eligible: np.ndarray) -> Problem:
        """The problem with (k, d) raw features, known quantities and eligibility of more candidates."""
        return replace(
            self,
            pool_X=np.concatenate([self.pool_X[:], self.scaled(features)]),
            eligible=np.concatenate([self.eligible, eligible]),
            exact={n: replace(e, pool=np.concatenate([e.pool, exact[n]])) for n, e in self.exact.items()},
        )

    @property
    def tasks(self) -> np.ndarray:
        """``pending_tasks``, one a pending point."""
        return self.pending_tasks if len(self.pending_tasks) else np.zeros(len(self.pending_X), dtype=int)

    def without(self, row: int) -> Problem:
        """The problem with one row of the pool out of reach."""
        eligible = self.eligible.copy()
        eligible[row] = False
        return replace(self, eligible=eligible)

    def with_pending(self, row: int, task: int = 0) -> Problem:
        """The problem once a row of the pool is pending too, in full or at a fidelity."""
        return replace(
            self if task else self.without(row),
            pending_tasks=np.append(self.tasks, task),
            pending_X=np.concatenate([self.pending_X, self.pool_X[[row]]]),
            exact={n: replace(e, pending=np.append(e.pending, e.pool[row])) for n, e in self.exact.items()},
        )


def build_problem(
    pool: Pool,
    observations: Sequence[Observation],
    pending: Sequence[Candidate],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    learn_failures: bool = True,
    *,
    fidelities: Sequence[Fidelity] = (),
    earlier: Sequence[tuple[str, np.ndarray, dict[str, np.ndarray]]] = (),
) -> Problem:
    """Turn a pool and the history into arrays.

    A failed synthesis that a constraint explains is learnt by the model of the constraint; one that nothing explains
    by a model of what can be made (``SYNTHESIS``), unless ``learn_failures`` is False.

    Raises:
        UnknownNameError: a ``computed`` objective that the pool cannot compute.
    """
    observed = [o.candidate for o in observations]
    raw = pool.features
    squash = FeatureScaling(raw if is_mapped(raw) else np.asarray(raw, dtype=float))
    pool_X = UnitFeatures(raw, squash) if is_mapped(raw) else squash(np.asarray(raw, float))
    observed_X = squash(_featurize(pool, observed, raw.shape[1]))
    pending_X = squash(_featurize(pool, pending, raw.shape[1]))
    rows = matching_rows(pool, pool_X, [*observed, *pending], np.concatenate([observed_X, pending_X]))
    eligible = np.ones(len(pool), dtype=bool)
    full = np.array([not c.fidelity for c in [*observed, *pending]], dtype=bool)
    eligible[rows[(rows >= 0) & full]] = False

    exact: dict[str, Exact] = {}
    for name, needed in [(o.name, True) for o in objectives if o.source == "computed"] + [
        (c.name, False) for c in constraints
    ]:
        if name not in exact and not (not needed and any(o.name == name for o in objectives)):
            known = _computed(pool, name, needed)
            if known is not None:
                exact[name] = _exact(name, known, rows, pool_X, observations, observed_X, pending_X)
    eligible &= np.all([np.isfinite(e.pool) for e in exact.values()] + [np.ones(len(pool), dtype=bool)], axis=0)
    exact_constraints = tuple(c for c in constraints if c.name in exact)
    for c in exact_constraints:
        eligible &= _inside(exact[c.name].pool, c)
    modelled = [c for c in constraints if c.name not in exact]
    names = [o.name for o in objectives if o.source != "computed"] + [c.name for c in modelled]
    values = {name: _values(name, observations) for name in dict.fromkeys(names)}
    sources: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {}
    for fidelity in fidelities:
        sources.setdefault(fidelity.of, []).append((fidelity.name, observed_X, _values(fidelity.reading, observations)))
    for label, features, known_there in earlier:
        for name in values:
            if name in known_there:
                sources.setdefault(name, []).append((label, squash(features), known_there[name]))
    made = np.array([_made(o, modelled) for o in observations])
    if learn_failures and (made == 0).any():
        values[SYNTHESIS] = made
        modelled.append(Constraint(name=SYNTHESIS, at_least=EVEN_CHANCE))
    names_of_levels = [f.name for f in fidelities]
    return Problem(
        pool_X,
        observed_X,
        pending_X,
        eligible,
        values,
        exact,
        tuple(modelled),
        exact_constraints,
        columns=squash.names(pool.feature_names),
        sources=sources,
        graded=fidelities[0].of if fidelities else "",
        scaling=squash,
        pending_tasks=np.array(
            [1 + names_of_levels.index(c.fidelity) if c.fidelity else 0 for c in pending], dtype=int
        ),
    )


def matching_rows(pool: Pool, pool_X: Features, candidates: Sequence[Candidate], X: np.ndarray) -> np.ndarray:
    """Pool row of each candidate, -1 where it is not in the pool.

    Looks rows up by their features and confirms them by id, since making every candidate of the pool is dear.
    """
    found = np.full(len(candidates), -1)
    if not len(candidates) or not len(pool_X):
        return found
    if isinstance(pool, CandidatePool):  # it knows
        places = [pool.position_of(candidate) for candidate in candidates]
        return np.array([-1 if place is None else place for place in places])
    direction = np.cos(1.0 + 2.3 * np.arange(pool_X.shape[1]))  # any fixed one: projects a row to a sortable number
    keys = X @ direction
    ranked = np.sort(keys)
    near: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(pool_X), BLOCK_ROWS):
        block = pool_X[start : start + BLOCK_ROWS]
        key = block @ direction
        at = np.searchsorted(ranked, key)
        gap = np.minimum(np.abs(ranked[at.clip(max=len(ranked) - 1)] - key), np.abs(ranked[(at - 1).clip(min=0)] - key))
        close = np.flatnonzero(gap <= 1e-7)
        near.append((start + close, block[close]))
    rows, features = np.concatenate([r for r, _ in near]), np.concatenate([f for _, f in near])
    ids: dict[int, str] = {}
    for i, candidate in enumerate(candidates):
        for row in rows[np.abs(features - X[i]).max(axis=1, initial=0.0) < 1e-7].tolist():
            if row not in ids:
                ids[row] = pool[row].id
            if ids[row] == candidate.id:
                found[i] = row
                break
    return found


def data_hash(pool: Pool, observations: Sequence[Observation], pending: Sequence[Candidate], earlier: str = "") -> str:
    """Digest of all that a choice saw; ``earlier`` is that of results from before the campaign."""
    features = pool.features
    seen = {
        "pool": pool.features_digest() if isinstance(pool, CandidatePool) else _digest(features),
        "shape": list(features.shape),
        "observations": [o.model_dump(mode="json") for o in observations],
        "pending": [c.model_dump(mode="json") for c in pending],
    }
    return digest({**seen, "earlier": earlier} if earlier else seen)


def _digest(features: np.ndarray) -> str:
    content = hashlib.sha256()
    read = UnitFeatures(features) if is_mapped(features) else features
    for start in range(0, len(features), BLOCK_ROWS):
        content.update(np.ascontiguousarray(read[start : start + BLOCK_ROWS], dtype=float).data)
    return content.hexdigest()


def generator_seed(seed: int) -> int:
    """Any integer as a non-negative seed below 2**63."""
    return seed % 2**63


def _featurize(pool: Pool, candidates: Sequence[Candidate], d: int) -> np.ndarray:
    if not candidates:
        return np.empty((0, d))
    return np.asarray(pool.featurize(candidates), dtype=float).reshape(len(candidates), d)


def _computed(pool: Pool, name: str, needed: bool) -> np.ndarray | None:
    try:
        return np.asarray(pool.computed(name), dtype=float)
    except UnknownNameError:
        if needed:
            raise
        return None  # a constraint on something that must be measured


def _exact(
    name: str,
    known: np.ndarray,
    rows: np.ndarray,
    pool_X: Features,
    observations: Sequence[Observation],
    observed_X: np.ndarray,
    pending_X: np.ndarray,
) -> Exact:
    points = np.concatenate([observed_X, pending_X])
    values = np.full(len(rows), math.nan)
    for i, row in enumerate(rows):
        said = observations[i].values.get(name, math.nan) if i < len(observations) else math.nan
        if math.isfinite(said):
            values[i] = said
        elif row >= 0:
            values[i] = known[row]
        elif len(pool_X):  # no longer in the pool: its nearest neighbour's value
            values[i] = known[_nearest(pool_X, points[i])]
    return Exact(known, values[: len(observations)], values[len(observations) :])


def _nearest(pool_X: Features, point: np.ndarray) -> int:
    best, least = 0, math.inf
    for start in range(0, len(pool_X), BLOCK_ROWS):
        distance = ((pool_X[start : start + BLOCK_ROWS] - point) ** 2).sum(axis=1)
        if distance.min() < least:
            best, least = start + int(distance.argmin()), float(distance.min())
    return best


def _made(observation: Observation, constraints: Sequence[Constraint]) -> float:
    """1 for what was made, 0 for a failed synthesis, nan where a constraint's value says why, or nobody knows."""
    if observation.outcome == "measured":
        return 1.0
    explained = any(
        not c.satisfied(observation.values.get(c.name, c.at_least or c.at_most or 0.0)) for c in constraints
    )
    return 0.0 if observation.outcome == "failed_synthesis" and not explained else math.nan


def _values(name: str, observations: Sequence[Observation]) -> np.ndarray:
    known = [o.values.get(name, math.nan) if o.outcome != "failed_measurement" else math.nan for o in observations]
    array = np.array(known, dtype=float)
    return np.where(np.isfinite(array), array, math.nan)


def _inside(values: np.ndarray, constraint: Constraint) -> np.ndarray:
    low = -math.inf if constraint.at_least is None else constraint.at_least
    high = math.inf if constraint.at_most is None else constraint.at_most
    return (values >= low) & (values <= high)
