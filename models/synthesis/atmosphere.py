"""Which gas keeps a target: oxygen, air, an inert gas, or one that reduces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.synthesis.reactions import GASES, fixed_elements, released
from models.thermo import entries, formulas
from models.thermo.entries import Phase
from models.thermo.gibbs import ATMOSPHERES_bar, gas_eV, solids
from models.thermo.hull import Hull

_ZERO_C_IN_K = 273.15
_WORTH_eV_PER_ATOM = 0.03
"""What another gas must gain over the cheaper one before it is chosen: less than the error of the energies."""
_CHEAPEST_FIRST = ("air", "O2", "N2", "H2/N2")


def instability_eV_per_atom(formula: str, temperature_C: float) -> dict[str, float]:
    """Return atmosphere -> how far a target lies above what is stable in that gas, eV an atom of it; 0: stable.

    Empty for a target whose energy is not known. The gas gives or takes O2 (and N2, where the target holds nitrogen).

    Raises:
        DataError: no public data, not a formula, or nothing of it can be weighed.
    """
    atoms = formulas.atoms(formula)
    fixed = fixed_elements(atoms)
    around = solids(entries.phases({*atoms, "O"}))
    own = around.index.get(formulas.key_of(tuple(atoms.items())))
    if own is None:
        return {}
    kept = [i for i, phase in enumerate(around.phases) if set(phase.atoms) & set(fixed)]
    compositions = [around.phases[i].atoms for i in kept]
    sizes = np.array([sum(held.values()) for held in compositions])
    T_K = temperature_C + _ZERO_C_IN_K
    standing = around.at(T_K)[kept] * sizes
    given = released(compositions, fixed)
    out = {}
    for name in _CHEAPEST_FIRST:
        air = ATMOSPHERES_bar[name]
        gas = np.array([float(gas_eV(g, T_K, air[g])) for g in GASES])
        out[name] = _distance(compositions, standing - given @ gas, fixed, atoms, kept.index(own))
    return out


def _distance(
    compositions: list[Mapping[str, float]],
    costs: np.ndarray,
    fixed: tuple[str, ...],
    atoms: Mapping[str, float],
    own: int,
) -> float:
    """Return the height above the hull of the fixed elements, in an open gas."""
    kept = [{el: held[el] for el in fixed if el in held} for held in compositions]
    counts = np.array([sum(held.values()) for held in kept])
    hull = Hull([Phase("", held) for held in kept], costs / counts, np.zeros(len(kept)))
    goal = {el: atoms[el] for el in fixed}
    _, floor = hull.decompose(goal)
    return float((costs[own] / counts[own] - floor) * sum(goal.values()) / sum(atoms.values()))


def choose_atmosphere(formula: str, temperature_C: float) -> str:
    """Return the cheapest gas in which a target is as stable as in any, within the error of the energies.

    Air where its energy is not known; argon without oxygen in the target. Raises DataError like the above.
    """
    atoms = formulas.atoms(formula)
    if "O" not in atoms:
        return "N2" if "N" in atoms else "Ar"
    heights = instability_eV_per_atom(formula, temperature_C)
    if not heights:
        return "air"
    least = min(heights.values())
    return next(name for name in _CHEAPEST_FIRST if heights[name] <= least + _WORTH_eV_PER_ATOM)
