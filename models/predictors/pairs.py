"""A formula as what its elements are by themselves, and what every two of them are together."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.blocks.convolutions import mlp
from models.blocks.element_knowledge import standard_vectors
from models.blocks.fitting import Schedule
from models.blocks.graphs import Batch, GraphSet, composition_graphs
from models.blocks.materials import Materials
from models.blocks.segments import segment_sum
from models.predictors.property import NeuralModel


class ElementPairs(NeuralModel):
    """A relation network (Santoro et al., NeurIPS 2017) of the elements of a formula.

    What is tabulated of an element, what CHGNet learned of it and a vector of its own make its state; the sum over all
    elements by their fractions, and the sums over all pairs by the product of their fractions and by its root, go
    through a fully connected network. A third of Roost's cost, and as good or better where rows are few, so that it can
    afford to learn again from all rows.
    """

    citation = "10.48550/arXiv.1706.01427"
    summary = "what the elements of a formula are alone and in pairs"
    speed = "50,000"
    schedule = Schedule(epochs=80, batch=64, learning_rate=3e-3)
    again: ClassVar[float] = 0.5

    def inputs(self, materials: Materials) -> GraphSet:
        """Dense graphs of the elements."""
        return composition_graphs(materials.compositions)

    def network(self) -> nn.Module:
        """Elements, pairs, layers."""
        return _Network(self.targets, len(self.uses))


class _Network(nn.Module):
    table: Tensor

    def __init__(self, targets: int, extra: int, width: int = 64) -> None:
        super().__init__()
        table = torch.from_numpy(standard_vectors())
        self.register_buffer("table", table, persistent=False)
        self.known, self.own = nn.Linear(table.shape[1], width), nn.Embedding(len(table), width)
        nn.init.normal_(self.own.weight, std=0.05)
        self.share = nn.Linear(2, width)
        self.here, self.there = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.extra = nn.BatchNorm1d(extra) if extra else None
        self.first = nn.Sequential(nn.Linear(3 * width + extra, 256), nn.LayerNorm(256), nn.SiLU(), nn.Dropout(0.05))
        self.last = mlp(256, [128, 64], 2 * targets, dropout=0.05)
        self.straight = nn.Linear(3 * width, 2 * targets, bias=False)  # energies are nearly sums over the elements
        nn.init.zeros_(self.straight.weight)

    def forward(self, batch: Batch) -> Tensor:
        share = batch.weight[:, None]
        element = self.known(self.table) + self.own.weight  # 95 rows, then a look-up: cheaper than a product a node
        x = functional.silu(element[batch.number] + self.share(torch.cat([share, share.sqrt()], dim=1)))
        target, source = batch.target, batch.source
        pair = functional.silu(self.here(x).index_select(0, target) + self.there(x).index_select(0, source))
        both = batch.weight[target] * batch.weight[source] * (target != source)
        of = batch.graph[target]
        pools = [segment_sum(share * x, batch.graph, batch.size)]
        pools += [segment_sum(weight[:, None] * pair, of, batch.size) for weight in (both, both.sqrt() / 3)]
        straight = self.straight(torch.cat(pools, dim=1))
        if self.extra is not None:
            pools.append(self.extra(batch.extra))
        return straight + self.last(self.first(torch.cat(pools, dim=1)))
