"""A crystal as the diffractometer sees it: a cell, atoms, and reflections grouped by the symmetry of the cell."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.characterization.scattering import attenuation_per_cm, scattering_factor
from models.elements import values

_WEAKEST = 3e-4


@dataclass(frozen=True, eq=False)
class Crystal:
    """One reference phase in the conventional setting of its space group.

    Attributes:
        formula: reduced formula.
        space_group: Hermann-Mauguin symbol.
        number: of the space group, 1 to 230.
        lattice: (3, 3), rows are the cell vectors in Å.
        species, positions, occupancy: one an atom of the cell; positions (n, 3) fractional.
        name: mineral or polymorph, where there is one.
        measured: the cell is a measured one; calculated cells are some per cent off.
    """

    formula: str
    space_group: str
    number: int
    lattice: np.ndarray
    species: tuple[str, ...]
    positions: np.ndarray
    occupancy: np.ndarray
    name: str = ""
    measured: bool = True

    @property
    def label(self) -> str:
        """``TiO2 (I4_1/amd, anatase)``."""
        return f"{self.formula} ({', '.join(filter(None, (self.space_group, self.name)))})"

    @cached_property
    def volume_A3(self) -> float:
        """Volume of the cell."""
        return float(abs(np.linalg.det(self.lattice)))

    @cached_property
    def counts(self) -> dict[str, float]:
        """Atoms of each element in the cell."""
        found: dict[str, float] = defaultdict(float)
        for element, share in zip(self.species, self.occupancy):
            found[element] += float(share)
        return dict(found)

    @cached_property
    def mass_u(self) -> float:
        """Mass of the cell in atomic mass units."""
        return float(values("mass_g_per_mol", list(self.counts)) @ np.array(list(self.counts.values())))

    def attenuation_per_cm(self, wavelength_A: float) -> float:
        """Linear attenuation coefficient."""
        return attenuation_per_cm(self.counts, self.volume_A3, wavelength_A)

    def reflections(self, wavelength_A: float, two_theta_max_deg: float) -> Reflections:
        """All reflections up to an angle. Equivalents, and no others, are one group."""
        return _reflections(self, wavelength_A, two_theta_max_deg)


@dataclass(frozen=True, eq=False)
class Reflections:
    """Groups of equivalent reflections.

    Attributes:
        keys: (n, m) integers: ``1/d² = keys @ metric``.
        metric: (m,) the independent components of the reciprocal metric tensor in Å⁻².
        strength: (n,) sum of \\|F\\|² over the group, without thermal motion, in electrons² a cell.
        member_group: group of each single reflection.
        member_cos2: (k, 3) squared cosine of its angle to the three reciprocal axes.
    """

    keys: np.ndarray
    metric: np.ndarray
    strength: np.ndarray
    member_group: np.ndarray
    member_cos2: np.ndarray

    def texture(self, axis: int, r: float) -> np.ndarray:
        """March-Dollase factor of each group for plates (r < 1) or needles (r > 1) along reciprocal axis ``axis``.

        Dollase, J. Appl. Cryst. 19, 267 (1986). It averages to one over all directions.
        """
        cos2 = self.member_cos2[:, axis]
        weight = (r * r * cos2 + (1 - cos2) / r) ** -1.5
        n = np.bincount(self.member_group, minlength=len(self.strength))
        return np.bincount(self.member_group, weight, minlength=len(self.strength)) / np.maximum(n, 1)


def metric_keys(number: int, hkl: np.ndarray) -> np.ndarray:
    """Integers whose products with the independent components of the reciprocal metric give 1/d²; shape (n, m)."""
    h, k, l = hkl.T.astype(np.int64)  # noqa: E741 - the field's name
    if number >= 195:
        return np.stack([h * h + k * k + l * l], 1)
    if number >= 143:
        return np.stack([h * h + h * k + k * k, l * l], 1)
    if number >= 75:
        return np.stack([h * h + k * k, l * l], 1)
    if number >= 16:
        return np.stack([h * h, k * k, l * l], 1)
    if number >= 3:
        return np.stack([h * h, k * k, l * l, h * l], 1)
    return np.stack([h * h, k * k, l * l, h * l, h * k, k * l], 1)


def _reflections(crystal: Crystal, wavelength_A: float, two_theta_max_deg: float) -> Reflections:
    q_max = 2 * np.sin(np.radians(min(two_theta_max_deg + 2.0, 178.0)) / 2) / wavelength_A
    reciprocal = np.linalg.inv(crystal.lattice)  # columns: reciprocal vectors
    limits = np.floor(q_max * np.linalg.norm(crystal.lattice, axis=1) + 1e-9).astype(int)
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in limits], indexing="ij"), -1).reshape(-1, 3)
    # Friedel's mates scatter (nearly) alike: one half of the sphere, counted twice
    half = (grid[:, 0] > 0) | ((grid[:, 0] == 0) & ((grid[:, 1] > 0) | ((grid[:, 1] == 0) & (grid[:, 2] > 0))))
    hkl = grid[half]
    vectors = hkl @ reciprocal.T
    q2 = (vectors**2).sum(1)
    inside = q2 <= q_max**2
    hkl, vectors, q2 = hkl[inside], vectors[inside], q2[inside]
    keys = metric_keys(crystal.number, hkl)
    unique, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    metric = np.linalg.lstsq(unique.astype(float), q2[first], rcond=None)[0]
    amplitude = _structure_factors(crystal, hkl, q2 / 4, wavelength_A)
    strength = 2 * np.bincount(group, np.abs(amplitude) ** 2, minlength=len(unique))
    axes = reciprocal.T / np.linalg.norm(reciprocal.T, axis=1, keepdims=True)
    cos2 = (vectors @ axes.T / np.sqrt(q2)[:, None]) ** 2
    s2 = unique @ metric / 4
    lorentz = 1 / np.maximum(s2 * wavelength_A**2, 1e-4)
    strong = strength * lorentz > _WEAKEST * (strength * lorentz).max(initial=0.0)
    renumber = np.cumsum(strong) - 1
    keep = strong[group]
    return Reflections(unique[strong], metric, strength[strong], renumber[group[keep]], cos2[keep])


def _structure_factors(crystal: Crystal, hkl: np.ndarray, s2: np.ndarray, wavelength_A: float) -> np.ndarray:
    total = np.zeros(len(hkl), complex)
    species = np.array(crystal.species)
    for element in dict.fromkeys(crystal.species):
        atoms = species == element
        phase = np.exp(2j * np.pi * (hkl @ crystal.positions[atoms].T)) @ crystal.occupancy[atoms]
        total += scattering_factor(element, s2, wavelength_A) * phase
    return total
