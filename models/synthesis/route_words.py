"""What is said of a reaction: its equation, its numbers, and the reason to take it or leave it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from models.synthesis.landscape import Landscape
from models.synthesis.precursor_list import spelled
from models.synthesis.reactions import GASES


def numbers(found: Landscape, row: int) -> dict[str, float]:
    """Return what a chemist may argue with about a reaction, the unit in the name."""
    s = found.stability
    out = {
        "reaction_energy_eV_per_atom": found.energy_eV_per_atom[row],
        "reaction_energy_std_eV_per_atom": found.std_eV_per_atom[row],
        "driven_above_C": found.onset_C[row],
        "nucleation_barrier_eV": found.barrier_eV[row],
        "lattice_mismatch_quantile": found.epitaxy[row],
        "unlikeness_quantile": found.unlikeness[row],
        "competing_phases": found.competition.count[row],
        "competing_phases_expected": found.competition.expected[row],
        "strongest_competitor_eV_per_atom": found.competition.strongest_eV_per_atom[row],
        "on_pareto_front": found.front[row],
        "e_above_hull_eV_per_atom": s.e_above_hull_eV_per_atom,
        "probability_within_50_meV_of_hull": s.probability.get(50, np.nan),
    }
    return {name: round(float(x), 6) for name, x in out.items() if np.isfinite(x)}


def equation(found: Landscape, row: int) -> str:
    """Return the balanced reaction in words: ``BaCO3 + TiO2 -> BaTiO3 + CO2``."""
    sets, amounts, gas = found.reactions.sets[row], found.reactions.coefficients[row], found.reactions.gases[row]
    left = [(x, spelled(found.precursors[i].phase.formula)) for i, x in zip(sets, amounts, strict=True) if i >= 0]
    left += [(-x, name) for x, name in zip(gas, GASES, strict=True) if x < 0]
    right = [(1.0, found.formula), *((x, name) for x, name in zip(gas, GASES, strict=True) if x > 0)]
    return " -> ".join(" + ".join(_term(x, name) for x, name in side) for side in (left, right))


def reason(found: Landscape, row: int) -> str:
    """Return why a route, in words and numbers."""
    count = int(found.competition.count[row])
    barrier, energy = found.barrier_eV[row], found.energy_eV_per_atom[row]
    height = (
        f"nucleation barrier {barrier:.2f} eV" if np.isfinite(barrier) else "no driving force: it will not nucleate"
    )
    rivals = "nothing competes"
    if count:
        strongest = found.competitors[int(np.nanargmin(found.competition.energies_eV_per_atom[row]))]
        rivals = (
            f"{count} phase{'s compete' if count > 1 else ' competes'}, most strongly {spelled(strongest.formula)} "
            f"({found.competition.strongest_eV_per_atom[row]:+.3f})"
        )
    front = "; on the Pareto front of barrier and competition" if found.front[row] else ""
    return (
        f"{equation(found, row)}: {energy:+.3f} +- {found.std_eV_per_atom[row]:.3f} eV an atom at "
        f"{found.temperature_C:.0f} C in {found.atmosphere}; {height}; {rivals}{front}"
    )


def _term(amount: float, name: str) -> str:
    part = Fraction(amount).limit_denominator(24)
    if abs(float(part) - amount) > 1e-4 * amount:
        return f"{amount:.3g} {name}"
    return name if part == 1 else f"{part} {name}"
