"""Trees and a Gaussian process on what a universal potential knows of a crystal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.blocks.composition import element_table, magpie_features
from models.blocks.families import family_features
from models.blocks.materials import Cell, Materials
from models.blocks.stacking import Stack
from models.predictors.potential import atom_vectors, force_constants
from models.predictors.property import TabularModel
from models.predictors.vibrations import vibration_features


class PotentialStack(TabularModel):
    """CHGNet's atom vectors and energy as descriptors (Deng et al., Nat. Mach. Intell. 2023).

    A potential that has seen a million energies and forces knows more of bonds than some thousand rows can teach:
    its vectors, pooled over all atoms and over those of the least and the most electronegative element, and
    elemental statistics are the features of a stack of forest, boosted trees and Gaussian process. CHGNet saw the
    Materials Project: energies of its crystals are no clean test.
    """

    citation = "10.1038/s42256-023-00716-3"
    summary = "trees and a Gaussian process on CHGNet's atom vectors and energy"
    speed = "35"
    structure = True
    trees = 150

    def features(self, materials: Materials) -> np.ndarray:
        """Pooled vectors, energy, volume an atom, elemental statistics."""
        cells = [cell for cell in materials.cells if cell is not None]
        given = materials.compositions
        statistics = [magpie_features(given, with_fractions=True), family_features(given)]
        return np.concatenate([pooled_vectors(cells), *statistics], axis=1)

    def regressor(self) -> Stack:
        """Forest, boosted trees, Gaussian process."""
        return Stack(trees=self.trees, features=self.share, processes=("relevance", "alike"), seed=self.seed)


class VibrationStack(PotentialStack):
    """The same, with how CHGNet says that the crystal vibrates: phonons, moduli, expansion.

    Wavenumbers at the centre of the Brillouin zone are a crude estimate (Zhang and Ling, npj Comput. Mater. 2018) of
    everything that bonds' stiffness decides. CHGNet is too soft (Deng et al., npj Comput. Mater. 11, 9, 2025; by a
    fifth on the phonons of docs/models.md), which the stack learns to mend. 3 N + 1 evaluations a crystal of N atoms.
    """

    summary = "chgnet with the vibrations of the crystal among the features"
    speed = "2"

    def features(self, materials: Materials) -> np.ndarray:
        """Vibrations beside the rest."""
        cells = [cell for cell in materials.cells if cell is not None]
        found = [vibration_features(one, cell) for one, cell in zip(force_constants(cells), cells, strict=True)]
        return np.concatenate([np.stack(found), super().features(materials)], axis=1)


def pooled_vectors(cells: Sequence[Cell]) -> np.ndarray:
    """CHGNet's vectors of each crystal pooled, its energy (eV an atom) and volume (A^3 an atom), float64 (n, 386)."""
    vectors, energies = atom_vectors(cells)
    table, names = element_table()
    electronegativity = table[:, names.index("electronegativity")]
    rows, at = [], 0
    for cell, energy in zip(cells, energies, strict=True):
        count = len(cell.numbers)
        own, chi = vectors[at : at + count].astype(float), electronegativity[cell.numbers - 1]
        ends = [own[chi == end].mean(axis=0) for end in (chi.min(), chi.max())]
        pools = [own.mean(axis=0), own.max(axis=0), own.min(axis=0), own.std(axis=0), *ends]
        rows.append(np.concatenate([*pools, [energy, cell.volume_A3 / count]]))
        at += count
    return np.round(np.stack(rows), 5)  # another order of the atoms must not change a tree's way
