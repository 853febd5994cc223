"""A Gaussian process where fitting the usual one failed: other hyper-parameters first, then jitter."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from models.acquisition.hyperparameters import NOISE_PRIOR, Kernel, lengthscale_prior
from models.acquisition.surrogate import GaussianProcess

log = logging.getLogger(__name__)

JITTERS = (0.0, 1e-4, 1e-2, 1.0)
"""Added to the noise variance of standardised values, one after the other."""
_LARGEST = 1e6  # standardised values beyond this are drawn in


def rescue(X: Tensor, y: Tensor, kernel: Kernel, reason: str) -> tuple[GaussianProcess, str] | None:
    """Condition on the data with the priors' modes for hyper-parameters, with as much jitter as it takes.

    What is not finite is set to the middle, 0.5 for a feature and 0 for a value, so that one broken row does not cost
    the others.

    Args:
        X: (n, d) features in the unit cube.
        y: (n,) values, standardised.
        kernel: of the process.
        reason: why the usual fit failed.

    Returns:
        The process and what was done, in words; ``None`` where nothing helps.
    """
    features = torch.nan_to_num(X.double(), nan=0.5, posinf=1.0, neginf=0.0)
    values = torch.nan_to_num(y.double(), nan=0.0, posinf=_LARGEST, neginf=-_LARGEST).clamp(-_LARGEST, _LARGEST)
    (centre, spread), (noise_centre, noise_spread) = lengthscale_prior(X.shape[1]), NOISE_PRIOR
    lengthscale = torch.full((X.shape[1],), math.exp(centre - spread**2), dtype=torch.float64)
    noise = math.exp(noise_centre - noise_spread**2)
    for jitter in JITTERS:
        try:
            found = GaussianProcess.conditioned(
                features,
                values,
                mean=float(values.mean()),
                noise=noise + jitter,
                lengthscale=lengthscale,
                kernel=kernel,
            )
        except (RuntimeError, ValueError, ArithmeticError) as error:
            log.warning("jitter %g did not help: %s", jitter, error)
            continue
        if bool(torch.isfinite(found.weights).all()):
            added = f" and jitter {jitter:g}" if jitter else ""
            return found, f"GP fit failed ({reason}), used the priors' hyper-parameters{added}"
    return None
