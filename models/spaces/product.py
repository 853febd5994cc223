"""Every candidate of a pool at every setting of dials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.candidate import Candidate
from models.errors import UnknownNameError
from models.roles import Condition
from models.spaces.base import EnumerableSpace, shuffled
from models.spaces.parameter import ParameterSpace

_AT = "@"
_NEAR = 16  # neighbours of a candidate among which a move goes
_LOOKED_AT = 2048  # candidates of the pool among which neighbours are looked for


class ProductSpace:
    """Candidates of a countable space times settings of dials: which alloy, annealed how.

    Infinite as its dials are, so ``size`` is None. Ids are ``<candidate>@<digest of the setting>``; features are those
    of the candidate (composition, structure) and of the dials.
    """

    size: int | None = None

    def __init__(self, candidates: EnumerableSpace, dials: ParameterSpace) -> None:
        self.candidates, self.dials = candidates, dials
        self.elements: tuple[str, ...] = candidates.elements
        self.feature_names: tuple[str, ...] = (*candidates.feature_names, *dials.feature_names)

    def propose(self, n: int, condition: Condition) -> list[Candidate]:
        """Return ``n`` pairs, each once; half of them near the incumbents, if any."""
        if n <= 0:
            return []
        local = self.neighbours(condition.incumbents, n // 2, condition.seed) if condition.incumbents else []
        out = {c.id: c for c in local}
        settings = self.dials.propose(n, Condition(seed=condition.seed, offset=condition.offset))
        for index, setting in zip(self._rounds(condition, len(settings)).tolist(), settings, strict=True):
            if len(out) >= n:
                break
            pair = self._pair(self.candidates[index], setting)
            out.setdefault(pair.id, pair)
        return list(out.values())

    def _rounds(self, condition: Condition, n: int) -> np.ndarray:
        """Numbers of ``n`` candidates: the whole pool in a seeded order, then again in another."""
        size, start, found = self.candidates.size, condition.offset, []
        while start < condition.offset + n:
            turn, place = divmod(start, size)
            stop = min(size, place + condition.offset + n - start)
            found.append(shuffled(size, condition.seed + turn, place, stop))
            start += stop - place
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def neighbours(self, incumbents: Sequence[Candidate], n: int, seed: int, shrink: float = 1.0) -> list[Candidate]:
        """Up to ``n`` moves away from incumbents: other dials, or a candidate that resembles, or both."""
        if not incumbents or n <= 0:
            return []
        rng = np.random.default_rng([seed, len(incumbents), 7])
        bases = [self.candidates.index_of(self._base(c)) for c in incumbents]
        looked_at = np.sort(rng.permutation(self.candidates.size)[:_LOOKED_AT])
        features = self.candidates.features_at(looked_at)
        spread = np.maximum(features.std(axis=0), 1e-12)
        near = []
        for own in self.candidates.features_at(np.array(bases)):
            gap = (((features - own) / spread) ** 2).sum(axis=1)
            near.append(looked_at[np.argsort(gap, kind="stable")[:_NEAR]])
        moved = self.dials.neighbours([self._setting(c) for c in incumbents], n, seed, shrink)
        found: dict[str, Candidate] = {}
        known = {c.id for c in incumbents}
        for k in range(2 * n):
            which = k % len(incumbents)
            index = int(rng.choice(near[which])) if rng.random() < 0.5 else bases[which]
            setting = moved[int(rng.integers(len(moved)))] if moved and rng.random() < 0.8 else None
            pair = self._pair(self.candidates[index], setting or self._setting(incumbents[which]))
            if pair.id not in known:
                found.setdefault(pair.id, pair)
            if len(found) >= n:
                break
        return list(found.values())

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Features of pairs, shape (len, d). Raises UnknownNameError, DataError."""
        if not candidates:
            return np.zeros((0, len(self.feature_names)))
        numbers = np.array([self.candidates.index_of(self._base(c)) for c in candidates], dtype=np.int64)
        return np.hstack([self.candidates.features_at(numbers), self.dials.featurize(candidates)])

    def _pair(self, candidate: Candidate, setting: Candidate) -> Candidate:
        return candidate.model_copy(
            update={
                "id": f"{candidate.id}{_AT}{setting.id.removeprefix('p-')}",
                "parameters": {**candidate.parameters, **setting.parameters},
            }
        )

    @staticmethod
    def _base(candidate: Candidate) -> str:
        base, at, _ = candidate.id.rpartition(_AT)
        if not at:
            raise UnknownNameError(f"{candidate.id!r} is no pair of a candidate and a setting")
        return base

    def _setting(self, candidate: Candidate) -> Candidate:
        own = {name: candidate.parameters[name] for name in self.dials.spec.parameters}
        return Candidate(id=f"p-{candidate.id.rpartition(_AT)[2]}", parameters=own)
