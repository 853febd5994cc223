"""Ward's Voronoi descriptors with a random forest."""

from __future__ import annotations

import numpy as np

from models.blocks.composition import element_table, magpie_features
from models.blocks.materials import Cell, Materials
from models.blocks.voronoi import Faces, voronoi_faces
from models.predictors.property import TabularModel


class WardForest(TabularModel):
    """Attributes of the Voronoi tessellation and the composition, and a forest (Ward et al., Phys. Rev. B 2017).

    Effective coordination numbers, bond lengths and their variation, cell volumes, packing, differences between the
    elemental properties of an atom and its neighbours weighted by face area, ordering of the nearest neighbours; all
    the same whichever cell describes the crystal.
    """

    citation = "10.1103/PhysRevB.96.024104"
    summary = "Voronoi and elemental attributes with a forest"
    speed = "130"
    trees, share = 200, 0.4
    structure = True

    def features(self, materials: Materials) -> np.ndarray:
        """Voronoi attributes and elemental statistics."""
        local = np.stack([voronoi_attributes(cell) for cell in materials.cells if cell is not None])
        return np.concatenate([local, magpie_features(materials.compositions)], axis=1)


def voronoi_attributes(cell: Cell) -> np.ndarray:
    """Attributes of a crystal, float64 (14 + 5 p,), p elemental properties; independent of the choice of the cell."""
    faces = voronoi_faces(cell)
    n = len(cell.numbers)
    coordination, bond, variation = _local(faces, n)
    table = element_table()[0]
    own, others = table[cell.numbers[faces.centre] - 1], table[cell.numbers[faces.other] - 1]
    share = faces.area_A2 / np.bincount(faces.centre, weights=faces.area_A2, minlength=n)[faces.centre]
    difference = np.zeros((n, table.shape[1]))
    np.add.at(difference, faces.centre, share[:, None] * np.abs(own - others))
    volume = faces.volume_A3 / faces.volume_A3.mean()
    # A sphere that just touches the nearest neighbour's, as a share of the atom's polyhedron.
    nearest = np.full(n, np.inf)
    np.minimum.at(nearest, faces.centre, np.where(share > 0.01, faces.distance_A, np.inf))
    packing = float(np.minimum(1.0, np.pi / 6 * nearest**3 / faces.volume_A3).mean())
    alike = np.bincount(
        faces.centre, weights=share * (cell.numbers[faces.centre] == cell.numbers[faces.other]), minlength=n
    )
    geometry = [*_moments(coordination), *_moments(bond / bond.mean())[1:], *_moments(variation)[:2]]
    geometry += [float(volume.std()), float(volume.max() - volume.min()), packing, faces.volume_A3.mean()]
    geometry += [float(alike.mean()), float(np.abs(alike - alike.mean()).mean()), float(bond.mean())]
    statistics = [difference.mean(axis=0), np.abs(difference - difference.mean(axis=0)).mean(axis=0)]
    statistics += [difference.min(axis=0), difference.max(axis=0), np.ptp(difference, axis=0)]
    # Images of an atom in another cell differ in the last bits; a forest's thresholds must not see that.
    return np.round(np.concatenate([geometry, *statistics]), 6)


def _local(faces: Faces, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effective coordination number, area-weighted bond length and its relative variation, (n,) each."""
    area = np.bincount(faces.centre, weights=faces.area_A2, minlength=n)
    square = np.bincount(faces.centre, weights=faces.area_A2**2, minlength=n)
    bond = np.bincount(faces.centre, weights=faces.area_A2 * faces.distance_A, minlength=n) / area
    away = np.abs(faces.distance_A - bond[faces.centre])
    variation = np.bincount(faces.centre, weights=faces.area_A2 * away, minlength=n) / area / bond
    return area**2 / square, bond, variation


def _moments(values: np.ndarray) -> list[float]:
    return [
        float(values.mean()),
        float(np.abs(values - values.mean()).mean()),
        float(values.min()),
        float(values.max()),
    ]
