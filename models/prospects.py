"""What there was to gain by going on when a decision was made, as plain data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Prospects(BaseModel):
    """The prospects of a campaign with one objective that is measured; every number is in that objective's unit.

    Attributes:
        expected_improvement: the largest, of the new candidates that the acquisition chose, over the best result
            so far, times the probability that the constraints hold; pending experiments count as predicted.
        gains: one a choice: its expected improvement, or for a repetition what knowing the best better is worth.
        noise_std: standard deviation of one measurement.
        best: id of the measured candidate that is believed to be the best.
        best_mean, best_std: belief about its true value.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    expected_improvement: float = Field(ge=0)
    gains: tuple[float, ...]
    noise_std: float = Field(ge=0)
    best: str
    best_mean: float
    best_std: float = Field(ge=0)
