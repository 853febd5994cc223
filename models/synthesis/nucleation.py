"""The barrier to a target's first nuclei, from the energy of its reaction and how well it grows on its precursors."""

from __future__ import annotations

import numpy as np

INTERFACE_J_PER_M2 = 2.0
"""Energy of an interface between unlike oxides, as Aykol et al. take it."""
TRANSPORT_eV = 10.0
"""What it costs at most to rearrange the atoms: of a target quite unlike its precursors."""
BARRIER_RESOLUTION = 1.1
PHASES_RESOLUTION = 0.5
_J_PER_M2_IN_eV_PER_A2 = 0.0624151


def barrier_eV(driving_eV_per_A3: np.ndarray, epitaxy: np.ndarray, unlikeness: np.ndarray) -> np.ndarray:
    """Return the barrier to heterogeneous nucleation in eV, inf where the reaction has no driving force.

    ``16/3 pi s^3 f / dG_v^2 + 10 eV q_s``, with ``f = (2 - 3 S + S^3) / 4``, ``S = 1 - 2 q`` and ``q`` the mean of
    ``epitaxy`` and ``unlikeness``.

    Args:
        driving_eV_per_A3: reaction energy for a volume of the target; negative: driven.
        epitaxy: 0 (the target's lattice fits a precursor's) to 1 (it fits none), a quantile among pairs of crystals.
        unlikeness: 0 (built like a precursor) to 1, a quantile too.

    Citation: Aykol, Montoya, Hummelshoj, J. Am. Chem. Soc. 143, 9244 (2021), doi:10.1021/jacs.1c04888.
    """
    mean = (np.asarray(epitaxy) + np.asarray(unlikeness)) / 2
    cosine = 1 - 2 * mean
    shape = (2 - 3 * cosine + cosine**3) / 4
    surface = INTERFACE_J_PER_M2 * _J_PER_M2_IN_eV_PER_A2
    driven = np.minimum(driving_eV_per_A3, -1e-9)
    height = 16 / 3 * np.pi * surface**3 * shape / driven**2 + TRANSPORT_eV * np.asarray(unlikeness)
    return np.where(np.asarray(driving_eV_per_A3) < 0, height, np.inf)


def pareto_front(barrier_eV: np.ndarray, competition: np.ndarray) -> np.ndarray:
    """Return which reactions (n,) no other one beats in barrier and competition.

    Beaten is what another equals or betters in both, and betters in one by more than the numbers are good for: a tenth
    of the barrier, or half a competing phase. A reaction that is not driven is never on the front.
    """
    front = np.isfinite(barrier_eV)
    rows = np.flatnonzero(front)
    b, c = barrier_eV[rows], competition[rows]
    for i, row in enumerate(rows):
        no_worse = (b <= b[i]) & (c <= c[i])
        front[row] = not (no_worse & ((b < b[i] / BARRIER_RESOLUTION) | (c < c[i] - PHASES_RESOLUTION))).any()
    return front
