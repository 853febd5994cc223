"""What published solid-state syntheses say of a compound: how near to it something was fired."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.blocks.composition import ELEMENTS
from models.predictors.known_compounds import Compound
from models.synthesis.precursor_library import encodings

_CHUNK = 256
_WIDTHS = (0.01, 0.05)
_RANKS = (0, 4, 19)
_EQUAL = 0.99999


class FiredCompounds:
    """Targets of published solid-state reactions, n of them, in three encodings of the composition."""

    def __init__(self, compounds: Sequence[Compound]) -> None:
        self.compounds = list(dict.fromkeys(compounds))
        fractions = fractions_of(self.compounds)
        self._encodings = encodings(fractions)
        self._has = (fractions > 0).astype(np.float32)

    def features(self, compounds: Sequence[Compound], *, look_up: bool = True) -> np.ndarray:
        """(m, 18) float32: nearest, fifth and twentieth cosine and densities in each encoding; in the system; itself.

        ``look_up``: where false, an equal composition does not count.
        """
        out = np.zeros((len(compounds), 18), dtype=np.float32)
        if not self.compounds:
            return out
        for start in range(0, len(compounds), _CHUNK):
            fractions = fractions_of(compounds[start : start + _CHUNK])
            cosines = [a @ b.T for a, b in zip(encodings(fractions), self._encodings, strict=True)]
            itself = cosines[0] > _EQUAL
            counts = np.ones_like(cosines[0]) if look_up else 1.0 - itself
            columns: list[np.ndarray] = []
            for cosine in cosines:
                seen = np.where(counts > 0, cosine, -1.0)
                most = -np.sort(-np.partition(seen, -min(20, seen.shape[1]), axis=1)[:, -20:], axis=1)
                columns += [most[:, min(rank, most.shape[1] - 1)] for rank in _RANKS]
                columns += [np.log(np.exp((seen - 1.0) / width).sum(axis=1) + 1e-9) for width in _WIDTHS]
            has = (fractions > 0).astype(np.float32)
            within = (has @ self._has.T == has.sum(axis=1, keepdims=True)) & (counts > 0)
            same = within & (self._has.sum(axis=1)[None] == has.sum(axis=1, keepdims=True))
            columns += [np.log1p(same.sum(axis=1)), np.log1p(within.sum(axis=1)), (itself * counts).max(axis=1)]
            out[start : start + _CHUNK] = np.stack(columns, axis=1)
        return out


def fractions_of(compounds: Sequence[Compound]) -> np.ndarray:
    """(n, 94) float32."""
    out = np.zeros((len(compounds), ELEMENTS), dtype=np.float32)
    for i, one in enumerate(compounds):
        for z, share in one:
            out[i, z - 1] = share
    return out
