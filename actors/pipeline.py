"""The science as the controller sees it: generators stream, predictors screen, the acquisition chooses.

The data flows one way, from role to role, without passing through the controller: a block that the generator proposes
goes to the predictor's rules, what passes goes to the acquisition's pool.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from actors.crew import Crew
from actors.errors import ComputeLost
from actors.orders import ChoiceAnswer, ChoiceOrder, Offer, Recipe, StageReport, TrainingOrder, TrainingReport
from actors.spec import ScienceSpec
from models.acquisition.hypervolume import pareto_front
from models.candidate import Candidate
from models.explanation import Explanation
from models.observation import Observation
from models.registry import resolve
from models.synthesis.trial import Trial

BLOCK = 4096
IN_FLIGHT = 4
INCUMBENTS = 8
VERSIONS = 4
"""Versions of the predictor that are kept at hand; an older one is asked for again."""


class Pipeline:
    """Answers orders with a crew; survives the crew's death (``actors.orders.Science``).

    Args:
        spec: the scientific part of the campaign.
        crew: who does the work.
        on_restart: told the reason when the crew was lost and is started again.
        restarts: how often in a row a lost crew is started again before giving up.
    """

    def __init__(
        self,
        spec: ScienceSpec,
        crew: Crew,
        *,
        on_restart: Callable[[str], None] = lambda reason: None,
        restarts: int = 3,
    ) -> None:
        self.spec, self.crew = spec, crew
        self._on_restart, self._restarts = on_restart, restarts
        self._generation = 0
        self._started = False
        self._filled = False
        self._versions: dict[int, Any] = {}
        self._gate = asyncio.Lock()
        self._choosing = asyncio.Lock()

    async def choose(self, order: ChoiceOrder) -> ChoiceAnswer:
        """Fill the pool where it is not filled yet, screen it and choose. Raises ComputeLost."""

        async def work() -> ChoiceAnswer:
            generated = await self._fill(order)
            screened = self._screen(order)
            answer = await self.crew.result(self.crew.submit("acquisition", "choose", order, screened))
            stage = StageReport(stage="generator", taken=generated, passed=generated)
            return answer.model_copy(update={"stages": (stage, *answer.stages)})

        async with self._choosing:
            return await self._persist(work)

    async def explain(
        self,
        order: ChoiceOrder,
        candidate: Candidate,
        before: tuple[Observation, ...] = (),
        after: tuple[Observation, ...] = (),
    ) -> Explanation:
        """Explain the choice of a candidate; see ``models.acquisition.explain``. Raises ComputeLost."""

        async def work() -> Explanation:
            await self._fill(order)
            screened = self._screen(order)
            return await self.crew.result(
                self.crew.submit("acquisition", "explain", order, screened, candidate, before, after)
            )

        async with self._choosing:
            return await self._persist(work)

    @property
    def learns(self) -> bool:
        """True where the campaign's planner wants to be told what came of earlier routes."""
        return hasattr(resolve("planners", self.spec.planner.name), "learn")

    async def plan(self, candidate: Candidate, offers: tuple[Offer, ...], trials: tuple[Trial, ...] = ()) -> Recipe:
        """Plan and compile one candidate. Raises ComputeLost."""

        async def work() -> Recipe:
            return await self.crew.result(self.crew.submit("planner", "plan", candidate, offers, trials))

        return await self._persist(work)

    async def train(self, order: TrainingOrder) -> TrainingReport:
        """Train a version of the predictor, while choices and plans go on. Raises ComputeLost."""

        async def work() -> TrainingReport:
            report = await self.crew.result(self.crew.submit("trainer", "train", order))
            # Fetched at once: a decision that needs it must not wait behind the next training.
            n = report.n_observations
            self._versions = {n: self.crew.submit("trainer", "version", order.observations), **self._versions}
            self._versions = dict(list(self._versions.items())[:VERSIONS])
            return report

        return await self._persist(work)

    async def warm_up(self) -> None:
        """Start the crew, so that the first order does not wait for it. Raises ComputeLost."""
        await self._ensure_started()

    async def close(self) -> None:
        """Let the crew go."""
        await self.crew.close()

    async def _persist(self, work: Callable[[], Any]) -> Any:
        for left in reversed(range(self._restarts + 1)):
            generation = self._generation
            try:
                await self._ensure_started()
                return await work()
            except self.crew.lost as error:
                if not left:
                    raise ComputeLost(
                        f"the compute was lost {self._restarts + 1} times in a row, at last: {_first_line(error)}. "
                        "`athanor doctor` tests it; `athanor resume` goes on when it works, nothing is lost."
                    ) from error
                await self._restart(generation, _first_line(error))
        raise ComputeLost("no attempt was allowed")

    async def _ensure_started(self) -> None:
        async with self._gate:
            if not self._started:
                await self.crew.start(self.spec)
                self._started = True

    async def _restart(self, generation: int, reason: str) -> None:
        """Start the crew again, once for all who saw it die."""
        async with self._gate:
            if generation == self._generation:
                self._generation += 1
                self._started = self._filled = False
                self._versions = {}
                self._on_restart(reason)

    def _screen(self, order: ChoiceOrder) -> Any:
        """The predictor's mask, by the version that the order names."""
        version, n = None, order.trained_on
        if n:
            version = self._versions.get(n)
            if version is None:
                version = self.crew.submit("trainer", "version", order.observations[:n])
        return self.crew.submit("predictor", "screen", order.observations, n, order.model, version)

    async def _fill(self, order: ChoiceOrder) -> int:
        """Stream the generator's candidates through the rules into the pool; return how many there were."""
        size = await self.crew.result(self.crew.submit("generator", "size"))
        if size is not None and self._filled:
            return size
        for role in ("predictor", "acquisition"):
            self.crew.submit(role, "forget")
        if size is None:
            block = self.crew.submit("generator", "fresh", self.spec.pool_size, order.seed, self._incumbents(order))
            await self._pass_on(block)
            return self.spec.pool_size
        under_way: deque[Any] = deque()
        for offset in range(0, size, BLOCK):
            block = self.crew.submit("generator", "block", offset, min(BLOCK, size - offset))
            under_way.append(asyncio.ensure_future(self._pass_on(block)))
            if len(under_way) >= IN_FLIGHT:
                await under_way.popleft()
        for rest in under_way:
            await rest
        self._filled = True
        return size

    async def _pass_on(self, block: Any) -> None:
        kept = self.crew.submit("predictor", "rules", block)
        await self.crew.result(self.crew.submit("acquisition", "absorb", kept))

    def _incumbents(self, order: ChoiceOrder) -> list[Candidate]:
        """The best results so far, for generators to search near; none while the start still covers the space."""
        import numpy as np

        if len(order.observations) + len(order.pending) < self.spec.acquisition.settings.get("initial", INCUMBENTS):
            return []
        objectives, constraints = self.spec.objectives, self.spec.constraints
        good = [
            o
            for o in order.observations
            if all(x.name in o.values for x in objectives)
            and all(c.name in o.values and c.satisfied(o.values[c.name]) for c in constraints)
        ]
        if not good:
            return []
        signs = [objective.sign for objective in objectives]
        values = np.array([[o.values[x.name] for x in objectives] for o in good])
        if len(objectives) == 1:
            order_best = np.argsort(-signs[0] * values[:, 0], kind="stable")
        else:
            order_best = pareto_front(values, signs)
        return [good[i].candidate for i in order_best[:INCUMBENTS]]


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]
