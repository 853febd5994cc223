"""Crystal graph multilayer descriptor: a matrix an elemental property over the crystal graph, pooled."""

from __future__ import annotations

import numpy as np

from models.blocks.composition import element_table, magpie_features
from models.blocks.materials import Materials
from models.blocks.neighbors import bonds
from models.predictors.property import TabularModel

_SHELLS = 3


class MultilayerForest(TabularModel):
    """Crystal graph multilayer descriptor with a forest, for several targets (Lu et al., Adv. Mater. 2020).

    Each elemental property is a layer: a matrix over the bonds of the crystal graph. Layers of products, differences
    and distances are pooled by shell of neighbours into means and spreads, which no order of atoms and no choice of
    cell changes. Several targets (``--target a,b``) share the descriptor.
    """

    citation = "10.1002/adma.202002658"
    summary = "elemental properties over the crystal graph in layers, with a forest"
    speed = "800"
    trees, share = 300, 0.4
    structure = True

    def features(self, materials: Materials) -> np.ndarray:
        """Layers and elemental statistics."""
        layers = multilayer_descriptor(materials)
        return np.concatenate([layers, magpie_features(materials.compositions)], axis=1)


def multilayer_descriptor(materials: Materials) -> np.ndarray:
    """Descriptor of each crystal, float64 (n, 3 (4 p + 3) + 1), p elemental properties."""
    cells = [cell for cell in materials.cells if cell is not None]
    found = bonds(cells, 12)
    table = element_table()[0]
    q = (table - table.mean(axis=0)) / table.std(axis=0)
    n, sizes = len(cells), np.array([len(cell.numbers) for cell in cells])
    crystal = np.repeat(np.arange(n), np.diff(found.offsets))
    numbers = np.concatenate([cell.numbers for cell in cells]) - 1
    at = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    here, there = q[numbers[found.centre + at[crystal]]], q[numbers[found.other + at[crystal]]]
    columns = []
    for shell in range(_SHELLS):
        mine = found.shell == shell
        count = np.maximum(np.bincount(crystal[mine], minlength=n), 1)[:, None]
        gap, product = np.abs(here[mine] - there[mine]), here[mine] * there[mine]
        for layer in (gap, product):
            mean = _pool(layer, crystal[mine], n) / count
            square = _pool(layer**2, crystal[mine], n) / count
            columns += [mean, np.sqrt(np.maximum(square - mean**2, 0.0))]
        length = _pool(found.distance_A[mine, None], crystal[mine], n) / count
        spread = _pool(found.distance_A[mine, None] ** 2, crystal[mine], n) / count - length**2
        columns += [length, np.sqrt(np.maximum(spread, 0.0)), count / sizes[:, None]]
    columns.append(np.array([[cell.volume_A3 / len(cell.numbers)] for cell in cells]))
    return np.round(np.concatenate(columns, axis=1), 5)


def _pool(values: np.ndarray, index: np.ndarray, n: int) -> np.ndarray:
    """Sums (n, d) of rows by index; the index rises."""
    out = np.zeros((n, values.shape[1]))
    if len(values):
        start = np.flatnonzero(np.append(True, np.diff(index) > 0))
        out[index[start]] = np.add.reduceat(values, start, axis=0)
    return out
