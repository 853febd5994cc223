"""CGCNN: gated convolutions on the crystal graph."""

from __future__ import annotations

from torch import Tensor, nn

from models.blocks.convolutions import ElementEmbedding, GatedConv, GaussianExpansion, Trunk, mean_pool
from models.blocks.fitting import Schedule
from models.blocks.graph_cache import graphs_of
from models.blocks.graphs import Batch, GraphSet
from models.blocks.materials import Materials
from models.predictors.property import NeuralModel


class CGCNN(NeuralModel):
    """Crystal graph convolutional network (Xie and Grossman, Phys. Rev. Lett. 2018).

    Elements as tabulated properties, distances as 41 Gaussians up to 8 angstrom, the 12 nearest neighbours with the
    whole last shell, three gated convolutions, mean pool, one hidden layer of 128. Differences: the shell, images of
    a neighbour at one distance are one edge with a count, no batch normalisation of the edges, AdamW with one cycle.
    """

    citation = "10.1103/PhysRevLett.120.145301"
    summary = "gated convolutions on the crystal graph"
    speed = "1,600"
    structure = True
    schedule = Schedule(epochs=100, batch=64, learning_rate=3e-3)

    def inputs(self, materials: Materials) -> GraphSet:
        """Crystal graphs of 12 neighbours."""
        return graphs_of(materials, neighbors=12)

    def network(self) -> nn.Module:
        """Embedding, three convolutions, pool, trunk."""
        return GatedNetwork(self.targets, len(self.uses), reach_A=8.0, hidden=[128, 128])


class GatedNetwork(nn.Module):
    """Three gated convolutions on graphs whose edges have a ``distance`` up to ``reach_A``, a mean pool and a trunk."""

    def __init__(self, targets: int, extra: int, *, reach_A: float, hidden: list[int], width: int = 64) -> None:
        super().__init__()
        self.embedding = ElementEmbedding(width)
        self.distance = GaussianExpansion(0.0, reach_A, 41)
        self.layers = nn.ModuleList(GatedConv(width, 41) for _ in range(3))
        self.trunk = Trunk(width, hidden, targets, extra=extra)

    def forward(self, batch: Batch) -> Tensor:
        """Return what the trunk makes of each graph."""
        x, e = self.embedding(batch.number), self.distance(batch.edge["distance"])
        for layer in self.layers:
            x, e = layer(x, e, batch)
        return self.trunk(mean_pool(x, batch), batch.extra)
