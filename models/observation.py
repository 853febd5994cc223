"""What is believed, chosen and known: Prediction, Choice, Observation, Objective."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.candidate import Candidate


def _empty(value: object) -> bool:
    """Left out where it says nothing: digests of what was seen stay those of runs that did not know it."""
    return not value


class Prediction(BaseModel):
    """A Gaussian belief about one quantity, in that quantity's unit."""

    model_config = ConfigDict(frozen=True)

    mean: float
    std: float = Field(ge=0)


class Objective(BaseModel):
    """A quantity to push in one direction.

    Attributes:
        name: key in ``Observation.values``; its unit belongs to the name (``saturation_magnetization_T``).
        direction: ``maximize`` or ``minimize``.
        source: ``measured`` (an instrument reports it), ``derived`` (computed from several readings by
            ``models.quantities``) or ``computed`` (known from the candidate alone, exactly, before any experiment).
        reference: worst value still of interest (the hypervolume's reference point); ``None``: taken from the data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    direction: Literal["maximize", "minimize"] = "maximize"
    source: Literal["measured", "derived", "computed"] = "measured"
    reference: float | None = None

    @property
    def sign(self) -> float:
        """+1 for maximize, -1 for minimize."""
        return 1.0 if self.direction == "maximize" else -1.0


class Constraint(BaseModel):
    """An outcome that must reach a threshold for a result to count: ``name >= at_least`` or ``name <= at_most``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    at_least: float | None = None
    at_most: float | None = None

    def satisfied(self, value: float) -> bool:
        """True where ``value`` is inside the bounds."""
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)


class Observation(BaseModel):
    """What one finished experiment taught.

    Attributes:
        experiment: id of the experiment.
        candidate: what was made.
        values: every quantity that is known. A failed synthesis has its constraint value (``phase_fraction``) and
            lacks the objectives; a failed measurement lacks what was not read.
        outcome: ``measured`` (all objectives known), ``failed_synthesis`` (a fact worth learning) or
            ``failed_measurement`` (missing: no model may learn from its absence).
        hours: capability -> lab hours that it took, where the acquisition asks for them.
    """

    model_config = ConfigDict(frozen=True)

    experiment: str
    candidate: Candidate
    values: dict[str, float]
    outcome: Literal["measured", "failed_synthesis", "failed_measurement"]
    hours: dict[str, float] = Field(default_factory=dict, exclude_if=_empty)


class Choice(BaseModel):
    """A candidate that the acquisition wants measured, and why.

    Attributes:
        candidate: what to make.
        value: acquisition value (log scale for the qLog* family); ``nan`` is not allowed.
        method: ``initial-design``, ``qLogNEHVI``, ``qLogNEI``, ``random``, ...
        predicted: belief about each objective and constraint quantity, by name, before the experiment.
        feasibility: probability that all constraints hold, 0..1.
        runner_up: id of the best candidate that was not chosen, with its acquisition value.
        model_hash: digest of the fitted model's hyper-parameters.
        data_hash: digest of the observations, pending points and pool that the choice saw.
        effort: predicted price, hours and waiting hours, where the acquisition weighs them.
        note: fall-back or warning in words, e.g. ``GP fit failed, used forest``; usually empty.
    """

    model_config = ConfigDict(frozen=True)

    candidate: Candidate
    value: float
    method: str
    predicted: dict[str, Prediction] = Field(default_factory=dict)
    feasibility: float = 1.0
    runner_up: tuple[str, float] | None = None
    model_hash: str = ""
    data_hash: str = ""
    effort: dict[str, float] = Field(default_factory=dict, exclude_if=_empty)
    note: str = ""
