"""Convolutions on one signature, ``(x, e, batch) -> (x, e)``, and what goes around them: expansions, pooling, trunks.

x is (N, h), e is (E, k); a message goes ``batch.source -> batch.target`` and counts ``batch.edge["count"]`` times.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.blocks.composition import element_vectors
from models.blocks.graphs import Batch
from models.blocks.segments import segment_mean, segment_softmax, segment_sum


class ElementEmbedding(nn.Module):
    """Atomic numbers (N,) -> (N, width): a linear map of the elements' tabulated properties, plus a learned vector.

    Args:
        width: of the output.
        learned: add the learned vector; without it, elements that no training row has are still judged by their kin.
    """

    table: Tensor

    def __init__(self, width: int, *, learned: bool = False) -> None:
        super().__init__()
        table = torch.from_numpy(element_vectors())
        self.register_buffer("table", table, persistent=False)
        self.linear = nn.Linear(table.shape[1], width)
        self.own = nn.Embedding(len(table), width) if learned else None
        if self.own is not None:
            nn.init.normal_(self.own.weight, std=0.1)

    def forward(self, number: Tensor) -> Tensor:
        """(N,) -> (N, width)."""
        out = self.linear(self.table)  # 95 rows, then a look-up: cheaper than a product a node
        return (out if self.own is None else out + self.own.weight)[number]


class GaussianExpansion(nn.Module):
    """Numbers (E,) -> (E, bins): Gaussians at even distances between ``low`` and ``high``, as wide as that."""

    centre: Tensor

    def __init__(self, low: float, high: float, bins: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.linspace(low, high, bins), persistent=False)
        self.gamma = ((bins - 1) / (high - low)) ** 2

    def forward(self, value: Tensor) -> Tensor:
        """(E,) -> (E, bins)."""
        return torch.exp(-self.gamma * (value[:, None] - self.centre) ** 2)


class GatedConv(nn.Module):
    """CGCNN's convolution (Xie and Grossman 2018).

    x_i <- softplus(x_i + norm(sum_j sigmoid(z_ij W_f) * softplus(z_ij W_s))), z_ij = [x_i, x_j, e_ij].
    The product with W is taken apart into one for the nodes and one for the edges, which saves two thirds of the work.
    """

    def __init__(self, width: int, edge: int) -> None:
        super().__init__()
        self.here, self.there = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width, bias=False)
        self.bond = nn.Linear(edge, 2 * width, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, e: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, h), (E, k) -> the same."""
        z = self.here(x).index_select(0, batch.target) + self.there(x).index_select(0, batch.source) + self.bond(e)
        gate, core = z.chunk(2, dim=1)
        message = torch.sigmoid(gate) * functional.softplus(core) * batch.edge["count"][:, None]
        return functional.softplus(x + self.norm(segment_sum(message, batch.target, len(x)))), e


