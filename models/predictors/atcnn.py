"""ATCNN: the atom table as an image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.blocks.convolutions import Trunk
from models.blocks.fitting import DenseSet, Schedule
from models.blocks.materials import Materials
from models.predictors.property import NeuralModel


class ATCNN(NeuralModel):
    """Atom table convolutional network (Zeng et al., npj Comput. Mater. 2019).

    A composition is a 10 x 10 image, a pixel an element by its atomic number, as bright as its fraction; a small
    convolutional network with skips reads it.
    """

    citation = "10.1038/s41524-019-0223-y"
    summary = "a convolutional network on the composition as a 10 x 10 image of the elements"
    speed = "3,600"
    schedule = Schedule(epochs=80, batch=128, learning_rate=2e-3)

    def inputs(self, materials: Materials) -> DenseSet:
        """Images, (n, 100)."""
        dense = materials.compositions.dense()
        image = np.zeros((len(dense), 100), dtype=np.float32)
        image[:, : dense.shape[1]] = dense
        return DenseSet(torch.from_numpy(image))

    def network(self) -> nn.Module:
        """Three convolutions, trunk."""
        return _Network(self.targets, len(self.uses))


class _Network(nn.Module):
    def __init__(self, targets: int, extra: int, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 5, padding=2)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.trunk = Trunk(25 * width + 100, [256, 128], targets, extra=extra, dropout=0.1)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        flat, extra = batch
        x = nn.functional.silu(self.first(10.0 * flat.view(-1, 1, 10, 10)))
        for layer in self.layers:
            x = x + nn.functional.silu(layer(x))
        x = nn.functional.max_pool2d(x, 2).flatten(1)
        return self.trunk(torch.cat([x, 10.0 * flat], dim=1), extra)
