"""The acquisition's actor: holds the pool and chooses from it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from actors.generator import Block
from actors.orders import ChoiceAnswer, ChoiceOrder, StageReport
from actors.spec import ScienceSpec
from models.observation import Choice
from models.pool import CandidatePool

if TYPE_CHECKING:
    from models.acquisition.sweep import Sweep


class AcquisitionRole:
    """Chooses the next experiments from everything that was screened."""

    def __init__(self, spec: ScienceSpec) -> None:
        self._space = spec.build_space()
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

    def _choose(self, pool: CandidatePool, order: ChoiceOrder) -> list[Choice]:
        told = {"outlook": order.outlook} if order.outlook is not None else {}
        return self._acquisition.choose(pool, order.observations, order.pending, order.q, seed=order.seed, **told)

    def choose(self, order: ChoiceOrder, screened: tuple[np.ndarray | None, list[StageReport]]) -> ChoiceAnswer:
        """Answer an order from the candidates that the predictor's mask leaves."""
        mask, reports = screened
        begin = time.perf_counter()
        pool = self._pool if mask is None else self._pool.subset(mask)
        choices = self._choose(pool, order)
        if len(choices) < order.q and mask is not None:
            # The screen left too few that are new: what it dropped is better than an idle furnace.
            choices = self._choose(self._pool, order)
        report = StageReport(
            stage="acquisition", taken=len(pool), passed=len(choices), seconds=round(time.perf_counter() - begin, 4)
        )
        return ChoiceAnswer(choices=tuple(choices), stages=(*reports, report))
