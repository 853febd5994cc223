"""What a candidate is worth in expectation, in closed form: fast enough for a whole pool."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_BLOCK = 2_000_000  # elements of one (candidates x boxes) block: about 16 MB each


def log_expected_hypervolume_improvement(mean: Tensor, std: Tensor, lower: np.ndarray, upper: np.ndarray) -> Tensor:
    """Log of the expected hypervolume improvement of one point with independent Gaussian objectives.

    The region not yet dominated is a union of disjoint boxes [l, u]; a point y gains prod_j (min(y_j, u_j) - l_j)+ in
    each, and for independent objectives the expectation is prod_j (E[(y_j - l_j)+] - E[(y_j - u_j)+]). With one
    objective this is expected improvement. In logs throughout, so that hopeless candidates can still be ranked.
    Ament et al., NeurIPS 2023, arXiv:2310.20708 (logs); Daulton et al., NeurIPS 2020, arXiv:2006.05078 (boxes).

    Args:
        mean: (n, m), larger is better.
        std: (n, m), 0 where the value is exactly known.
        lower: (k, m) lower corners, finite.
        upper: (k, m) upper corners, may be infinite.

    Returns:
        (n,); -inf only where an exactly known value makes an improvement impossible.
    """
    low, high = torch.from_numpy(lower).to(mean.device), torch.from_numpy(upper).to(mean.device)
    rows = max(1, _BLOCK // max(1, len(low)))
    parts = []
    for start in range(0, len(mean), rows):
        gain = torch.zeros(len(mean[start : start + rows]), len(low), dtype=mean.dtype, device=mean.device)
        for j in range(mean.shape[1]):
            mu, sigma = mean[start : start + rows, j, None], std[start : start + rows, j, None]
            term = _log_excess(mu, sigma, low[None, :, j])
            bounded = torch.isfinite(high[:, j])
            if bool(bounded.any()):
                beyond = _log_excess(mu, sigma, high[None, bounded, j])
                term[:, bounded] = _log_difference(term[:, bounded], beyond)
            gain += term
        parts.append(torch.logsumexp(gain, dim=1))
    return torch.cat(parts) if parts else mean.new_empty(0)


def log_probability_between(mean: Tensor, std: Tensor, low: float, high: float) -> Tensor:
    """Log probability that a Gaussian lies in [low, high]; either bound may be infinite. Shape of ``mean``."""
    sigma = std.clamp_min(1e-9)
    if math.isinf(high):
        return torch.special.log_ndtr((mean - low) / sigma)
    if math.isinf(low):
        return torch.special.log_ndtr((high - mean) / sigma)
    a, b = (low - mean) / sigma, (high - mean) / sigma
    flip = a > 0  # work in the lower tail, where log_ndtr keeps its digits
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    return _log_difference(torch.special.log_ndtr(b), torch.special.log_ndtr(a))


def log_best_probability_between(mean: Tensor, std: Tensor, low: float, high: float) -> Tensor:
    """Upper bound of the log probability in [low, high] over all standard deviations up to ``std``. Shape of ``mean``.

    Certainty is best inside; outside, the chance to come back over the nearer bound falls with the spread.
    """
    return torch.special.log_ndtr(
        (torch.minimum(mean - low, high - mean) / std.clamp_min(1e-9)).clamp_min(-1e12)
    ).where((mean < low) | (mean > high), torch.zeros_like(mean))


def _log_excess(mean: Tensor, std: Tensor, threshold: Tensor) -> Tensor:
    """Log E[(y - threshold)+]."""
    gap = mean - threshold
    exact = gap.clamp_min(0.0).log()
    sigma = std.clamp_min(1e-12)
    return torch.where(std > 1e-12, sigma.log() + _log_h(gap / sigma), exact)


def _log_h(z: Tensor) -> Tensor:
    """log(phi(z) + z Phi(z)) for any z, after Ament et al. 2023, eq. 14."""
    log_phi = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    near = z.clamp_min(-1.0)
    direct = torch.log(torch.exp(-0.5 * near * near) / math.sqrt(2 * math.pi) + near * torch.special.ndtr(near))
    u = (-z).clamp(1.0, 1e3)
    tail = log_phi + torch.log1p(-u * math.sqrt(math.pi / 2) * torch.special.erfcx(u / math.sqrt(2)))
    far = log_phi - 2 * torch.log((-z).clamp_min(1.0))  # 1 - u sqrt(pi/2) erfcx(u/sqrt 2) -> u^-2
    return torch.where(z > -1.0, direct, torch.where(z > -1e3, tail, far))


def _log_difference(a: Tensor, b: Tensor) -> Tensor:
    """log(exp a - exp b) for a >= b, -inf where they are equal."""
    gap = (b - a).nan_to_num(nan=0.0).clamp_max(0.0)  # both -inf: no difference
    return a + torch.where(gap > -math.log(2), torch.log(-torch.expm1(gap)), torch.log1p(-torch.exp(gap)))
