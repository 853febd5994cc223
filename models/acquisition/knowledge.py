"""What is known before the campaign: measurement noise, directions, crude estimates, earlier results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from models.acquisition.hyperparameters import Kernel
from models.acquisition.related import Source, fit_related
from models.acquisition.surrogate import GaussianProcess, covariance, fit_gaussian_process
from models.candidate import Candidate, digest
from models.errors import DataError
from models.roles import Pool

_SLOPE_STD = 2.0  # prior standard deviation of a slope, in standard deviations of the quantity over a feature's range
MOST_PRIOR_ROWS = 2000


class PriorTable(BaseModel):
    """Earlier results of the same quantities in a CSV or Parquet file.

    Attributes:
        file: relative to the campaign file; ``${VARIABLE}`` is filled in.
        columns: quantity of this campaign -> its column there, where the names differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    columns: dict[str, str] = Field(default_factory=dict)


class Knowledge(BaseModel):
    """What the user knows.

    Attributes:
        noise: quantity -> standard deviation of one measurement, in its unit.
        monotone: quantity -> feature -> ``increasing`` or ``decreasing``: the mean's slope gets that sign, learnt in
            size; where data say otherwise for good, they win.
        crude: computed quantities or numeric parameters that estimate an objective crudely, added as features whose
            slope is learnt (crude estimation of property: Zhang & Ling, npj Comput. Mater. 4, 25, 2018).
        prior: earlier campaigns or literature, each a source that is used as far as it agrees (``fit_related``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    noise: dict[str, float] = Field(default_factory=dict)
    monotone: dict[str, dict[str, Literal["increasing", "decreasing"]]] = Field(default_factory=dict)
    crude: tuple[str, ...] = ()
    prior: tuple[PriorTable, ...] = ()

    def check(self, feature_names: Sequence[str], quantities: Sequence[str]) -> None:
        """Raise DataError where it speaks of something that the campaign does not have."""
        for kind, said in (("noise", self.noise), ("monotone", self.monotone)):
            for name in said:
                if name not in quantities:
                    raise DataError(f"{kind}: {name!r} is no measured quantity; there are {', '.join(quantities)}")
        for name, slopes in self.monotone.items():
            for feature in slopes:
                if feature not in feature_names:
                    listed = ", ".join(feature_names[:20])
                    raise DataError(f"monotone: {name}: no feature {feature!r}; features are {listed}")


class Earlier:
    """The rows of prior tables, as candidates of a space and values of quantities."""

    def __init__(self, tables: Sequence[PriorTable], base_dir: Path, quantities: Sequence[str]) -> None:
        """Read them. Raises DataError naming the file, and the row or column."""
        from models.spaces.table import read_table, table_path

        self.sources: list[tuple[str, list[Candidate], dict[str, np.ndarray]]] = []
        for table in tables:
            path = table_path(table.file, base_dir)
            frame = read_table(path)
            values: dict[str, np.ndarray] = {}
            for quantity in quantities:
                column = table.columns.get(quantity, quantity)
                if column in frame.columns:
                    values[quantity] = np.asarray(frame[column], dtype=float)
            if not values:
                raise DataError(
                    f"prior: {path.name} has no column of {', '.join(quantities)}; its columns are "
                    f"{list(frame.columns)}: name them under 'columns'"
                )
            taken = {table.columns.get(quantity, quantity) for quantity in values}
            rows = np.linspace(0, len(frame) - 1, min(len(frame), MOST_PRIOR_ROWS)).astype(int)
            rest = [c for c in frame.columns if c not in taken]
            records = frame.loc[:, rest].iloc[rows].to_dict("records")
            candidates = [
                Candidate(
                    id=str(r.get("candidate", f"prior-{i}")), parameters={str(k): _plain(v) for k, v in r.items()}
                )
                for i, r in zip(rows.tolist(), records, strict=True)
            ]
            self.sources.append((path.stem, candidates, {q: v[rows] for q, v in values.items()}))

    @property
    def digest(self) -> str:
        """Of all rows; empty where there are none."""
        if not self.sources:
            return ""
        return digest(
            [[name, found, {q: v.tolist() for q, v in values.items()}] for name, found, values in self.sources]
        )

    def featurized(self, pool: Pool) -> list[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
        """Name, features (m, d) and values of each source. Raises DataError, UnknownNameError for a foreign row."""
        return [(name, np.asarray(pool.featurize(found), float), values) for name, found, values in self.sources]


def _plain(value: object) -> float | int | str:
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, float | int | str) and not isinstance(value, bool) else str(value)


def fit_informed(
    X: Tensor,
    y: Tensor,
    *,
    kernel: Kernel,
    noise: float | None = None,
    signs: np.ndarray | None = None,
    sources: Sequence[Source] = (),
) -> GaussianProcess:
    """Fit a Gaussian process with what is known of it.

    Args:
        X: (n, d) features in the unit cube.
        y: (n,) standardised values.
        kernel: ``matern52`` or ``rbf``.
        noise: known noise variance, standardised.
        signs: (d,) of the mean's slope along each feature: +1, -1, nan (any) or 0 (none is fitted).
        sources: related tasks.
    """
    if signs is None or not np.any(signs != 0) or not len(y):
        return _fitted(X, y, kernel, noise, sources)
    trend = _slopes(X, y, None, signs)
    first = _fitted(X, y - X @ trend, kernel, noise, sources)
    K = covariance(X, X, first.lengthscale, kernel)
    K.diagonal().add_(first.noise + 1e-8)
    trend = _slopes(X, y, torch.linalg.cholesky(K), signs)
    process = _fitted(X, y - X @ trend, kernel, noise, sources)
    return GaussianProcess.conditioned(
        process.X,
        process.y + process.X @ trend,
        mean=process.mean,
        noise=process.noise,
        noises=process.noises,
        lengthscale=process.lengthscale,
        kernel=kernel,
        relations=process.relations,
        trend=trend,
    )


def _fitted(X: Tensor, y: Tensor, kernel: Kernel, noise: float | None, sources: Sequence[Source]) -> GaussianProcess:
    if sources:
        return fit_related(X, y, sources, kernel=kernel, noise=noise)
    return fit_gaussian_process(X, y, kernel=kernel, noise=noise)


def _slopes(X: Tensor, y: Tensor, root: Tensor | None, signs: np.ndarray) -> Tensor:
    """The most probable slopes (d,) under their signs, values being correlated as ``root @ root.T`` says."""
    from scipy.optimize import lsq_linear

    columns = np.flatnonzero(signs != 0)
    A = torch.cat([torch.ones(len(X), 1, dtype=torch.float64), X[:, torch.from_numpy(columns)]], 1)
    b = y[:, None]
    if root is not None:
        A = torch.linalg.solve_triangular(root, A, upper=False)
        b = torch.linalg.solve_triangular(root, b, upper=False)
    ridge = np.diag(np.r_[1e-6, np.full(len(columns), 1 / _SLOPE_STD)])
    low = np.r_[-np.inf, np.where(signs[columns] > 0, 0.0, -np.inf)]
    high = np.r_[np.inf, np.where(signs[columns] < 0, 0.0, np.inf)]
    found = lsq_linear(np.vstack([A.numpy(), ridge]), np.r_[b[:, 0].numpy(), np.zeros(len(ridge))], bounds=(low, high))
    trend = np.zeros(len(signs))
    trend[columns] = found.x[1:]
    return torch.from_numpy(trend)
