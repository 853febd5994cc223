"""CGAT: attention on a crystal graph that knows neighbours by rank, so that unrelaxed prototypes can be judged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.blocks.convolutions import AttentionConv, AttentionPool, ElementEmbedding, Trunk
from models.blocks.fitting import Schedule
from models.blocks.graph_cache import graphs_of
from models.blocks.graphs import Batch, GraphSet, composition_graphs
from models.blocks.materials import Materials
from models.blocks.ranked import ranked_graphs
from models.predictors.property import NeuralModel

_SHELLS = 24


class CGAT(NeuralModel):
    """Crystal graph attention network (Schmidt et al., Sci. Adv. 2021).

    An edge carries only the rank of its neighbour, never a length: the prediction is exactly the same for a cell that
    is scaled. A Roost vector of the composition is the context of the attention pool. The rank is that of the
    neighbour's shell (equal distances have equal ranks), which makes it independent of the order of the atoms.
    """

    citation = "10.1126/sciadv.abi7948"
    summary = "attention over ranked neighbours; for unrelaxed prototypes"
    speed = "6,900"
    structure = True
    schedule = Schedule(epochs=100, batch=64, learning_rate=1.5e-3)

    def inputs(self, materials: Materials) -> _Pair:
        """Ranked graphs of 24 neighbours, and graphs of the compositions."""
        return _Pair(graphs_of(materials, ranked_graphs, neighbors=24), composition_graphs(materials.compositions))

    def network(self) -> nn.Module:
        """Roost branch, attention layers, pool, trunk."""
        return _Network(self.targets, len(self.uses))


class _Pair:
    """Crystals and their compositions, gathered together."""

    def __init__(self, crystals: GraphSet, compositions: GraphSet) -> None:
        self.crystals, self.compositions = crystals, compositions

    @property
    def extra(self) -> Tensor | None:
        return self.crystals.extra

    @extra.setter
    def extra(self, value: Tensor) -> None:
        self.crystals.extra = value

    def __len__(self) -> int:
        return len(self.crystals)

    def to(self, device: str) -> _Pair:
        return _Pair(self.crystals.to(device), self.compositions.to(device))

    def batch(self, rows: Tensor) -> tuple[Batch, Batch]:
        return self.crystals.batch(rows), self.compositions.batch(rows)


class _Network(nn.Module):
    def __init__(self, targets: int, extra: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = ElementEmbedding(width)
        self.rank = nn.Embedding(_SHELLS, width)
        self.elements = nn.ModuleList(AttentionConv(width, 0, heads=2, hidden=64) for _ in range(2))
        self.whole = AttentionPool(width)
        self.layers = nn.ModuleList(AttentionConv(width, width, heads=2, hidden=64) for _ in range(4))
        self.pool = AttentionPool(width, context=width)
        self.trunk = Trunk(2 * width, [128, 128], targets, extra=extra)

    def forward(self, batch: tuple[Batch, Batch]) -> Tensor:
        crystal, composition = batch
        c = self.embedding(composition.number)
        for layer in self.elements:
            c, _ = layer(c, None, composition)
        context = self.whole(c, composition)
        x, rank = self.embedding(crystal.number), crystal.edge["shell"].clamp(max=_SHELLS - 1)
        for layer in self.layers:
            x, _ = layer(x, self.rank.weight, crystal, rank)  # a product for each rank, not for each edge
        return self.trunk(torch.cat([self.pool(x, crystal, context), context], dim=1), crystal.extra)
