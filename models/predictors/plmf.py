"""Property-labelled fragments: paths of bonded atoms, coloured by the properties of their elements."""

from __future__ import annotations

import numpy as np

from models.blocks.composition import element_table, magpie_features
from models.blocks.materials import Cell, Materials
from models.blocks.voronoi import voronoi_faces
from models.predictors.property import TabularModel

_CONTACT = 0.25  # angstrom by which a bond may exceed the sum of the covalent radii
_SHARE = 0.02  # least share of an atom's surface that a bond's face takes


class FragmentForest(TabularModel):
    """Property-labelled materials fragments with a forest (Isayev et al., Nat. Commun. 2017).

    Two atoms are bonded where they share a Voronoi face and are closer than their covalent radii and 0.25 angstrom; the
    crystal falls into fragments of two bonded atoms (paths) and of an atom with all its bonds (polyhedra), and each
    elemental property q gives sums of q_i q_j, |q_i - q_j| along paths and over polyhedra, an atom. Beside them, the
    density and elemental statistics.
    """

    citation = "10.1038/ncomms15679"
    summary = "property-labelled fragments with a forest"
    speed = "140"
    trees, share = 200, 0.4
    structure = True

    def features(self, materials: Materials) -> np.ndarray:
        """Fragments and elemental statistics."""
        fragments = np.stack([fragment_descriptors(cell) for cell in materials.cells if cell is not None])
        return np.concatenate([fragments, magpie_features(materials.compositions)], axis=1)


def fragment_descriptors(cell: Cell) -> np.ndarray:
    """Descriptors of a crystal, float64 (4 p + 3,), p elemental properties; independent of the choice of the cell."""
    faces = voronoi_faces(cell)
    n = len(cell.numbers)
    table, names = element_table()
    radius = table[cell.numbers - 1, names.index("covalent_radius_A")]
    share = faces.area_A2 / np.bincount(faces.centre, weights=faces.area_A2, minlength=n)[faces.centre]
    bonded = faces.distance_A <= radius[faces.centre] + radius[faces.other] + _CONTACT
    bonded &= share > _SHARE
    centre, other = faces.centre[bonded], faces.other[bonded]
    q = (table - table.mean(axis=0)) / table.std(axis=0)
    here, there = q[cell.numbers[centre] - 1], q[cell.numbers[other] - 1]
    polyhedra = np.zeros((n, table.shape[1]))
    np.add.at(polyhedra, centre, there)
    own = q[cell.numbers - 1]
    bonds = np.bincount(centre, minlength=n)
    parts = [(here * there).sum(axis=0) / n, np.abs(here - there).sum(axis=0) / n]
    parts += [(polyhedra * own).mean(axis=0), np.abs(polyhedra - own * bonds[:, None]).mean(axis=0)]
    mass = table[cell.numbers - 1, names.index("mass_g_per_mol")].sum()
    return np.round(np.concatenate([*parts, [bonds.mean(), bonds.std(), mass / cell.volume_A3]]), 6)
