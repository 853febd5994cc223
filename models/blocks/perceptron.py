"""Multi-layer perceptrons on tables: torch trains them, plain arrays keep them, and asking them needs numpy only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.blocks.threads import torch_threads
from models.errors import DataError, NotFittedError

if TYPE_CHECKING:
    from torch import Tensor

_FURTHEST = 5.0  # standard deviations at which a feature is cut off
_LEAST_SPREAD = 0.01
_CHUNK = 8192

Scores = Callable[[np.ndarray], "Tensor"]
"""What the network says of some rows, (r,)."""


class Perceptron:
    """One output from d features, smooth where boosted trees have steps: the two err on different rows.

    Trained by AdamW in one cycle (Loshchilov and Hutter, ICLR 2019; Smith and Topin, 2018) with dropout.

    Args:
        hidden: widths of the hidden layers.
        drop: share of the hidden units that each step leaves out.
        epochs: times that each row is seen.
        batch: rows of a step.
        rate: highest learning rate.
        decay: pull of the weights to 0.
        seed: of the first weights and of all that is drawn.
    """

    def __init__(
        self, *, hidden: Sequence[int] = (128, 128), drop: float = 0.3, epochs: int = 25, batch: int = 128,
        rate: float = 2e-3, decay: float = 1e-2, seed: int = 0,
    ) -> None:  # fmt: skip
        self.hidden, self.drop, self.epochs, self.batch = tuple(hidden), drop, epochs, batch
        self.rate, self.decay, self.seed = rate, decay, seed
        self._arrays: dict[str, np.ndarray] = {}

    def fit(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Learn log-odds from features (n, d) and labels (n,); ``weight`` (n,) says how much a row counts."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        counts = np.ones(len(y)) if weight is None else weight
        labels = torch.tensor(np.asarray(y, dtype=np.float32))
        weights = torch.tensor((counts / counts.mean()).astype(np.float32))

        def loss(scores: Scores, some: np.ndarray) -> Tensor:
            return binary_cross_entropy_with_logits(scores(some), labels[some], weights[some])

        self.learn(X, np.arange(len(y)), loss)

    def learn(self, X: np.ndarray, items: np.ndarray, loss: Callable[[Scores, np.ndarray], Tensor]) -> None:
        """Learn by any loss of features (n, d).

        ``items`` (m,) are what is shuffled and cut into batches, rows or not; ``loss`` is given what scores rows, and
        the items of a batch. Raises DataError where there are none.
        """
        import torch
        from torch import nn

        if not len(items):
            raise DataError("nothing to learn from")
        self._arrays = {
            "mean": X.mean(axis=0).astype(np.float32),
            "spread": (X.std(axis=0) + _LEAST_SPREAD).astype(np.float32),
        }
        scaled, draw = torch.tensor(self._scaled(X)), np.random.default_rng(self.seed)
        widths = [X.shape[1], *self.hidden]
        with torch_threads(1), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            parts: list[nn.Module] = []
            for a, b in itertools.pairwise(widths):
                parts += [nn.Linear(a, b), nn.SiLU(), nn.Dropout(self.drop)]
            network = nn.Sequential(*parts, nn.Linear(widths[-1], 1))
            batches = -(-len(items) // self.batch)
            optimizer = torch.optim.AdamW(network.parameters(), lr=self.rate, weight_decay=self.decay)
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=self.epochs * batches)
            for _ in range(self.epochs):
                for some in np.array_split(draw.permutation(items), batches):
                    optimizer.zero_grad()
                    loss(lambda rows: network(scaled[rows]).squeeze(-1), some).backward()
                    optimizer.step()
                    cycle.step()
        for i, layer in enumerate(layer for layer in network if isinstance(layer, nn.Linear)):
            self._arrays[f"weight{i}"] = layer.weight.detach().numpy().T.copy()
            self._arrays[f"bias{i}"] = layer.bias.detach().numpy().copy()

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Log-odds, or whatever the loss taught, (n,). Raises NotFittedError."""
        if not self._arrays:
            raise NotFittedError("fit the network before asking it")
        last = len(self._arrays) // 2 - 2
        out = np.empty(len(X))
        for start in range(0, len(X), _CHUNK):
            z = self._scaled(X[start : start + _CHUNK])
            for i in range(last):
                z = z @ self._arrays[f"weight{i}"] + self._arrays[f"bias{i}"]
                z = z / (1.0 + np.exp(-np.clip(z, -60.0, 60.0)))
            out[start : start + _CHUNK] = (z @ self._arrays[f"weight{last}"] + self._arrays[f"bias{last}"])[:, 0]
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint. Raises NotFittedError."""
        if not self._arrays:
            raise NotFittedError("fit the network before keeping it")
        return dict(self._arrays)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what ``arrays`` gave. Raises DataError where something is missing or does not fit."""
        layers = len(arrays) // 2 - 1
        try:
            shapes = [arrays[f"weight{i}"].shape for i in range(layers)]
            biases = [arrays[f"bias{i}"].shape for i in range(layers)]
            width = arrays["mean"].shape
            whole = layers > 0 and arrays["spread"].shape == width == shapes[0][:1] and biases[-1] == (1,)
        except KeyError as error:
            raise DataError(f"the stored network is damaged ({error}); delete the file and train again") from error
        inner = [(a[1:], b) for a, b in zip(shapes, biases, strict=True)]
        inner += [(a[1:], b[:1]) for a, b in itertools.pairwise(shapes)]
        if not whole or any(a != b for a, b in inner):
            raise DataError("the stored network's layers do not fit each other; delete the file and train again")
        self._arrays = {name: np.asarray(one, dtype=np.float32) for name, one in arrays.items()}

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        z = (X - self._arrays["mean"]) / self._arrays["spread"]
        return np.clip(z, -_FURTHEST, _FURTHEST).astype(np.float32)
