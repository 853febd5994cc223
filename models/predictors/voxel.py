"""A residual network on voxel images of the crystal."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.blocks.convolutions import Trunk
from models.blocks.fitting import Schedule
from models.blocks.materials import Cell, Materials
from models.blocks.voxels import COLOURS, random_rotations, voxel_images
from models.predictors.property import NeuralModel

_TURNS = 8


class VoxelNet(NeuralModel):
    """Residual network on coloured voxel images (Davariashtiyani and Kadkhodaei, Commun. Mater. 2023).

    Training turns every image at random; a prediction is the mean over eight turns, and the turns' spread is part of
    the uncertainty. Here 16 voxels an edge and four residual blocks instead of seven: on a GPU, more would pay.
    """

    citation = "10.1038/s43246-023-00433-9"
    summary = "a 3-D residual network on voxel images"
    speed = "15"
    structure = True
    schedule = Schedule(epochs=60, batch=32, learning_rate=1e-3)

    def inputs(self, materials: Materials) -> Images:
        """Crystals, drawn when a batch is asked for."""
        return Images([c for c in materials.cells if c is not None], seed=self.seed)

    def network(self) -> nn.Module:
        """Residual blocks, pool, trunk."""
        return _Network(self.targets, len(self.uses))

    def predict(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean over eight turns; their variance is added."""
        turned = [super(VoxelNet, self).predict(_turned(inputs, turn)) for turn in range(_TURNS)]
        means, stds = (np.stack(part) for part in zip(*turned, strict=True))
        return means.mean(axis=0), np.sqrt((stds**2).mean(axis=0) + means.var(axis=0))


class Images:
    """n crystals whose images are drawn in a batch: turned anew each time, or by one rotation where ``turn`` is set."""

    def __init__(
        self, cells: list[Cell], *, seed: int = 0, turn: int | None = None, extra: Tensor | None = None,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        self.cells, self.seed, self.turn, self.extra, self.device = cells, seed, turn, extra, device

    def __len__(self) -> int:
        return len(self.cells)

    def to(self, device: str) -> Images:
        """The same, drawn on the processor, given on another device."""
        extra = None if self.extra is None else self.extra.to(device)
        return Images(self.cells, seed=self.seed, turn=self.turn, extra=extra, device=str(device))

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images (b, 5, s, s, s) and extra numbers (b, d)."""
        # torch's generator is seeded an epoch by `fit`, so that a resumed training sees the same turns.
        draw = int(torch.randint(2**31 - 1, (1,))) if self.turn is None else 7919 * (self.turn + 1)
        if self.turn is None:
            rotations = random_rotations(len(rows), draw)
        else:
            rotations = np.repeat(random_rotations(1, draw), len(rows), axis=0)
        images = voxel_images([self.cells[i] for i in rows.tolist()], rotations)
        none = torch.zeros((len(rows), 0), device=self.device)
        return torch.from_numpy(images).to(self.device), none if self.extra is None else self.extra[rows]


def _turned(inputs: Any, turn: int) -> Any:
    """The inputs (or some of their rows) seen from one side."""
    from models.blocks.fitting import Chosen

    if isinstance(inputs, Chosen):
        return Chosen(_turned(inputs.inputs, turn), inputs.rows)
    assert isinstance(inputs, Images)
    return Images(inputs.cells, seed=inputs.seed, turn=turn, extra=inputs.extra, device=inputs.device)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(inputs, outputs, 3, padding=1), nn.Conv3d(outputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(outputs)
        self.skip = nn.Conv3d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(nn.functional.silu(self.norm(self.first(x))))
        return nn.functional.silu(y + self.skip(x))


class _Network(nn.Module):
    def __init__(self, targets: int, extra: int) -> None:
        super().__init__()
        widths = (len(COLOURS) + 1, 16, 32, 64, 64)
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in pairwise(widths))
        self.trunk = Trunk(2 * widths[-1], [128], targets, extra=extra)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, extra = batch
        for k, block in enumerate(self.blocks):
            x = block(x)
            if k < 3:
                x = nn.functional.avg_pool3d(x, 2)
        flat = x.flatten(2)
        return self.trunk(torch.cat([flat.mean(dim=2), flat.amax(dim=2)], dim=1), extra)
