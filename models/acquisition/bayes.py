"""Bayesian optimisation over a pool: many objectives, outcome constraints, pending points."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError

from models.acquisition.beliefs import Beliefs, Incumbents
from models.acquisition.ceiling import Worth
from models.acquisition.crude import with_crude
from models.acquisition.effort import Effort, Prices
from models.acquisition.fidelities import FULL, Level, first_level, graded, levels, value_per_cost
from models.acquisition.initial import initial_design
from models.acquisition.knowledge import Earlier, Knowledge
from models.acquisition.montecarlo import MonteCarlo
from models.acquisition.problem import Problem, build_problem, data_hash, generator_seed
from models.acquisition.race import Race
from models.acquisition.refine import Grown, allowed, exactly, movable, uphill
from models.acquisition.reproducible import reproducible
from models.acquisition.surrogate import Kernel
from models.acquisition.sweep import Sweep, sweep
from models.candidate import Candidate
from models.errors import DataError
from models.fidelity import Fidelity
from models.observation import Choice, Constraint, Objective, Observation, Prediction
from models.outlook import Outlook
from models.roles import Pool

Pricing = Callable[[Pool, Problem], Prices]

log = logging.getLogger(__name__)

_WORST = -1e300  # a score that JSON can carry where the closed form says -inf


class BayesAcquisition:
    """Chooses what is expected to improve the feasible Pareto front most.

    First ``initial`` experiments that represent the pool; then, for every measured quantity, a Gaussian process
    fitted from scratch, the best of the whole pool by the closed form of expected (hypervolume) improvement times
    probability of feasibility (``Race``), and these again by BoTorch's qLogNEI or qLogNEHVI, which know the noise and
    the pending points. Computed objectives are exactly known and never modelled. As long as nothing feasible has been
    measured, feasibility is looked for first.

    Args:
        objectives: at least one; maximized and minimized, measured and computed may be mixed.
        constraints: on measured quantities, or on quantities that the pool computes: candidates that break one of
            the latter are never chosen.
        initial: number of experiments before the first model.
        shortlist: number of candidates scored by Monte Carlo.
        mc_samples: Monte Carlo samples of the posterior.
        threads: torch threads while choosing; choices are reproducible for one machine and one number.
        kernel: covariance of the Gaussian processes, ``matern52`` or ``rbf``, one lengthscale a feature.
        refine: search the space beyond its proposals for better candidates, where it is not countable.
        effort: what experiments cost (``Effort`` or its plain data), and how that counts.
        fidelities: cheaper ways to learn about one objective; candidate and fidelity are then chosen together.
        base_dir: where relative paths of ``prior`` start.
        knowledge: the fields of ``Knowledge``: ``noise``, ``monotone``, ``crude``, ``prior``.
        failures: ``learn`` from failed syntheses where the next will fail, or ``ignore`` them.

    Raises:
        DataError: no objective, or one name twice.
    """

    citation = "Daulton et al., NeurIPS 2021, arXiv:2105.08195; Ament et al., NeurIPS 2023, arXiv:2310.20708"

    def __init__(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        initial: int = 8,
        shortlist: int = 256,
        mc_samples: int = 128,
        threads: int = 1,
        kernel: Kernel = "matern52",
        failures: Literal["learn", "ignore"] = "learn",
        refine: bool = True,
        effort: Effort | dict[str, Any] | None = None,
        fidelities: Sequence[Fidelity] = (),
        base_dir: str = ".",
        **knowledge: Any,
    ) -> None:
        names = [o.name for o in objectives]
        if not names or len(set(names)) < len(names):
            raise DataError(f"objectives: give at least one, each name once; got {names}")
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        self.initial = initial
        self.shortlist = max(2, shortlist)
        self.mc_samples = max(8, mc_samples)
        self.threads = threads
        self.kernel: Kernel = kernel
        if failures not in ("learn", "ignore"):
            raise DataError(f"failures is 'learn' or 'ignore', not {failures!r}")
        self.learn_failures = failures == "learn"
        self.effort = Effort.model_validate(effort) if effort is not None else None
        self.refine = refine
        self.fidelities = graded(fidelities, self.objectives)
        try:
            self.knowledge = Knowledge.model_validate(knowledge)
        except ValidationError as error:
            wrong = error.errors()[0]
            raise DataError(f"acquisition: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None
        self._quantities = [o.name for o in self.objectives if o.source != "computed"]
        self._quantities += [c.name for c in self.constraints if c.name not in self._quantities]
        self._earlier = Earlier(self.knowledge.prior, Path(base_dir), self._quantities)
        self.sweep: Sweep = sweep

    def check(self, feature_names: Sequence[str], pool: Pool | None = None) -> None:
        """Raise DataError where a setting speaks of a feature or quantity that the campaign does not have.

        ``pool`` has some of its candidates: what ``effort`` names is asked of them.
        """
        self.knowledge.check(feature_names, self._quantities)
        if self.effort is not None and pool is not None and len(pool):
            self.effort.check(pool)

    def choose(
        self,
        pool: Pool,
        observations: Sequence[Observation],
        pending: Sequence[Candidate],
        q: int,
        *,
        seed: int,
        outlook: Outlook | None = None,
    ) -> list[Choice]:
        """Return ``q`` different candidates, none observed or pending, most wanted first.

        Fewer only where no other candidate is left that satisfies the constraints on computed quantities.
        Odd data never end a campaign: what was done instead is said in ``Choice.note``.

        Raises:
            UnknownNameError: the pool cannot compute a ``computed`` objective.
        """
        if q <= 0 or not len(pool):
            return []
        seed = generator_seed(seed)
        with reproducible(self.threads, seed):
            pool = with_crude(pool, self.knowledge.crude)
            problem = self.problem(pool, observations, pending)
            price = self._pricing(observations, outlook or Outlook())
            taken = {(c.id, c.fidelity) for c in [*(o.candidate for o in observations), *pending]}
            batch = Batch(pool, problem, taken, q, price)
            early = max(0, self.initial - len(observations) - len(pending))
            learned = bool(self._earlier.sources) or any(np.isfinite(v).any() for v in problem.values.values())
            begun = len(observations) + len(pending)
            self._explore(batch, min(q, early) if learned or (observations and not problem.values) else q, seed, begun)
            try:
                self._exploit(batch, seed)
            except Exception as error:  # whatever the data did to the models, the lab must not stand still
                log.exception("choosing by model failed, choosing for coverage instead")
                reason = f"models failed ({type(error).__name__}: {str(error)[:120]}), chosen for coverage"
                self._explore(batch, q, seed, begun, note=reason)
            choices = batch.choices(self.seen(pool, observations, pending))
        if not choices:
            log.warning("no candidate is left that is new and satisfies the constraints on computed quantities")
        return choices

    def problem(self, pool: Pool, observations: Sequence[Observation], pending: Sequence[Candidate]) -> Problem:
        """What is known, as the models see it; the pool has the crude estimates (``with_crude``).

        Raises UnknownNameError, see ``choose``.
        """
        return build_problem(
            pool,
            observations,
            pending,
            self.objectives,
            self.constraints,
            self.learn_failures,
            fidelities=self.fidelities,
            earlier=self._earlier.featurized(pool),
        )

    def beliefs(self, problem: Problem, seed: int) -> Beliefs:
        """The models, fitted from scratch; equal arguments give equal models. Call it inside ``reproducible``."""
        return Beliefs.fit(problem, self.objectives, kernel=self.kernel, seed=seed, knowledge=self.knowledge)

    def seen(self, pool: Pool, observations: Sequence[Observation], pending: Sequence[Candidate]) -> str:
        """Digest of all that a choice sees."""
        return data_hash(pool, observations, pending, self._earlier.digest)

    def _pricing(self, observations: Sequence[Observation], outlook: Outlook) -> Pricing | None:
        effort = self.effort
        return None if effort is None else lambda pool, problem: effort.prices(pool, problem, observations, outlook)

    def _explore(self, batch: Batch, count: int, seed: int, begun: int, note: str = "") -> None:
        """Fill the batch up to ``count`` with candidates that represent the pool."""
        while len(batch.picks) < count and batch.eligible.size:
            problem = batch.problem
            level = first_level(self.fidelities, begun + len(batch.picks))
            taken = np.concatenate([problem.observed_X, problem.pending_X])
            rows = initial_design(problem.pool_X, batch.eligible, taken, 1, seed=seed)
            known = {name: Prediction(mean=float(e.pool[rows[0]]), std=0.0) for name, e in problem.exact.items()}
            batch.add(np.array(rows), np.zeros(1), method="initial-design", note=note, predicted=known, level=level)
            if level.task:
                batch.problem = batch.problem.without(rows[0])  # in this call: the design covers, it does not repeat

    def _exploit(self, batch: Batch, seed: int) -> None:
        """Fill the batch by the models."""
        if batch.full or not batch.eligible.size:
            return
        beliefs = self.beliefs(batch.problem, seed)
        self._refine(batch, beliefs, seed)
        worth = None if batch.prices is None else batch.prices.worth
        race = Race(batch.problem, beliefs, self.sweep, worth=worth)
        while not batch.full and batch.problem.eligible.any():
            incumbents = Incumbents.of(batch.problem, beliefs)
            contenders, scores = race.best(batch.problem, incumbents, self.shortlist)
            ranked, method, note = contenders, "", beliefs.note
            if self.fidelities:
                if not self._graded(batch, race, beliefs, incumbents, contenders, worth):
                    break
                continue
            if incumbents.found and self._sampled(beliefs):
                try:
                    ranked, scores = self._monte_carlo(batch.problem, beliefs, incumbents, contenders, seed, worth)
                    method = "qLogNEI" if len(self.objectives) == 1 else "qLogNEHVI"
                except (RuntimeError, ValueError, ArithmeticError) as error:  # what torch raises on odd matrices
                    log.warning("Monte Carlo acquisition failed: %s", error)
                    note = f"Monte Carlo failed ({type(error).__name__}: {str(error)[:80]}), used the closed form"
            closed_form = "logEI" if len(self.objectives) == 1 else "logEHVI"
            method = method or (closed_form if incumbents.found else "feasibility-search")
            row = batch.add(ranked, scores, method=method, note=note)
            if row is not None:
                batch.explain(beliefs, row)

    def _refine(self, batch: Batch, beliefs: Beliefs, seed: int) -> None:
        """Add the best that a search from the best of the pool finds, where the space lets one move."""
        space, problem = movable(batch.pool), batch.problem
        if space is None or not self.refine or not isinstance(problem.pool_X, np.ndarray):  # a map is read, not copied
            return
        incumbents = Incumbents.of(problem, beliefs)
        starts = Race(problem, beliefs, self.sweep).best(problem, incumbents, 8)[0]
        believed = beliefs.believe(torch.from_numpy(problem.pending_X), problem.tasks)
        worth = Worth.over(incumbents)
        found = uphill(space, batch.pool, problem, believed, worth, starts, seed=seed)
        found = [c for c in found if batch.is_new(c)]
        if found:
            batch.grow(found)

    def _graded(
        self,
        batch: Batch,
        race: Race,
        beliefs: Beliefs,
        incumbents: Incumbents,
        contenders: np.ndarray,
        worth: np.ndarray | None,
    ) -> bool:
        """Choose the candidate and the fidelity that are worth most for their cost; False where none is left."""
        every = levels(self.fidelities)
        of = self.fidelities[0].of
        scores = value_per_cost(batch.problem, race.believed, incumbents, contenders, every, of)
        scores = scores if worth is None else scores + worth[contenders, None]
        for place in descending(scores.ravel()):
            which, level = contenders[place // len(every)], every[place % len(every)]
            rest = np.append(which, contenders[contenders != which])
            method = "logEI per cost" if incumbents.found else "feasibility-search"
            ranking = np.append(scores.ravel()[place], np.sort(scores.max(1)[contenders != which])[::-1])
            if batch.free(int(which), level):
                row = batch.add(rest, ranking, method=method, note=beliefs.note, level=level)
                if row is not None:
                    batch.explain(beliefs, row)
                    return True
        return False

    def _sampled(self, beliefs: Beliefs) -> bool:
        """Whether Monte Carlo has something to add: models that are sampled, and few enough objectives to be quick."""
        modelled = any(o.name in beliefs.surrogates for o in self.objectives)
        return modelled and beliefs.gaussian and beliefs.plain and len(self.objectives) <= 3

    def _monte_carlo(
        self,
        problem: Problem,
        beliefs: Beliefs,
        incumbents: Incumbents,
        contenders: np.ndarray,
        seed: int,
        worth: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The short list, best first, and its scores."""
        dear = len(self.objectives) > 2  # one box decomposition a sample, and many boxes: a quarter of the effort
        listed = contenders[: self.shortlist // 2 if dear else self.shortlist]

        def points(X: np.ndarray, exact: dict[str, np.ndarray]) -> torch.Tensor:
            known = [beliefs.oriented(o, exact[o.name]) for o in self.objectives if o.name in exact]
            return torch.from_numpy(np.column_stack([X, *known]))

        baseline = incumbents.rows
        monte_carlo = MonteCarlo(
            beliefs,
            baseline=points(problem.observed_X[baseline], {n: e.observed[baseline] for n, e in problem.exact.items()}),
            reference=torch.from_numpy(incumbents.reference),
            samples=self.mc_samples // 4 if dear else self.mc_samples,
            seed=seed,
        )
        scores = monte_carlo.scores(
            points(problem.pool_X[listed], {n: e.pool[listed] for n, e in problem.exact.items()}),
            points(problem.pending_X, {n: e.pending for n, e in problem.exact.items()}),
        ).numpy()
        scores = scores if worth is None else scores + worth[listed]
        order = descending(scores)
        return listed[order], scores[order]


def descending(scores: np.ndarray) -> np.ndarray:
    """Indices of falling scores, nan last, ties in order of the rows: the same on every run."""
    return np.argsort(-np.nan_to_num(scores, nan=-np.inf, neginf=-np.inf), kind="stable")


class Batch:
    """The choices of one call as they are made, each the first in its ranking whose candidate is still free."""

    def __init__(
        self, pool: Pool, problem: Problem, taken: set[tuple[str, str]], q: int, price: Pricing | None = None
    ) -> None:
        self.problem, self.price = problem, price
        self._priced(pool)
        self.picks: list[dict[str, Any]] = []
        self._pool, self._taken, self._q = pool, taken, q
        self._rankings: list[tuple[np.ndarray, np.ndarray]] = []

    @property
    def full(self) -> bool:
        """True once there are as many choices as were asked for."""
        return len(self.picks) >= self._q

    @property
    def eligible(self) -> np.ndarray:
        """Rows of the pool that may be chosen."""
        return np.flatnonzero(self.problem.eligible)

    @property
    def pool(self) -> Pool:
        """Where candidates come from."""
        return self._pool

    def is_new(self, candidate: Candidate) -> bool:
        """True for a candidate that has not been taken in full and is not in the pool."""
        position = getattr(self._pool, "position_of", lambda c: None)(candidate)
        return (candidate.id, "") not in self._taken and position is None

    def grow(self, more: Sequence[Candidate]) -> None:
        """Let more candidates be chosen."""
        exact = exactly(list(self.problem.exact), more)
        eligible = allowed(self.problem.exact_constraints, exact, len(more))
        self.problem = self.problem.grown(self._pool.featurize(more), exact, eligible)
        self._pool = Grown(self._pool, more)
        self._priced(self._pool)

    def _priced(self, pool: Pool) -> None:
        """Price the candidates; what cannot end in time is out, unless nothing can."""
        self.prices = self.price(pool, self.problem) if self.price else None
        if self.prices is not None and (self.problem.eligible & self.prices.in_time).any():
            self.problem = replace(self.problem, eligible=self.problem.eligible & self.prices.in_time)

    def free(self, row: int, level: Level) -> bool:
        """True where a row has not been taken at a level."""
        return (self._pool[row].id, level.name) not in self._taken

    def add(self, rows: np.ndarray, scores: np.ndarray, level: Level = FULL, **said: Any) -> int | None:
        """Choose the first of ``rows`` that is free; None where none is."""
        for rank, row in enumerate(rows):
            candidate = self._pool[int(row)]
            if level.name:
                candidate = candidate.model_copy(update={"fidelity": level.name})
            if (candidate.id, level.name) in self._taken:  # listed twice, or not recognised by its features
                self.problem = self.problem.without(int(row))
                continue
            self._taken.add((candidate.id, level.name))
            self.problem = self.problem.with_pending(int(row), level.task)
            if self.prices is not None:
                said["effort"] = self.prices.of(int(row))
            self.picks.append({"candidate": candidate, "value": _finite(scores[rank]), **said})
            self._rankings.append((rows[rank + 1 :], scores[rank + 1 :]))
            return int(row)
        return None

    def explain(self, beliefs: Beliefs, row: int) -> None:
        """Add to the last pick what the models believed about it."""
        x = torch.from_numpy(self.problem.pool_X[row])
        exact = {name: float(e.pool[row]) for name, e in self.problem.exact.items()}
        log_feasibility = beliefs.appraise(x[None], {n: np.array([v]) for n, v in exact.items()}).log_feasibility
        self.picks[-1].update(
            predicted=beliefs.predictions(x, exact),
            feasibility=float(log_feasibility.exp().clamp(0.0, 1.0)),
            model_hash=beliefs.model_hash,
        )

    def choices(self, seen: str) -> list[Choice]:
        """The batch, each pick with the best candidate that was left."""
        return [
            Choice(data_hash=seen, runner_up=self._runner_up(*ranking), **pick)
            for pick, ranking in zip(self.picks, self._rankings, strict=True)
        ]

    def _runner_up(self, rows: np.ndarray, scores: np.ndarray) -> tuple[str, float] | None:
        for row, score in zip(rows, scores, strict=True):
            name = self._pool[int(row)].id
            if (name, "") not in self._taken:
                return name, _finite(score)
        return None


def _finite(score: float) -> float:
    return float(np.nan_to_num(score, nan=_WORST, posinf=-_WORST, neginf=_WORST))
