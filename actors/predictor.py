"""The predictor's actor: rules first, then a learned model: fitted to every result, or a version of the trainer's."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.generator import Block
from actors.orders import StageReport
from actors.spec import ScienceSpec
from models.errors import SpaceError
from models.observation import Observation
from models.pool import CandidatePool
from models.predictors.optimistic import optimistic_screen
from models.screening import screen
from models.spaces import EnumerableSpace

if TYPE_CHECKING:
    from models.predictors.version import Version

log = logging.getLogger(__name__)


class PredictorRole:
    """Screens candidates: which blocks pass the rules, and which of the pool the ensemble still believes in."""

    def __init__(self, spec: ScienceSpec) -> None:
        self._spec = spec
        self._space = spec.build_space()
        self._pool = CandidatePool(self._space)
        self._taken = 0
        self._counts: dict[str, int] = {}
        self._seconds = 0.0
        self._serving: tuple[str, Any] = ("", None)

    def rules(self, block: Block) -> Block:
        """Return the part of a block that passes the rules, and keep it for ``screen``."""
        begin = time.perf_counter()
        kept = block
        if self._spec.screening.rules:
            kept = self._apply_rules(block)
        self._pool.absorb(kept)
        self._taken += len(block)
        self._seconds += time.perf_counter() - begin
        return kept

    def _apply_rules(self, block: Block) -> Block:
        if not isinstance(self._space, EnumerableSpace):
            raise SpaceError("screening rules judge compositions, and this space has none: remove 'screening'")
        numbers = block if isinstance(block, np.ndarray) else np.array([self._space.index_of(c) for c in block])
        result = screen(self._spec.screening, self._space, numbers)
        for name, count in result.dropped.items():
            self._counts[name] = self._counts.get(name, 0) + count
        return numbers[result.mask]

    def forget(self) -> None:
        """Begin a new pool."""
        self._pool = CandidatePool(self._space)
        self._taken, self._counts, self._seconds = 0, {}, 0.0

    def screen(
        self,
        observations: Sequence[Observation],
        trained_on: int | None = None,
        model: str = "",
        version: Version | None = None,
    ) -> tuple[np.ndarray | None, list[StageReport]]:
        """Return which of the pool are worth the acquisition's time.

        Args:
            observations: all results.
            trained_on: how many of them the trainer's version knows; ``None``: there is no trainer, retrain here.
            model: hash of that version as the journal has it.
            version: itself; ``None`` where there is none yet.

        Returns:
            Mask over the pool, shape (n,), or ``None`` where everything passes (no predictor, too few results), and
            the reports of both stages: how many passed, and at what estimated false-negative rate.
        """
        rules = StageReport(
            stage="rules",
            taken=self._taken,
            passed=len(self._pool),
            seconds=round(self._seconds, 4),
            detail={name: float(count) for name, count in self._counts.items()},
        )
        if self._spec.predictor is None:
            return None, [rules]
        begin = time.perf_counter()
        mask, detail, note, used = None, {}, "", ""
        try:
            if trained_on is None:
                mask, detail = self._believed(observations)
            elif version is not None:
                used, predictor = self._swap_in(version)
                mask, detail = predictor.screen(self._pool, observations, fitted=True)
                if used != model:
                    note = f"the model after {trained_on} results was made again as {used}, not {model} (elsewhere?)"
        except Exception as error:  # without a screen the acquisition has more to look at, and the lab goes on
            log.exception("the screen broke, everything passes")
            note = f"the screen broke ({type(error).__name__}: {str(error)[:120]}), everything passed"
        report = StageReport(
            stage="ensemble",
            taken=len(self._pool),
            passed=len(self._pool) if mask is None else int(mask.sum()),
            seconds=round(time.perf_counter() - begin, 4),
            detail=detail,
            note=note,
            model=used,
        )
        return mask, [rules, report]

    def _swap_in(self, version: Version) -> tuple[str, Any]:
        """Let a version serve: all of it, or the one before where it cannot be read."""
        name = version.hash
        if name != self._serving[0]:
            predictor = self._spec.build_predictor(self._space)
            predictor.take_version(version)
            self._serving = (name, predictor)
        return self._serving

    def _believed(self, observations: Sequence[Observation]) -> tuple[np.ndarray | None, dict[str, float]]:
        spec, predictor = self._spec, self._spec.build_predictor(self._space)
        if hasattr(predictor, "screen"):
            return predictor.screen(self._pool, observations)
        screened = optimistic_screen(predictor, self._pool, observations, spec.objectives, spec.constraints)
        return screened.mask, screened.detail
