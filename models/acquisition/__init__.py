"""Which experiment next: Bayesian optimisation over a pool, its baseline, and the measure of success."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.acquisition.hypervolume import hypervolume, pareto_front
from models.acquisition.random import RandomAcquisition

if TYPE_CHECKING:
    from models.acquisition.bayes import BayesAcquisition

__all__ = ["BayesAcquisition", "RandomAcquisition", "hypervolume", "pareto_front"]


def __getattr__(name: str) -> Any:
    """Load what needs torch on first use: the command line must start without it."""
    if name != "BayesAcquisition":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from models.acquisition.bayes import BayesAcquisition

    return BayesAcquisition
