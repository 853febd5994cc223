"""The convex hull of a chemical system: how far above it a composition lies, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import linprog
from scipy.special import ndtr

from models.errors import DataError
from models.thermo import entries, formulas
from models.thermo.entries import Phase

COMPUTED_STD_eV_PER_ATOM = 0.024
"""Error of computed reaction energies among like phases: Hautier et al., Phys. Rev. B 85, 155208 (2012)."""
_DRAWS = 1000
_FACETS = 24


@dataclass(frozen=True)
class Stability:
    """Where a composition lies with respect to the hull of all other phases.

    Attributes:
        e_above_hull_eV_per_atom: 0 on the hull, nan where its energy is not known.
        decomposition: formula -> share of the atoms, what it falls apart into (without itself).
        decomposition_energy_eV_per_atom: to these; negative where it is stable; nan where its energy is not known.
        std_eV_per_atom: of the decomposition energy.
        probability: meV -> probability of lying within that much of the hull.
    """

    e_above_hull_eV_per_atom: float
    decomposition: Mapping[str, float]
    decomposition_energy_eV_per_atom: float
    std_eV_per_atom: float
    probability: Mapping[int, float]


class Hull:
    """The lower convex hull of phases of a few elements.

    Args:
        phases: formula -> element -> atoms; elements must be among them, or every composition covered otherwise.
        energies_eV_per_atom: (n,) of formation.
        std_eV_per_atom: (n,) independent standard deviations.
    """

    def __init__(self, phases: Sequence[Phase], energies_eV_per_atom: np.ndarray, std_eV_per_atom: np.ndarray):
        self.phases = tuple(phases)
        self.elements = tuple(sorted({el for phase in phases for el in phase.atoms}))
        self.energies = np.asarray(energies_eV_per_atom, float)
        self.std = np.asarray(std_eV_per_atom, float)
        self._shares = np.array([[p.atoms.get(el, 0.0) / p.n_atoms for el in self.elements] for p in phases])
        self._index = {phase.key: i for i, phase in enumerate(self.phases)}

    def find(self, atoms: Mapping[str, float]) -> int | None:
        """Return the index of the phase of a composition."""
        return self._index.get(formulas.key_of(tuple(atoms.items())))

    def decompose(
        self, atoms: Mapping[str, float], *, without: int | None = None, energies: np.ndarray | None = None
    ) -> tuple[np.ndarray, float]:
        """Return shares of the atoms (n,) of the phases on the hull at a composition, and its energy in eV per atom.

        Args:
            atoms: element -> atoms of the composition.
            without: index of a phase that must not take part.
            energies: instead of the hull's own.

        Raises:
            DataError: an element is not in this hull, or nothing makes the composition up.
        """
        if missing := set(atoms) - set(self.elements):
            raise DataError(f"{', '.join(sorted(missing))} not in the hull of {'-'.join(self.elements)}")
        total = sum(atoms.values())
        goal = np.array([atoms.get(el, 0.0) / total for el in self.elements])
        # Only phases without other elements can take part.
        inside = (self._shares[:, goal == 0] == 0).all(axis=1)
        if without is not None:
            inside[without] = False
        rows = np.flatnonzero(inside)
        energies = self.energies if energies is None else energies
        kept = goal > 0
        found = linprog(energies[rows], A_eq=self._shares[rows][:, kept].T, b_eq=goal[kept], method="highs-ds")
        if found.status != 0:
            raise DataError(f"no phases make up {dict(atoms)}: {found.message}")
        shares = np.zeros(len(self.phases))
        shares[rows] = np.where(found.x > 1e-9, found.x, 0.0)
        return shares, float(found.fun)

    def stability(
        self,
        atoms: Mapping[str, float],
        energy_eV_per_atom: float | None = None,
        *,
        within_meV: Sequence[int] = (0, 25, 50, 100),
    ) -> Stability:
        """Return where a composition lies, with the uncertainty of all energies carried through.

        The energies are drawn a thousand times; for each draw the hull is the lowest of the decompositions that are
        best for some draw (the facets that compete).

        Args:
            atoms: element -> atoms.
            energy_eV_per_atom: of formation; by default the hull's own of this composition.
            within_meV: for which distances to give a probability.
        """
        own = self.find(atoms)
        energy = (
            energy_eV_per_atom
            if energy_eV_per_atom is not None
            else (self.energies[own] if own is not None else np.nan)
        )
        shares, floor = self.decompose(atoms, without=own)
        words = {self.phases[i].formula: float(shares[i]) for i in np.argsort(-shares, kind="stable") if shares[i] > 0}
        if np.isnan(energy):
            return Stability(np.nan, words, np.nan, np.nan, {})
        rng = np.random.default_rng(0)
        noise = rng.standard_normal((_DRAWS, len(self.phases))) * self.std
        facets = {tuple(np.round(shares, 9)): shares}
        for draw in noise[:_FACETS]:
            other, _ = self.decompose(atoms, without=own, energies=self.energies + draw)
            facets.setdefault(tuple(np.round(other, 9)), other)
        weights = np.array(list(facets.values()))
        floors = ((self.energies + noise) @ weights.T).min(axis=1)
        spread = self.std[own] if own is not None else float(np.max(self.std))
        # The target's own error is integrated exactly, so that a thousand draws give smooth probabilities.
        above = energy - floors
        chance = {x: float(np.mean(ndtr((x / 1000 - above) / max(spread, 1e-9)))) for x in within_meV}
        std = float(np.hypot(spread, np.std(floors)))
        return Stability(max(0.0, float(energy - floor)), words, float(energy - floor), std, chance)


def computed_hull(elements: Iterable[str]) -> Hull:
    """Return the hull at 0 K from computed energies alone, whose errors cancel; one a chemical system, cached.

    Raises:
        DataError: ``ATHANOR_DATA`` is not set.
    """
    return _computed_hull(str(entries.thermo_folder()), tuple(sorted(set(elements))))


@lru_cache(maxsize=256)
def _computed_hull(folder: str, elements: tuple[str, ...]) -> Hull:
    phases = [p for p in entries.phases(elements) if p.energy_eV_per_atom is not None]
    energies = np.array([p.energy_eV_per_atom for p in phases])
    return Hull(phases, energies, np.array([COMPUTED_STD_eV_PER_ATOM * (len(p.atoms) > 1) for p in phases]))
