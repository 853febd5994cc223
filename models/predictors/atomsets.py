"""AtomSets: vectors of atoms, learned elsewhere, pooled as a set."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.blocks.convolutions import AttentionPool, ElementEmbedding, Trunk, mean_pool, mlp
from models.blocks.fitting import Schedule
from models.blocks.graphs import Batch, GraphSet, composition_graphs
from models.blocks.materials import Materials
from models.predictors.property import NeuralModel


class AtomSets(NeuralModel):
    """Sets of element vectors (Chen and Ong, npj Comput. Mater. 2021, the compositional AtomSets-V0).

    Two layers a vector, a weighted mean and an attention pool of the set, a trunk. The vectors are a linear map of the
    elements' tabulated properties instead of MEGNet's.
    """

    citation = "10.1038/s41524-021-00639-w"
    summary = "vectors of elements pooled as a set"
    speed = "19,000"
    schedule = Schedule(epochs=100, batch=128, learning_rate=2e-3)

    def inputs(self, materials: Materials) -> GraphSet:
        """Elements with their fractions."""
        return composition_graphs(materials.compositions)

    def network(self) -> nn.Module:
        """Layers, pools, trunk."""
        return _Network(None, self.targets, len(self.uses))


class FrozenAtomSets(AtomSets):
    """Sets of atom vectors of a universal potential (Chen and Ong 2021, AtomSets-V1, with CHGNet's in MEGNet's place).

    CHGNet's atom vectors before its energy head (64 numbers an atom) and its energy are computed once and stay frozen;
    only the set's layers are trained. Strong where there are few rows. CHGNet saw the Materials Project.
    """

    summary = "frozen atom vectors of CHGNet pooled as a set"
    speed = "35"
    structure = True
    schedule = Schedule(epochs=150, batch=64, learning_rate=2e-3)

    def inputs(self, materials: Materials) -> GraphSet:
        """Atoms with CHGNet's vectors."""
        from models.predictors.potential import atom_vectors

        cells = [cell for cell in materials.cells if cell is not None]
        vectors, energies = atom_vectors(cells)
        sizes = torch.tensor([len(cell.numbers) for cell in cells])
        at = torch.cat([torch.zeros(1, dtype=torch.long), torch.cumsum(sizes, 0)])
        none, nowhere = torch.zeros(0, dtype=torch.int32), torch.zeros(len(at), dtype=torch.long)
        numbers = torch.cat([torch.from_numpy(cell.numbers) for cell in cells]).to(torch.int16)
        made = GraphSet(numbers, torch.ones(len(numbers)), none, none, at, nowhere)
        made.node["vector"] = torch.from_numpy(vectors)
        made.extra = torch.from_numpy(energies[:, None])
        return made

    def network(self) -> nn.Module:
        """Layers, pools, trunk."""
        return _Network(64, self.targets, len(self.uses) + 1)


class _Network(nn.Module):
    def __init__(self, vector: int | None, targets: int, extra: int, width: int = 128) -> None:
        super().__init__()
        self.embedding = ElementEmbedding(width, learned=vector is None)
        self.vector = None if vector is None else nn.Sequential(nn.BatchNorm1d(vector), nn.Linear(vector, width))
        self.layers = mlp(width, [width, width], width)
        self.pool = AttentionPool(width)
        self.trunk = Trunk(2 * width, [256, 128, 64], targets, extra=extra, dropout=0.05)

    def forward(self, batch: Batch) -> Tensor:
        x = self.embedding(batch.number)
        if self.vector is not None:
            x = x + self.vector(batch.node["vector"])
        x = self.layers(x)
        return self.trunk(torch.cat([mean_pool(x, batch), self.pool(x, batch)], dim=1), batch.extra)
