"""A model of one or a few properties, learned from a table: what every system of the review is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from models.blocks.composition import magpie_features
from models.blocks.fitting import Chosen, History, Inputs, Run, Scaled, Schedule, fit
from models.blocks.kernels import GaussianProcess, SupportVectors
from models.blocks.materials import Materials
from models.blocks.stacking import Stack
from models.blocks.trees import Forest
from models.errors import DataError, NotFittedError


class PropertyModel(ABC):
    """Learns t properties of materials and says how sure it is.

    Attributes:
        citation: DOI of the paper that the system comes from.
        summary: what it is, for ``athanor models list``.
        structure: it needs a crystal; otherwise a formula is enough.
        columns: other columns of a file that it reads where the file has them (``uses``, as given to the maker).
        speed: predictions a second of one CPU core, graphs or features included.
        schedule: how its network is trained; ``None`` where there is none.
        again: share of a budget that ``fit_all`` needs; 0 where it does nothing.
    """

    citation: ClassVar[str]
    summary: ClassVar[str]
    structure: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ()
    schedule: Schedule | None = None
    again: ClassVar[float] = 0.0
    speed: ClassVar[str] = "?"

    def __init__(self, *, targets: int = 1, seed: int = 0, uses: tuple[str, ...] = ()) -> None:
        self.targets, self.seed, self.uses = targets, seed, tuple(uses)

    @abstractmethod
    def prepare(self, materials: Materials) -> Any:
        """Turn materials into what the model learns from; the same for every member of an ensemble."""

    @abstractmethod
    def fit(self, inputs: Any, y: np.ndarray, train: np.ndarray, valid: np.ndarray, run: Run) -> History:
        """Learn from prepared inputs and targets (n, t); rows by number. Validation rows only choose, never teach."""

    def fit_all(self, inputs: Any, y: np.ndarray, rows: np.ndarray, run: Run) -> None:
        """Learn again, from all ``rows``, once rows that ``fit`` left out have chosen and judged what they could.

        What those rows chose (weights of parts) stays. A network stays as it is, unless its system says otherwise.
        """
        del inputs, y, rows, run

    def needs_s(self, inputs: Any, y: np.ndarray, rows: np.ndarray, run: Run) -> float:
        """About how many seconds ``fit`` takes for all its epochs, by a trial on a few rows; 0 where it has none."""
        if self.schedule is None:
            return 0.0
        few, none, quick = rows[: 6 * self.schedule.batch], np.zeros(0, dtype=np.int64), replace(run, epochs=1)
        self.fit(inputs, y, few[: self.schedule.batch], none, quick)  # the first batch pays for starting up
        began = time.monotonic()
        self.fit(inputs, y, few, none, quick)
        return (time.monotonic() - began) * len(rows) / len(few) * (run.epochs or self.schedule.epochs)

    @abstractmethod
    def predict(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations, (n, t) each. Raises NotFittedError."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What was learned, for a checkpoint."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what ``arrays`` gave. Raises DataError where it is of another model."""

    def select(self, inputs: Any, rows: np.ndarray) -> Any:
        """Some rows of prepared inputs."""
        return inputs[rows] if isinstance(inputs, np.ndarray) else Chosen(inputs, torch.from_numpy(rows))

    def extra(self, materials: Materials) -> np.ndarray:
        """The numbers of ``uses``, (n, len(uses)); a gap is the column's mean."""
        if not self.uses:
            return np.zeros((len(materials), 0))
        columns = np.stack([materials.numbers_of(name) for name in self.uses], axis=1)
        if np.isnan(columns).all(axis=0).any():
            raise DataError(f"one of the columns {', '.join(self.uses)} has no number at all")
        return np.where(np.isnan(columns), np.nanmean(columns, axis=0), columns)


