"""Metal-linked coarse graphs: what matters of a metal-organic framework's magnetism are its metals and their links."""

from __future__ import annotations

from torch import nn

from models.blocks.fitting import Schedule
from models.blocks.graph_cache import graphs_of
from models.blocks.graphs import GraphSet, metal_graphs
from models.blocks.materials import Materials
from models.predictors.cgcnn import GatedNetwork
from models.predictors.property import NeuralModel


class MetalLinkedNet(NeuralModel):
    """Transition-metal interlinked network (Wang et al. 2022, anisotropy of two-dimensional metal-organic frameworks).

    The crystal is coarse-grained to its metal atoms; each is joined to its nearest metals, through whatever linker.
    Gated convolutions as in CGCNN, distances up to 16 angstrom.
    """

    citation = "ACS Appl. Mater. Interfaces 14, 33726 (2022)"
    summary = "gated convolutions on the metals alone, for frameworks"
    speed = "4,100"
    structure = True
    schedule = Schedule(epochs=100, batch=64, learning_rate=3e-3)

    def inputs(self, materials: Materials) -> GraphSet:
        """Coarse graphs of the 6 nearest metals."""
        return graphs_of(materials, metal_graphs)

    def network(self) -> nn.Module:
        """Embedding, three convolutions, pool, trunk."""
        return GatedNetwork(self.targets, len(self.uses), reach_A=16.0, hidden=[128])
