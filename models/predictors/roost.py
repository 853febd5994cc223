"""Roost: attention between the elements of a formula."""

from __future__ import annotations

from torch import Tensor, nn

from models.blocks.convolutions import AttentionConv, AttentionPool, ElementEmbedding, Trunk
from models.blocks.fitting import Schedule
from models.blocks.graphs import Batch, GraphSet, composition_graphs
from models.blocks.materials import Materials
from models.predictors.property import NeuralModel


class Roost(NeuralModel):
    """Representation learning from stoichiometry (Goodall and Lee, Nat. Commun. 2020).

    A formula is a dense graph of its elements; three layers of three-headed soft attention with the neighbour's
    fraction to a learned power, a weighted attention pool, a residual trunk. The published element vectors
    (matscholar) are replaced by a linear map of the elements' tabulated properties plus a learned vector.
    """

    citation = "10.1038/s41467-020-19964-7"
    summary = "attention between the elements of a formula"
    speed = "2,700"
    schedule = Schedule(epochs=100, batch=128, learning_rate=1.5e-3)

    def inputs(self, materials: Materials) -> GraphSet:
        """Dense graphs of the elements."""
        return composition_graphs(materials.compositions)

    def network(self) -> nn.Module:
        """Embedding, three layers, pool, trunk."""
        return _Network(self.targets, len(self.uses))


class _Network(nn.Module):
    def __init__(self, targets: int, extra: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = ElementEmbedding(width, learned=True)
        self.fraction = nn.Linear(1, width)
        self.layers = nn.ModuleList(AttentionConv(width, 0, heads=3, hidden=128) for _ in range(3))
        self.pool = AttentionPool(width, heads=3)
        self.trunk = Trunk(width, [256, 256, 128, 64], targets, extra=extra, dropout=0.05)

    def forward(self, batch: Batch) -> Tensor:
        x = self.embedding(batch.number) + self.fraction(batch.weight[:, None])
        for layer in self.layers:
            x, _ = layer(x, None, batch)
        return self.trunk(self.pool(x, batch), batch.extra)