class TabularModel(PropertyModel):
    """A feature vector a material, and a regressor without gradients: a forest, support vectors, a Gaussian process.

    Attributes:
        trees, share: of the forest of extremely randomised trees, where it is one: how many, and the share of the
            features that a split looks at.
    """

    again: ClassVar[float] = 0.5
    trees: ClassVar[int] = 200
    share: ClassVar[float] = 0.33

    def regressor(self) -> Forest | SupportVectors | GaussianProcess | Stack:
        """A fresh regressor of one target."""
        return Forest(trees=self.trees, features=self.share, seed=self.seed)

    def features(self, materials: Materials) -> np.ndarray:
        """(n, d) features; elemental statistics and fractions unless the system has its own."""
        return magpie_features(materials.compositions, with_fractions=True)

    def prepare(self, materials: Materials) -> np.ndarray:
        """Features, and the columns that are used."""
        return np.concatenate([self.features(materials), self.extra(materials)], axis=1)

    def fit(self, inputs: np.ndarray, y: np.ndarray, train: np.ndarray, valid: np.ndarray, run: Run) -> History:
        """Fit one regressor a target."""
        self._regressors = []
        for k in range(y.shape[1]):
            known = train[~np.isnan(y[train, k])]
            if not len(known):
                raise DataError("no rows to train on; check the target column and the split")
            regressor = self.regressor()
            if not isinstance(regressor, Stack):
                regressor.fit(inputs[known], y[known, k])
            else:
                budget_s = None if run.budget_s is None else run.budget_s / y.shape[1]
                regressor.fit(inputs[known], y[known, k], budget_s=budget_s)
                held = valid[~np.isnan(y[valid, k])]
                regressor.weigh(inputs[held], y[held, k])
            self._regressors.append(regressor)
        error = np.nan
        if len(valid):
            error = float(np.nanmean(np.abs(self.predict(inputs[valid])[0] - y[valid])))
        if run.report is not None:
            run.report(1, 1.0, float("nan"), error)
        return History([(1, float("nan"), error)], 1)

    def fit_all(self, inputs: np.ndarray, y: np.ndarray, rows: np.ndarray, run: Run) -> None:
        """Grow each target's regressor again from all rows; a stack keeps its weights."""
        for k, regressor in enumerate(self._regressors):
            known = rows[~np.isnan(y[rows, k])]
            if isinstance(regressor, Stack):
                budget_s = None if run.budget_s is None else run.budget_s / y.shape[1]
                regressor.fit_again(inputs[known], y[known, k], budget_s=budget_s)
            else:
                regressor.fit(inputs[known], y[known, k])

    def predict(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations, (n, t)."""
        if not getattr(self, "_regressors", None):
            raise NotFittedError("train the model before asking it")
        mean, std = zip(*(r.predict(inputs) for r in self._regressors), strict=True)
        return np.stack(mean, axis=1), np.stack(std, axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Of all targets' regressors."""
        return {f"{k}/{name}": a for k, r in enumerate(self._regressors) for name, a in r.arrays().items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Of all targets' regressors."""
        from models.blocks.checkpoint import nested

        self._regressors = []
        for k in range(self.targets):
            regressor = self.regressor()
            regressor.restore(nested(arrays, str(k)))
            self._regressors.append(regressor)


class NeuralModel(PropertyModel):
    """A network that gives t standardised means and t log widths for each input."""

    schedule: Schedule = Schedule()

    @abstractmethod
    def inputs(self, materials: Materials) -> Inputs:
        """Graphs, images or features of the materials."""

    @abstractmethod
    def network(self) -> nn.Module:
        """A fresh network, ``network(batch) -> (size, 2 t)``."""

    def prepare(self, materials: Materials) -> Inputs:
        """The inputs; columns that are used go with each graph."""
        inputs: Any = self.inputs(materials)
        if self.uses:
            used = torch.from_numpy(self.extra(materials).astype(np.float32))
            inputs.extra = used if inputs.extra is None else torch.cat([inputs.extra, used], dim=1)
        return inputs

    def fit(self, inputs: Inputs, y: np.ndarray, train: np.ndarray, valid: np.ndarray, run: Run) -> History:
        """``models.blocks.fitting.fit`` with the system's schedule; ``run.warm`` goes on from what was learned."""
        if not (run.warm and hasattr(self, "_model")):
            torch.manual_seed(self.seed)
            self._model = Scaled(self.network(), self.targets)
        self._device = run.device
        return fit(self._model, inputs, y, train, valid, self.schedule, seed=self.seed, run=run)

    def fit_all(self, inputs: Inputs, y: np.ndarray, rows: np.ndarray, run: Run) -> None:
        """The whole schedule again with all rows, where the system is quick enough to say so (``again``)."""
        if self.again:
            self.fit(inputs, y, rows, np.zeros(0, dtype=np.int64), run)

    def predict(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations, (n, t)."""
        if not hasattr(self, "_model"):
            raise NotFittedError("train the model before asking it")
        return self._model.predict(inputs, device=getattr(self, "_device", "cpu"))

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights and the target's scale."""
        if not hasattr(self, "_model"):
            raise NotFittedError("train the model before keeping it")
        return {name: value.detach().cpu().numpy() for name, value in self._model.state_dict().items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The weights and the target's scale."""
        model = Scaled(self.network(), self.targets)
        try:
            model.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in arrays.items()})
        except RuntimeError as error:
            raise DataError(f"the checkpoint is of another network ({str(error)[:200]}); train it again") from error
        self._model = model.eval()

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.network().parameters())