class EdgeGatedConv(nn.Module):
    """ALIGNN's convolution (Choudhary and DeCost 2021; Dwivedi 2020): edges are updated too, and weigh the messages.

    e_ij <- e_ij + silu(norm(A x_i + B x_j + C e_ij));
    x_i <- x_i + silu(norm(D x_i + sum_j sigmoid(e_ij) E x_j / sum_j sigmoid(e_ij))).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.here, self.there, self.bond, self.own, self.message = (nn.Linear(width, width) for _ in range(5))
        self.norm_x, self.norm_e = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, e: Tensor, source: Tensor, target: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """(N, h), (E, h), edges, how often each counts -> the same."""
        z = self.here(x).index_select(0, target) + self.there(x).index_select(0, source) + self.bond(e)
        gate = torch.sigmoid(z) * count[:, None]
        total = segment_sum(gate * self.message(x).index_select(0, source), target, len(x))
        total = total / segment_sum(gate, target, len(x)).clamp_min(1e-6)
        return x + functional.silu(self.norm_x(self.own(x) + total)), e + functional.silu(self.norm_e(z))


class AttentionConv(nn.Module):
    """Multi-head attention of a node over its neighbours (CGAT, Schmidt 2021; Roost, Goodall and Lee 2020).

    a_ij = softmax_j(w_j^p f(x_i, x_j, e_ij)); x_i <- norm(x_i + mean over heads of sum_j a_ij g(x_i, x_j, e_ij)), with
    two-layer f and g, and p learned where neighbours have weights.
    """

    def __init__(self, width: int, edge: int, heads: int = 3, hidden: int = 128) -> None:
        super().__init__()
        self.heads = heads
        self.here, self.there = nn.Linear(width, 2 * hidden), nn.Linear(width, 2 * hidden, bias=False)
        self.bond = nn.Linear(edge, 2 * hidden, bias=False) if edge else None
        self.gate, self.value = nn.Linear(hidden, heads), nn.Linear(heads * hidden, width)
        self.power = nn.Parameter(torch.ones(heads))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, e: Tensor | None, batch: Batch, kind: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """(N, h), (E, k) or None -> the same; with ``kind`` (E,), e is (K, k) and has a row a kind of edge."""
        z = self.here(x).index_select(0, batch.target) + self.there(x).index_select(0, batch.source)
        if self.bond is not None and e is not None:
            z = z + (self.bond(e) if kind is None else self.bond(e).index_select(0, kind))
        gate, value = functional.silu(z).chunk(2, dim=1)
        logits = self.gate(gate) + self.power * torch.log(batch.weight[batch.source].clamp_min(1e-6))[:, None]
        share = segment_softmax(logits, batch.target, len(x), batch.edge.get("count"))
        # The last linear map comes after the sum: it is the same, and there are fewer atoms than bonds.
        heads = [segment_sum(value * share[:, h : h + 1], batch.target, len(x)) for h in range(self.heads)]
        return self.norm(x + self.value(torch.cat(heads, dim=1)) / self.heads), e


class AttentionPool(nn.Module):
    """Nodes (N, h) -> graphs (size, h): a softmax over each graph's nodes, weighted by w^p, a few heads averaged.

    A node that stands for several (``count``) has as many terms.
    """

    def __init__(self, width: int, heads: int = 3, context: int = 0) -> None:
        super().__init__()
        self.gate = mlp(width + context, [64], heads)
        self.value = mlp(width, [width], width)
        self.power = nn.Parameter(torch.ones(heads))

    def forward(self, x: Tensor, batch: Batch, context: Tensor | None = None) -> Tensor:
        """(N, h), and (size, context) where the pool was made for one -> (size, h)."""
        seen = x if context is None else torch.cat([x, context.index_select(0, batch.graph)], dim=1)
        logits = self.gate(seen) + self.power * torch.log(batch.weight.clamp_min(1e-6))[:, None]
        share = segment_softmax(logits, batch.graph, batch.size, batch.node.get("count")).mean(dim=1, keepdim=True)
        return segment_sum(share * self.value(x), batch.graph, batch.size)


def mean_pool(x: Tensor, batch: Batch) -> Tensor:
    """Nodes (N, h) -> graphs (size, h): the mean, each node by its weight."""
    return segment_mean(x, batch.graph, batch.size, batch.weight)


def mlp(inputs: int, hidden: Sequence[int], outputs: int, *, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with silu between them."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.SiLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class Trunk(nn.Module):
    """Residual layers from a graph's vector, and numbers known of the whole graph, to means and log widths (2 t)."""

    def __init__(
        self, inputs: int, hidden: Sequence[int], targets: int, *, extra: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.extra = nn.BatchNorm1d(extra) if extra else None
        widths = [inputs + extra, *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.skips = nn.ModuleList(
            nn.Identity() if a == b else nn.Linear(a, b, bias=False) for a, b in pairwise(widths)
        )
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(widths[-1], 2 * targets)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """(size, inputs), (size, extra) -> (size, 2 t)."""
        if self.extra is not None and extra is not None:
            x = torch.cat([x, self.extra(extra)], dim=1)
        for layer, skip in zip(self.layers, self.skips, strict=True):
            x = self.dropout(functional.silu(layer(x))) + skip(x)
        return self.out(x)
