"""The cheapest mixture of phases with a given composition, by the simplex method: one facet of a convex hull."""

from __future__ import annotations

import numpy as np

from models.errors import DataError

_ZERO = 1e-10
_STEPS = 2000


def cheapest(shares: np.ndarray, costs: np.ndarray, goal: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return the basis (c,), indices of the phases whose mixture makes ``goal`` at the least cost.

    Args:
        shares: (n, c) share of each of c elements in each phase.
        costs: (n,) of an atom of each phase.
        goal: (c,) shares to be made.
        basis: (c,) phases to start from, able to make the goal (the pure elements always are; so is the optimum
            for other costs).

    Raises:
        DataError: it does not end; the data hold numbers that are not finite.
    """
    basis = np.array(basis)
    for step in range(_STEPS):
        inverse = np.linalg.inv(shares[basis].T)  # columns of the basis matrix are the phases
        prices = costs[basis] @ inverse
        gains = costs - shares @ prices
        gains[basis] = 0.0
        # The steepest gain first; after long without an end the first gain, which cannot go round in circles (Bland).
        enters = int(np.argmin(gains)) if step < 200 else int(np.argmax(gains < -_ZERO))
        if not gains[enters] < -_ZERO:
            return basis
        amounts, direction = inverse @ goal, inverse @ shares[enters]
        limits = np.where(
            direction > _ZERO, np.maximum(amounts, 0.0) / np.where(direction > _ZERO, direction, 1), np.inf
        )
        tied = np.flatnonzero(limits <= limits.min() + 1e-14)
        basis[tied[np.argmin(basis[tied])]] = enters
    raise DataError("the hull of these phases was not found: check their energies for numbers that are not finite")
