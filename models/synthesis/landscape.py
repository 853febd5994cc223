"""All reactions to one target at one temperature in one atmosphere, with what speaks for and against each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.errors import DataError
from models.synthesis import precursor_list
from models.synthesis.competition import Competition, compete
from models.synthesis.likeness import Likeness
from models.synthesis.nucleation import barrier_eV, pareto_front
from models.synthesis.precursor_list import VOLATILE, Precursor
from models.synthesis.reactions import GASES, Reactions, enumerate_reactions, released
from models.thermo import entries, formulas
from models.thermo.corrections import shipped
from models.thermo.entries import GRID_K, Phase
from models.thermo.gibbs import ATMOSPHERES_bar, Solids, gas_eV, interpolate, solids
from models.thermo.hull import Stability, computed_hull

_ZERO_C_IN_K = 273.15
_COMPETES_WITHIN_eV_PER_ATOM = 0.025
"""Phases further above the hull are not expected in a furnace, and do not compete."""
_GUESSED_STD_eV_PER_ATOM = 0.05
_ATOM_VOLUME_A3 = 12.0


@dataclass(frozen=True, eq=False)
class Landscape:
    """Every reaction to a target (m of them) and what is known of it.

    Attributes:
        formula: as it was asked for.
        target: with its energies; a composition that no table knows is taken to lie on the hull.
        known: False for such a composition.
        stability: of the target at 0 K.
        precursors: what the reactions draw on; ``reactions.sets`` are indices into it.
        reactions: balanced, for one formula unit.
        temperature_C: for which the energies are.
        atmosphere: the same.
        energy_eV_per_atom: (m,) of the reaction, an atom of the target.
        std_eV_per_atom: (m,) of it.
        onset_C: (m,) lowest temperature from which the reaction is driven; nan where it never is.
        epitaxy, unlikeness: (m,) quantiles of the best precursor, see ``models.synthesis.nucleation``.
        barrier_eV: (m,) to nucleation.
        competitors: the p phases that may compete.
        competition: with them.
        front: (m,) on the Pareto front of barrier and competition.
    """

    formula: str
    target: Phase
    known: bool
    stability: Stability
    precursors: tuple[Precursor, ...]
    reactions: Reactions
    temperature_C: float
    atmosphere: str
    energy_eV_per_atom: np.ndarray
    std_eV_per_atom: np.ndarray
    onset_C: np.ndarray
    epitaxy: np.ndarray
    unlikeness: np.ndarray
    barrier_eV: np.ndarray
    competitors: tuple[Phase, ...]
    competition: Competition
    front: np.ndarray

    def set_of(self, row: int) -> list[Precursor]:
        """Return the precursors of a reaction."""
        return [self.precursors[i] for i in self.reactions.sets[row] if i >= 0]


def survey(
    formula: str, temperature_C: float, atmosphere: str = "air", precursors: Sequence[Precursor] | None = None
) -> Landscape:
    """Return all reactions to a target from the available precursors, or from those given.

    Raises:
        DataError: no public data, not a formula, or nothing of it can be weighed.
    """
    atoms = formulas.atoms(formula)
    chosen = tuple(precursor_list.available(atoms) if precursors is None else precursors)
    if not chosen:
        raise DataError(
            f"no powder of the elements of {formula} is in use and has a known energy; choose another target"
        )
    reactions = enumerate_reactions(atoms, [p.phase.atoms for p in chosen])
    volatile = {"O", "C"} | {el for p in chosen for el in p.phase.atoms}
    around = solids(entries.phases(set(atoms) | volatile - {"H", "N"}))
    starting = solids(tuple(p.phase for p in chosen))
    if len(starting.phases) < len(chosen):
        kept = {phase.key for phase in starting.phases}
        return survey(formula, temperature_C, atmosphere, [p for p in chosen if p.phase.key in kept])
    stability = computed_hull(set(atoms) | {"O"}).stability(atoms)
    target, known, curve, spread = _target(atoms, stability, around)

    fixed, T_K = reactions.fixed, temperature_C + _ZERO_C_IN_K
    air = ATMOSPHERES_bar[atmosphere]
    gases = np.array([gas_eV(gas, GRID_K, air[gas]) for gas in GASES])  # (6, 18)
    size = target.n_atoms

    def cost(compositions: Sequence[Mapping[str, float]], curves: np.ndarray) -> np.ndarray:
        sizes = np.array([sum(held.values()) for held in compositions])
        return curves * sizes[:, None] - released(compositions, fixed) @ gases

    start_eV = cost([p.phase.atoms for p in chosen], starting.gibbs_eV_per_atom)
    goal_eV = cost([atoms], curve[None])[0]
    # A padded set ends with -1: the last row, of zeros, stands for it.
    padded = np.vstack([start_eV, np.zeros((1, len(GRID_K)))])
    energies = (goal_eV - np.einsum("mc,mct->mt", reactions.coefficients, padded[reactions.sets])) / size
    sizes = np.append([p.phase.n_atoms for p in chosen], 0.0) * np.append(starting.std_eV_per_atom, 0.0)
    std = np.sqrt(spread**2 + ((reactions.coefficients * sizes[reactions.sets]) ** 2).sum(axis=1) / size**2)

    others = _competitors(around, target, fixed)
    rival_eV = interpolate(cost([around.phases[i].atoms for i in others], around.gibbs_eV_per_atom[others]), T_K)
    rivals = tuple(around.phases[i] for i in others)
    competition = compete(
        reactions,
        [p.phase.atoms for p in chosen],
        interpolate(start_eV, T_K),
        [phase.atoms for phase in rivals],
        rival_eV,
        around.std_eV_per_atom[others],
    )
    now = interpolate(energies, T_K)
    likeness = Likeness(target, [p.phase for p in chosen])
    epitaxy, unlikeness = likeness.of_sets(reactions.sets)
    volume = target.volume_A3_per_atom if target.volume_A3_per_atom == target.volume_A3_per_atom else _ATOM_VOLUME_A3
    barrier = barrier_eV(now / volume, epitaxy, unlikeness)
    front = pareto_front(barrier, competition.expected)
    return Landscape(
        formula, target, known, stability, chosen, reactions, temperature_C, atmosphere,
        now, std, _onsets(energies), epitaxy, unlikeness, barrier, rivals, competition, front,
    )  # fmt: skip


def _target(atoms: Mapping[str, float], stability: Stability, around: Solids) -> tuple[Phase, bool, np.ndarray, float]:
    """Return the target, whether its energy is known, its Gibbs energies (18,) and their standard deviation."""
    i = around.index.get(formulas.key_of(tuple(atoms.items())))
    if i is not None:
        found = around.phases[i]
        # In the caller's formula units, so that coefficients are for what was asked.
        phase = Phase(
            found.formula,
            atoms,
            found.energy_eV_per_atom,
            found.decomposition_eV_per_atom,
            found.gibbs_eV_per_atom,
            found.volume_A3_per_atom,
        )
        return phase, True, around.gibbs_eV_per_atom[i], float(around.std_eV_per_atom[i])
    by_formula = {phase.formula: i for i, phase in enumerate(around.phases)}
    rows = [(by_formula[name], share) for name, share in stability.decomposition.items() if name in by_formula]
    curve = sum((share * around.gibbs_eV_per_atom[i] for i, share in rows), np.zeros(len(GRID_K)))
    volumes = [around.phases[i].volume_A3_per_atom for i, _ in rows]
    volume = float(np.nanmean(volumes)) if np.isfinite(volumes).any() else np.nan
    name = "".join(f"{el}{n:g}" if n != 1 else el for el, n in atoms.items())
    return (
        Phase(name, atoms, volume_A3_per_atom=volume),
        False,
        curve,
        max(shipped().std(atoms), _GUESSED_STD_eV_PER_ATOM),
    )


def _competitors(around: Solids, target: Phase, fixed: Sequence[str]) -> np.ndarray:
    """Return the indices of phases that may form instead: near the hull, with something of the target that stays."""
    found = []
    for i, phase in enumerate(around.phases):
        if len(phase.atoms) < 2 or phase.key == target.key or not set(phase.atoms) & set(fixed):
            continue
        if set(phase.atoms) - set(fixed) - set(VOLATILE):
            continue
        near = phase.decomposition_eV_per_atom
        if around.measured[i] or near is None or near <= _COMPETES_WITHIN_eV_PER_ATOM:
            found.append(i)
    return np.array(found, int)


def _onsets(energies: np.ndarray) -> np.ndarray:
    """Return the lowest temperature of the grid, in C, from which on (m, 18) energies are negative, interpolated."""
    out = np.full(len(energies), np.nan)
    for row, curve in enumerate(energies):
        driven = np.flatnonzero(curve < 0)
        if not len(driven):
            continue
        i = int(driven[0])
        T_K = GRID_K[i]
        if i:
            T_K = GRID_K[i - 1] + 100.0 * curve[i - 1] / (curve[i - 1] - curve[i])
        out[row] = T_K - _ZERO_C_IN_K
    return out
