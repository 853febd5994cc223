"""The convex hull of a chemical system: how far above it a composition lies, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from models.errors import DataError
from models.thermo import entries, formulas
from models.thermo.entries import Phase
from models.thermo.simplex import cheapest

COMPUTED_STD_eV_PER_ATOM = 0.024
"""Error of computed reaction energies among like phases: Hautier et al., Phys. Rev. B 85, 155208 (2012)."""
_DRAWS = 1000
_FACETS = 40


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
        phases: n of them, the pure elements among them.
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
            DataError: an element is not in this hull.
        """
        shares, rows, goal, start = self._problem(atoms, without)
        energies = self.energies if energies is None else energies
        basis = cheapest(shares, energies[rows], goal, start)
        return self._mixture(shares, rows, goal, basis), float(energies[rows[basis]] @ _amounts(shares, goal, basis))

    def _problem(
        self, atoms: Mapping[str, float], without: int | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return shares (k, c) of the phases that can take part, their rows, the goal (c,) and the pure elements."""
        if missing := {el for el in atoms if (((el, 1.0),)) not in self._index}:
            raise DataError(f"{', '.join(sorted(missing))} not in the hull of {'-'.join(self.elements)}")
        total = sum(atoms.values())
        goal = np.array([atoms.get(el, 0.0) / total for el in self.elements])
        kept = goal > 0
        inside = (self._shares[:, ~kept] == 0).all(axis=1)  # phases with other elements cannot take part
        if without is not None:
            inside[without] = len(atoms) == 1
        rows = np.flatnonzero(inside)
        pure = [self._index[((el, 1.0),)] for el, used in zip(self.elements, kept, strict=True) if used]
        return self._shares[rows][:, kept], rows, goal[kept], np.searchsorted(rows, pure)

    def _mixture(self, shares: np.ndarray, rows: np.ndarray, goal: np.ndarray, basis: np.ndarray) -> np.ndarray:
        out = np.zeros(len(self.phases))
        out[rows[basis]] = _amounts(shares, goal, basis)
        return out

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
        shares, rows, goal, basis = self._problem(atoms, own)
        basis = cheapest(shares, self.energies[rows], goal, basis)
        mixture = self._mixture(shares, rows, goal, basis)
        floor = float(self.energies @ mixture)
        words = {
            self.phases[i].formula: float(mixture[i]) for i in np.argsort(-mixture, kind="stable") if mixture[i] > 0
        }
        if np.isnan(energy):
            return Stability(np.nan, words, np.nan, np.nan, {})
        rng = np.random.default_rng(0)
        noise = rng.standard_normal((_DRAWS, len(self.phases))) * self.std
        facets = {tuple(sorted(basis)): mixture}
        for draw in noise[:_FACETS]:
            basis = cheapest(shares, (self.energies + draw)[rows], goal, basis)
            facets.setdefault(tuple(sorted(basis)), self._mixture(shares, rows, goal, basis))
        weights = np.array(list(facets.values()))
        floors = ((self.energies + noise) @ weights.T).min(axis=1)
        spread = self.std[own] if own is not None else float(np.max(self.std))
        # The target's own error is integrated exactly, so that a thousand draws give smooth probabilities.
        above = energy - floors
        chance = {x: float(np.mean(ndtr((x / 1000 - above) / max(spread, 1e-9)))) for x in within_meV}
        std = float(np.hypot(spread, np.std(floors)))
        return Stability(max(0.0, float(energy - floor)), words, float(energy - floor), std, chance)


def _amounts(shares: np.ndarray, goal: np.ndarray, basis: np.ndarray) -> np.ndarray:
    found = np.linalg.solve(shares[basis].T, goal)
    return np.where(found > 1e-9, found, 0.0)


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
