"""A cheap look at a Gaussian process: what it cannot exceed, for a whole pool, in single precision where it is safe."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.acquisition.surrogate import GaussianProcess, Kernel

_RANKS = (24, 96)  # directions of the data in which the variance is looked at, before all of them are
_LOOSE = 1.0  # mean excess of the bound over the variance, relative to it, at which more directions pay
_CAUTION = 16.0  # times the largest rounding error seen
_BLUNT = 0.1  # margin of the mean, in median standard deviations, from which single precision is not good enough


@dataclass(frozen=True)
class Skim:
    """Bounds on a Gaussian process: its mean to within ``margin``, and its standard deviation from above.

    Every part of what the data explain of the variance bounds the variance from above; here the part along a few
    directions, the leading ones of what they explain of a sample of the pool. A candidate costs O(n (d + rank)) instead
    of O(n (d + n)), in products of matrices only, which single precision carries out twice as fast. Its rounding is
    measured at the sample and at the data, against double precision, and 16 times the largest error found, or what is
    to be expected if that is more, is allowed for; where that would blunt the bounds, double precision is used.

    Attributes:
        data, heads, scale, centre: the process, prepared for products of matrices.
        mean: the constant mean.
        margin: what the mean may be off by.
        slack: what the norm of the explained part may be off by.
        chance, trend: the process's.
    """

    data: Tensor
    heads: Tensor
    scale: Tensor
    centre: Tensor
    mean: float
    kernel: Kernel
    margin: float = 0.0
    slack: float = 0.0
    chance: float = 0.0
    trend: Tensor | None = None

    @classmethod
    def of(cls, process: GaussianProcess, sample: Tensor) -> Skim:
        """Prepare a look at points like the (s, d) sample, s >= 1, in double precision."""
        cross = process.cross(sample)
        explained = torch.linalg.solve_triangular(process.root, cross, upper=False)
        total = explained.square().sum(0)
        directions = torch.eye(len(process.X), dtype=explained.dtype)
        for rank in _RANKS:
            if 2 * rank < len(process.X):
                leading = _leading(explained, rank)
                missing = (total - (leading.T @ explained).square().sum(0)) / (1.0 - total).clamp_min(1e-10)
                if float(missing.mean()) < _LOOSE:
                    directions = leading
                    break
        double = cls._prepared(process, directions)
        probes = torch.cat([sample, process.X[:: max(1, len(process.X) // 128)]])
        true_mean, true_seen = double._look(probes)
        single = double.to(torch.float32)
        mean, seen = single._look(probes)
        rounding = double._rounding()
        margin = max(_CAUTION * float((mean - true_mean).abs().max()), rounding * float(double.heads[0].norm()))
        slack = max(_CAUTION * float((seen - true_seen).abs().max()), rounding * float(double.heads[1:].norm()))
        _, std = process.predict(sample)
        explained_most = (true_seen[: len(sample)] - slack).clamp_min(0.0)
        excess = ((1.0 - explained_most.square()).clamp_min(1e-10) + process.chance**2).sqrt() / std
        if margin > _BLUNT * float(std.median()) or float(excess.median()) > 1.0 + _LOOSE:
            return double
        return replace(single, margin=margin, slack=slack)

    @classmethod
    def _prepared(cls, process: GaussianProcess, directions: Tensor) -> Skim:
        projection = torch.linalg.solve_triangular(process.root.T, directions, upper=True).T
        scale = math.sqrt(5.0 if process.kernel == "matern52" else 0.5) / process.lengthscale
        centre = process.X.mean(0)
        z = (process.X - centre) * scale
        square = z.square().sum(1, keepdim=True)
        heads = torch.cat([process.weights[None], projection])
        if process.relations is not None:
            heads = heads * process.relations.own()
        return cls(
            data=torch.cat([-2 * z, torch.ones_like(square), square], 1),
            heads=heads.contiguous(),
            scale=scale,
            centre=centre,
            mean=process.mean,
            trend=process.trend,
            chance=process.chance,
            kernel=process.kernel,
            margin=1e-12 * (1.0 + float(process.weights.abs().sum())),
            slack=1e-10,
        )

    def _rounding(self) -> float:
        """About the largest error of a correlation in single precision, for points in the unit cube.

        Errors of sums grow with the square root of their length (Higham & Mary, SIAM J. Sci. Comput. 41, A2815, 2019,
        doi:10.1137/18M1226312); four times that is taken.
        """
        d = self.data.shape[1] - 2
        reach = 0.5 * float(self.data[:, :d].norm(dim=1).max()) + float(self.scale.norm())
        slope = 1 / 6 if self.kernel == "matern52" else 1.0
        return 2.0**-24 * (slope * (4 * math.sqrt(d) + 8) * reach**2 + 16)

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which it looks."""
        return self.data.dtype

    def to(self, where: torch.device | torch.dtype) -> Skim:
        """The same on another device, or in another precision."""
        data, heads, scale, centre = (t.to(where) for t in (self.data, self.heads, self.scale, self.centre))
        trend = None if self.trend is None else self.trend.to(data.device)
        return replace(self, data=data, heads=heads, scale=scale, centre=centre, trend=trend)

    def __call__(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n,), right to within ``margin``, and upper bound of the standard deviation (n,), in double precision.

        Args:
            X: (n, d) features, about in the unit cube.
        """
        mean, seen = self._look(X)
        left = (1.0 - (seen - self.slack).clamp_min_(0.0).square()).clamp_min_(1e-10)
        return mean, left.add_(self.chance**2).sqrt_()

    def _look(self, X: Tensor) -> tuple[Tensor, Tensor]:
        z = (X.to(self.dtype) - self.centre) * self.scale
        square = z.square().sum(1, keepdim=True)
        distance = self.data @ torch.cat([z, square, torch.ones_like(square)], 1).T
        head = self.heads @ _correlation(distance.clamp_min_(0.0), self.kernel)
        mean = self.mean if self.trend is None else self.mean + X.double() @ self.trend
        return mean + head[0].double(), head[1:].double().square().sum(0).sqrt()


def _correlation(distance: Tensor, kernel: Kernel) -> Tensor:
    """The kernel of scaled squared distances, which are overwritten: exp(-s), or (1 + a + a^2 / 3) exp(-a), a^2 = s."""
    if kernel == "rbf":
        return distance.neg_().exp_()
    root = distance.sqrt()
    polynomial = torch.add(root, distance, alpha=1 / 3, out=distance)
    decay = root.neg_().exp_()
    return torch.addcmul(decay, decay, polynomial, out=polynomial)


def _leading(columns: Tensor, rank: int) -> Tensor:
    """About the leading left singular vectors of (n, s) columns, (n, rank): orthogonal iteration from the columns."""
    start = columns[:, :: max(1, columns.shape[1] // rank)][:, :rank]
    if start.shape[1] < rank:
        start = torch.cat([start, torch.eye(len(columns), rank - start.shape[1], dtype=columns.dtype)], 1)
    basis = torch.linalg.qr(start).Q
    for _ in range(3):
        basis = torch.linalg.qr(columns @ (columns.T @ basis)).Q
    return basis
