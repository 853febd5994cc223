"""A fully connected network on descriptors, made for the magnetisation of compounds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.blocks.composition import feature_names, magpie_features
from models.blocks.convolutions import Trunk
from models.blocks.fitting import DenseSet, Schedule
from models.blocks.materials import Materials
from models.predictors.property import NeuralModel


class MagnetisationNet(NeuralModel):
    """Artificial neural network on elemental descriptors (Katsikas et al., Phys. Status Solidi B 2021).

    Statistics of the elements and their fractions, standardised, through a fully connected network with dropout. With
    crystals in the table, the volume an atom is among the descriptors where the file has it as a column (``--use``).
    """

    citation = "10.1002/pssb.202000600"
    summary = "a fully connected network on elemental descriptors"
    speed = "36,000"
    schedule = Schedule(epochs=100, batch=128, learning_rate=1e-3)

    def inputs(self, materials: Materials) -> DenseSet:
        """Descriptors, (n, d)."""
        features = magpie_features(materials.compositions, with_fractions=True)
        return DenseSet(torch.from_numpy(features.astype("float32")))

    def network(self) -> nn.Module:
        """Standardisation, trunk."""
        return _Network(len(feature_names(with_fractions=True)), self.targets, len(self.uses))


class _Network(nn.Module):
    def __init__(self, inputs: int, targets: int, extra: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs, momentum=0.01)
        self.trunk = Trunk(inputs, [256, 256, 128], targets, extra=extra, dropout=0.1)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        flat, extra = batch
        return self.trunk(self.norm(flat).clamp(-6.0, 6.0), extra)
