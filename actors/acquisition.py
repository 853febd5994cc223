"""The acquisition's actor: holds the pool and chooses from it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from actors.generator import Block
from actors.orders import ChoiceAnswer, ChoiceOrder, StageReport
from actors.spec import ScienceSpec
from models.acquisition.last_resort import choose_safely
from models.candidate import Candidate
from models.explanation import Explanation
from models.observation import Choice, Observation
from models.pool import CandidatePool
from models.prospects import Prospects

if TYPE_CHECKING:
    from models.acquisition.bayes import BayesAcquisition
    from models.acquisition.sweep import Sweep

log = logging.getLogger(__name__)


class AcquisitionRole:
    """Chooses the next experiments from everything that was screened."""

    def __init__(self, spec: ScienceSpec) -> None:
        self._spec, self._space = spec, spec.build_space()
        self._pool = CandidatePool(self._space)
        self._acquisition = spec.build_acquisition()

    def spread(self, sweep: Sweep) -> None:
        """Let passes over large pools be made elsewhere, where the acquisition makes any."""
        if hasattr(self._acquisition, "sweep"):
            self._acquisition.sweep = sweep

    def absorb(self, block: Block) -> int:
        """Add a screened block to the pool; return the pool's size."""
        self._pool.absorb(block)
        return len(self._pool)

    def forget(self) -> None:
        """Begin a new pool."""
        self._pool = CandidatePool(self._space)

    def choose(self, order: ChoiceOrder, screened: tuple[np.ndarray | None, list[StageReport]]) -> ChoiceAnswer:
        """Answer an order from the candidates that the predictor's mask leaves."""
        mask, reports = screened
        begin = time.perf_counter()
        pool = self._pool if mask is None else self._pool.subset(mask)
        choices = self._choose(pool, order)
        if len(choices) < order.q and mask is not None:
            # The screen left too few that are new: what it dropped is better than an idle furnace.
            choices = self._choose(self._pool, order)
        notes = [*(report.note for report in reports), *(choice.note for choice in choices)]
        prospects = None
        if self._spec.looks_ahead:
            try:
                choices, prospects = self._look_ahead(pool, order, choices)
            except Exception as error:  # the choices stand; what they are worth is not known
                log.exception("what there is to gain could not be worked out")
                notes.append(f"no prospects ({type(error).__name__}: {str(error)[:120]})")
        report = StageReport(
            stage="acquisition", taken=len(pool), passed=len(choices), seconds=round(time.perf_counter() - begin, 4)
        )
        return ChoiceAnswer(
            choices=tuple(choices),
            stages=(*reports, report),
            prospects=prospects,
            fallbacks=tuple(dict.fromkeys(filter(None, notes))),
            waits=getattr(self._acquisition, "waits", False),
        )

    def _choose(self, pool: CandidatePool, order: ChoiceOrder) -> list[Choice]:
        told = {"outlook": order.outlook} if order.outlook is not None else {}
        return choose_safely(
            lambda: self._acquisition.choose(pool, order.observations, order.pending, order.q, seed=order.seed, **told),
            pool,
            order.observations,
            order.pending,
            order.q,
            constraints=self._spec.constraints,
            seed=order.seed,
        )

    def _look_ahead(
        self, pool: CandidatePool, order: ChoiceOrder, choices: list[Choice]
    ) -> tuple[list[Choice], Prospects | None]:
        from models.acquisition.look_ahead import look_ahead

        return look_ahead(
            self._modeller(),
            pool,
            order.observations,
            order.pending,
            choices,
            seed=order.seed,
            measure_at_most=self._spec.measure_at_most,
        )

    def _modeller(self) -> BayesAcquisition:
        from models.acquisition.study import modeller

        return modeller(self._acquisition, self._spec.objectives, self._spec.constraints)

    def explain(
        self,
        order: ChoiceOrder,
        screened: tuple[np.ndarray | None, list[StageReport]],
        candidate: Candidate,
        before: tuple[Observation, ...],
        after: tuple[Observation, ...],
    ) -> Explanation:
        """What the models believed about a candidate of an order, and what its result taught (``explain``)."""
        from models.acquisition.explain import explain

        mask, _ = screened
        return explain(
            self._modeller(),
            self._pool if mask is None else self._pool.subset(mask),
            order.observations,
            order.pending,
            candidate,
            seed=order.seed,
            before=before,
            after=after,
        )
