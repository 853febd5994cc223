"""The generator's actor: streams candidates in blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.spec import ScienceSpec
from models.candidate import Candidate
from models.roles import Condition
from models.spaces import EnumerableSpace

Block = np.ndarray | list[Candidate]
"""Numbers of candidates in a countable space, or the candidates themselves."""


class GeneratorRole:
    """Proposes candidates of the campaign's space, by the space itself or by a generator plug-in."""

    def __init__(self, spec: ScienceSpec) -> None:
        self._spec = spec
        self._space = spec.build_space()
        self._plugin = spec.generator.build("generators", space=self._space) if spec.generator else None

    def size(self) -> int | None:
        """How many candidates there are; ``None`` where they are proposed anew for each decision."""
        return None if self._plugin is not None else self._space.size

    def block(self, offset: int, n: int) -> Block:
        """The next ``n`` candidates of a countable space after ``offset``, in the campaign's seeded shuffle."""
        condition = Condition(seed=self._spec.seed, offset=offset)
        if isinstance(self._space, EnumerableSpace):
            return self._space.propose_indices(n, condition)
        return self._space.propose(n, condition)

    def fresh(self, n: int, seed: int, incumbents: Sequence[Candidate]) -> Block:
        """``n`` new proposals for one decision, some of them near the incumbents."""
        source = self._plugin or self._space
        return source.propose(n, Condition(seed=seed, incumbents=tuple(incumbents)))
