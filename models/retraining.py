"""How a learned screen is retrained beside a running campaign, as plain data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Retraining(BaseModel):
    """What a user may write under ``trainer:``.

    Which results a version has seen, and which version a decision uses, follows from these numbers and from how many
    results there are, never from how long a training takes.

    Attributes:
        every: results between two trainings.
        cold_every: trainings between two from scratch; those in between go on from the version that serves.
        lag: the last so many results that a decision does not need the model to know, so that it need not wait for the
            training on them.
        window: how many of the latest results judge a new version against the one that serves.
        tolerance: by what share a new version may be worse on them and still be published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    every: int = Field(default=1, ge=1)
    cold_every: int = Field(default=10, ge=1)
    lag: int = Field(default=1, ge=0)
    window: int = Field(default=30, ge=3)
    tolerance: float = Field(default=0.0, ge=0)

    def is_cold(self, n_observations: int) -> bool:
        """True where the training on the first so many results begins from scratch."""
        return (n_observations // self.every - 1) % self.cold_every == 0

    def bound_to(self, n_observations: int) -> int:
        """How many results the version has seen that a decision with so many results uses; 0: none."""
        return max(0, n_observations - self.lag) // self.every * self.every
