"""Phases that could form instead of the target from the same precursors, and how strongly they are driven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from models.synthesis.reactions import Reactions

_BATCH = 2_000_000
"""Numbers in the largest array at a time."""


@dataclass(frozen=True, eq=False)
class Competition:
    """What competes with the target in each of m reactions.

    Attributes:
        energies_eV_per_atom: (m, p) energy of the reaction of the precursors to each phase, an atom of that phase;
            nan where they cannot form it or it needs only one of them.
        expected: (m,) number of competing phases to expect: the sum of their probabilities of a negative energy.
        count: (m,) phases with a negative reaction energy.
        strongest_eV_per_atom: (m,) the most negative of the energies, 0 where nothing competes.
    """

    energies_eV_per_atom: np.ndarray
    expected: np.ndarray
    count: np.ndarray
    strongest_eV_per_atom: np.ndarray


def compete(
    reactions: Reactions,
    precursors: Sequence[Mapping[str, float]],
    precursor_eV: np.ndarray,
    phases: Sequence[Mapping[str, float]],
    phase_eV: np.ndarray,
    std_eV_per_atom: np.ndarray,
) -> Competition:
    """Return the competition for every reaction.

    Args:
        reactions: m reactions to the target.
        precursors: element -> atoms a formula unit of each precursor.
        precursor_eV: their energies a formula unit, less those of the gases that they give off.
        phases: the same of p other phases made of the same elements.
        phase_eV: the same of them.
        std_eV_per_atom: (p,) standard deviation of the energy of each phase.

    A phase competes where two or more of the precursors of a reaction give it, with gases to balance. Every reaction is
    a set of as many precursors as there are fixed elements, or fewer; which phases a set can give follows from the
    pseudo-inverse of its composition matrix.
    """
    fixed = reactions.fixed
    m, c, p = len(reactions), reactions.sets.shape[1], len(phases)
    energies = np.full((m, p), np.nan)
    if p and m:
        goal = np.array([[atoms.get(el, 0.0) for el in fixed] for atoms in phases])  # (p, fixed)
        sizes = np.array([sum(atoms.values()) for atoms in phases])
        columns = np.array([[atoms.get(el, 0.0) for el in fixed] for atoms in precursors] + [[0.0] * len(fixed)])
        costs = np.append(precursor_eV, 0.0)
        step = max(1, _BATCH // (p * max(c, len(fixed))))
        for start in range(0, m, step):
            sets = reactions.sets[start : start + step]
            blocks = columns[sets].transpose(0, 2, 1)  # (k, fixed, c); a missing precursor is a column of zeros
            amounts = np.einsum("kcf,pf->kpc", np.linalg.pinv(blocks), goal)
            exact = np.abs(np.einsum("kfc,kpc->kpf", blocks, amounts) - goal).max(axis=2) < 1e-6
            possible = exact & (amounts > -1e-8).all(axis=2) & ((amounts > 1e-6).sum(axis=2) >= 2)
            energy = (phase_eV - np.einsum("kpc,kc->kp", amounts, costs[sets])) / sizes
            energies[start : start + step] = np.where(possible, energy, np.nan)
    known = np.where(np.isnan(energies), 1.0, energies)
    chance = ndtr(-known / np.maximum(std_eV_per_atom, 1e-6)) * ~np.isnan(energies) if p else np.zeros((m, 0))
    return Competition(
        energies,
        chance.sum(axis=1),
        (known < 0).sum(axis=1),
        np.minimum(known.min(axis=1, initial=0.0), 0.0),
    )
