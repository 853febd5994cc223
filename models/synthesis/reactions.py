"""Balanced solid-state reactions, all at once: linear algebra over sets of precursors, open to gases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.errors import DataError

GASES = ("O2", "CO2", "H2O", "N2", "NO2", "NH3")
"""What a reaction may take up (O2, N2, CO2, H2O) or give off."""
VOLATILE = ("O", "C", "H", "N")
_ZERO = 1e-9


@dataclass(frozen=True, eq=False)
class Reactions:
    """Balanced reactions to one target, one a set of precursors.

    Attributes:
        sets: (m, c) index of the precursors in the list given; -1 where a reaction has fewer.
        coefficients: (m, c) formula units for one formula unit of the target; 0 at -1.
        gases: (m, 6) molecules of ``GASES`` given off (negative: taken up) for one formula unit of the target.
        fixed: elements that no gas brings or takes.
    """

    sets: np.ndarray
    coefficients: np.ndarray
    gases: np.ndarray
    fixed: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sets)


def fixed_elements(target: Mapping[str, float]) -> tuple[str, ...]:
    """Return the elements of a target that must be weighed: all but O, H and N, which gases give.

    Raises:
        DataError: there are none.
    """
    found = tuple(sorted(set(target) - {"O", "H", "N"}))
    if not found:
        raise DataError("nothing of this target can be weighed: it is made of gases")
    return found


def released(compositions: Sequence[Mapping[str, float]], fixed: Sequence[str]) -> np.ndarray:
    """Return the gases (n, 6) that each composition gives off when only its fixed elements stay, with O2 to balance.

    Carbon leaves as CO2, hydrogen as H2O; nitrogen of ammonium salts as NH3, of nitrates as NO2, else as N2. A
    negative amount of O2 is taken up (a metal).
    """
    out = np.zeros((len(compositions), len(GASES)))
    for row, atoms in zip(out, compositions, strict=True):
        oxygen, carbon, hydrogen, nitrogen = (atoms.get(el, 0.0) if el not in fixed else 0.0 for el in VOLATILE)
        ammonia = nitrogen if hydrogen >= 3 * nitrogen else 0.0
        nitrate = nitrogen if not ammonia and oxygen >= 2 * nitrogen else 0.0
        water = (hydrogen - 3 * ammonia) / 2
        rest = (oxygen - 2 * carbon - water - 2 * nitrate) / 2
        row[:] = rest, carbon, water, (nitrogen - ammonia - nitrate) / 2, nitrate, ammonia
    return out


def enumerate_reactions(
    target: Mapping[str, float], precursors: Sequence[Mapping[str, float]], *, at_most: int = 200_000
) -> Reactions:
    """Return every balanced reaction to a target from as many precursors as it has fixed elements, or fewer.

    Args:
        target: element -> atoms a formula unit.
        precursors: the same, of each available powder; those with a fixed element that the target lacks are not used.
        at_most: sets to try; of more, those of the precursors listed first.

    Returns:
        Reactions whose coefficients are unique (a basis) and positive. A set whose precursors can be mixed in any
        ratio (CoO with Co3O4) gives none beside the ones of its parts.

    Raises:
        DataError: the target holds nothing that can be weighed.
    """
    fixed = fixed_elements(target)
    column = {el: j for j, el in enumerate(fixed)}
    goal = np.array([target[el] for el in fixed])
    allowed = {*fixed, *VOLATILE}
    usable = [i for i, atoms in enumerate(precursors) if set(atoms) <= allowed and set(atoms) & set(fixed)]
    matrix = np.zeros((len(usable), len(fixed)))
    for row, i in zip(matrix, usable, strict=True):
        for el, n in precursors[i].items():
            if el in column:
                row[column[el]] = n
    sets = covering_sets(matrix, at_most)
    if not len(sets):
        return Reactions(np.zeros((0, len(fixed)), int), np.zeros((0, len(fixed))), np.zeros((0, len(GASES))), fixed)
    blocks = matrix[sets].transpose(0, 2, 1)  # (m, fixed, c)
    regular = np.abs(np.linalg.det(blocks)) > _ZERO
    sets, blocks = sets[regular], blocks[regular]
    amounts = np.linalg.solve(blocks, np.broadcast_to(goal[:, None], (len(sets), len(fixed), 1)))[..., 0]
    amounts[np.abs(amounts) < _ZERO] = 0.0
    positive = (amounts >= 0).all(axis=1)
    sets, amounts = sets[positive], amounts[positive]
    index = np.where(amounts > 0, np.array(usable)[sets], -1)
    order = np.argsort(-index, axis=1)
    index, amounts = np.take_along_axis(index, order, 1), np.take_along_axis(amounts, order, 1)
    index, first = np.unique(index, axis=0, return_index=True)
    amounts = amounts[first]
    gas = released(precursors, fixed)
    given = np.einsum("mc,mcg->mg", amounts, gas[index]) - released([target], fixed)[0]
    return Reactions(index, amounts, np.where(np.abs(given) < _ZERO, 0.0, given), fixed)


def covering_sets(matrix: np.ndarray, at_most: int) -> np.ndarray:
    """Return sets of as many rows as there are columns, (m, c), in which every column has a row that is not zero."""
    n, c = matrix.shape
    if n < c:
        return np.zeros((0, c), int)
    masks = (matrix > 0) @ (1 << np.arange(c))
    full = (1 << c) - 1
    found = []
    for chosen in itertools.combinations(range(n), c):
        held = 0
        for i in chosen:
            held |= int(masks[i])
        if held == full:
            found.append(chosen)
            if len(found) >= at_most:
                break
    return np.array(found, int).reshape(-1, c)
