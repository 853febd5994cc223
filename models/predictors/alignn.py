"""ALIGNN: convolutions on bonds and on the angles between them."""

from __future__ import annotations

from torch import Tensor, nn

from models.blocks.convolutions import EdgeGatedConv, ElementEmbedding, GaussianExpansion, Trunk, mean_pool, mlp
from models.blocks.fitting import Schedule
from models.blocks.graph_cache import graphs_of
from models.blocks.graphs import Batch, GraphSet
from models.blocks.materials import Materials
from models.predictors.property import NeuralModel


class ALIGNN(NeuralModel):
    """Atomistic line graph neural network (Choudhary and DeCost, npj Comput. Mater. 2021).

    Edge-gated convolutions take turns on the line graph (bonds, joined where they share an atom, with the cosine of
    their angle) and on the crystal graph. Here: width 64, two line-graph and two more crystal layers instead of width
    256 and four of each, and 12 neighbours with the whole last shell.
    """

    citation = "10.1038/s41524-021-00650-1"
    summary = "convolutions on bonds and their angles"
    speed = "100"
    structure = True
    schedule = Schedule(epochs=80, batch=32, learning_rate=2e-3)

    def inputs(self, materials: Materials) -> GraphSet:
        """Crystal graphs of 12 neighbours with bond vectors."""
        return graphs_of(materials, neighbors=12, merge=False)

    def network(self) -> nn.Module:
        """Embeddings, line-graph layers, crystal layers, pool, trunk."""
        return _Network(self.targets, len(self.uses))


class _Network(nn.Module):
    def __init__(self, targets: int, extra: int, width: int = 64, lines: int = 2, crystals: int = 2) -> None:
        super().__init__()
        self.embedding = ElementEmbedding(width)
        self.distance = nn.Sequential(GaussianExpansion(0.0, 8.0, 80), mlp(80, [width], width))
        self.angle = nn.Sequential(GaussianExpansion(-1.0, 1.0, 40), mlp(40, [width], width))
        self.bonds = nn.ModuleList(EdgeGatedConv(width) for _ in range(lines))
        self.atoms = nn.ModuleList(EdgeGatedConv(width) for _ in range(lines + crystals))
        self.trunk = Trunk(width, [128, 64], targets, extra=extra)

    def forward(self, batch: Batch) -> Tensor:
        first, second, cosine = batch.angles()
        x, e = self.embedding(batch.number), self.distance(batch.edge["distance"])
        a, once = self.angle(cosine), cosine.new_ones(len(cosine))
        for k, atoms in enumerate(self.atoms):
            if k < len(self.bonds):
                e, a = self.bonds[k](e, a, second, first, once)
            x, e = atoms(x, e, batch.source, batch.target, batch.edge["count"])
        return self.trunk(mean_pool(x, batch), batch.extra)
