"""How much a candidate is expected to enlarge the Pareto front, in closed form, averaged over draws of beliefs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def expected_growth(
    mean: Sequence[np.ndarray], std: Sequence[np.ndarray], front: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """Return the expected hypervolume improvement of each candidate, averaged over particles, shape (n,).

    The part of space that no observation dominates is a union of boxes; for independent Gaussians the expected volume
    that a point wins of a box is a product of two terms an objective (Emmerich et al., CEC 2011,
    doi:10.1109/CEC.2011.5949880; boxes: Lacour et al., doi:10.1016/j.cor.2016.09.025).

    Args:
        mean, std: one array an objective, shape (particles, n); larger is better.
        front: (k, m) values observed, in the same units.
        reference: (m,) worst values of interest.
    """
    low, high = _boxes(front, reference)
    total = np.zeros(mean[0].shape[1])
    for particle in zip(*mean, *std, strict=True):
        won = np.ones((len(low), len(total)))
        for j in range(len(mean)):
            m, s = particle[j], np.maximum(particle[len(mean) + j], 1e-9)
            won *= np.maximum(_above(low[:, j, None], m, s) - _above(high[:, j, None], m, s), 0.0)
        total += won.sum(axis=0)
    return total / len(mean[0])


def _above(bound: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Expected excess of a Gaussian over a bound; 0 over an infinite one."""
    from scipy.special import ndtr

    finite = np.where(np.isfinite(bound), bound, 0.0)
    z = (mean - finite) / std
    excess = std * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi) + (mean - finite) * ndtr(z)
    return np.where(np.isfinite(bound), excess, 0.0)


def _boxes(front: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corners (boxes, m) of what is better than the reference and not dominated."""
    from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning

    parts = FastNondominatedPartitioning(ref_point=torch.from_numpy(reference), Y=torch.from_numpy(front))
    low, high = parts.get_hypercell_bounds().numpy()
    return low, high
