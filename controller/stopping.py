"""When a campaign ends before its budget: a target is reached, or going on is not worth it.

Pure functions of what the journal holds: results, the prospects that came with each choice, what a recipe costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from controller import events as ev
from models.observation import Objective, Observation
from models.outcome import is_feasible

if TYPE_CHECKING:
    from controller.records import Experiment, State

Ending = tuple[ev.EndingRule, str]
"""Which rule, and in words."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Improvement(_Section):
    """End when the best next experiment is expected to improve by less than ``below_noise`` standard deviations of one
    measurement, at so many decisions in a row."""

    below_noise: float = Field(default=1.0, gt=0)
    in_a_row: int = Field(default=3, ge=1)


class Worth(_Section):
    """End when the next experiment costs more than its expected improvement is worth.

    ``per_unit`` is what one unit of the objective is worth, in the money of ``safety.prices``, by which the recipe is
    priced; or of ``cost``, where every experiment costs the same.
    """

    per_unit: float = Field(gt=0)
    cost: float | None = Field(default=None, gt=0)


class Stop(_Section):
    """The ``stop`` section: rules beside the budget, each optional; the first that is met ends the campaign.

    ``target``: objective -> value that is good enough; one result must reach all of them and meet the constraints.
    """

    target: dict[str, float] = Field(default_factory=dict)
    improvement: Improvement | None = None
    worth: Worth | None = None

    @property
    def looks_ahead(self) -> bool:
        """True where a rule needs to know what there is to gain."""
        return self.improvement is not None or self.worth is not None

    def check(self, objectives: Sequence[Objective], acquisition: str, priced: bool) -> None:
        """Raise ValueError where a rule does not fit the rest of the campaign."""
        unknown = sorted(set(self.target) - {o.name for o in objectives})
        if unknown:
            raise ValueError(f"stop.target names {', '.join(unknown)}, which is no objective: name objectives")
        if self.looks_ahead:
            rule = "improvement" if self.improvement else "worth"
            needs_one_measured(f"stop.{rule}", objectives)
            if acquisition == "random":
                raise ValueError(f"stop.{rule} needs an acquisition that looks for improvement: name pareto")
        if self.worth is not None and self.worth.cost is None and not priced:
            raise ValueError("stop.worth needs the price of an experiment: give worth.cost, or safety.prices")


class Replicates(_Section):
    """The ``replicates`` section: one candidate may be measured ``at_most`` so often, where that pays.

    A repetition is an experiment like any other; see ``models.acquisition.look_ahead`` for when it pays.
    """

    at_most: int = Field(default=3, ge=2)


def needs_one_measured(what: str, objectives: Sequence[Objective]) -> None:
    """Raise ValueError unless there is one objective and experiments tell its value."""
    if len(objectives) != 1 or objectives[0].source == "computed":
        raise ValueError(f"{what} compares with the measurement's noise: it needs one objective, measured or derived")


def after_result(state: State, observation: Observation) -> None:
    """The target, once a result is known."""
    campaign = state.require()
    target = campaign.stop.target
    if not target or state.ending or not is_feasible(observation, campaign.objectives, campaign.constraints):
        return
    wanted = [o for o in campaign.objectives if o.name in target]
    if all(o.sign * observation.values[o.name] >= o.sign * target[o.name] for o in wanted):
        told = " and ".join(
            f"{o.name} {observation.values[o.name]:.4g} (wanted {'>=' if o.sign > 0 else '<='} {target[o.name]:g})"
            for o in wanted
        )
        state.ending = ("target", f"target reached: {observation.experiment} has {told}")


def after_choice(state: State, event: ev.ChoiceMade) -> None:
    """The expected improvement, once the next experiments are known."""
    rule, prospects = state.require().stop.improvement, event.prospects
    if rule is None or state.ending or not event.choices:
        return
    small = prospects is not None and prospects.expected_improvement < rule.below_noise * prospects.noise_std
    state.unpromising = state.unpromising + 1 if small else 0
    if prospects is not None and state.unpromising >= rule.in_a_row:
        name = state.require().objectives[0].name
        state.ending = (
            "improvement",
            f"the next experiment is expected to improve {name} by {prospects.expected_improvement:.3g}, less than "
            f"{rule.below_noise:g} x the noise of a measurement ({prospects.noise_std:.3g}), "
            f"{state.unpromising} decisions in a row",
        )


def after_plan(state: State, experiment: Experiment) -> str:
    """The cost of an experiment against its worth, once its recipe is known; returns why it is not made, or ``""``."""
    rule, gain = state.require().stop.worth, experiment.expected_gain
    if rule is None or gain is None:
        return ""
    cost = experiment.amounts.money if rule.cost is None else rule.cost
    if cost <= gain * rule.per_unit:
        return ""
    reason = (
        f"the next experiment costs {cost:.4g} and its expected improvement of {gain:.3g} "
        f"is worth {gain * rule.per_unit:.4g}"
    )
    state.ending = state.ending or ("worth", reason)
    return reason
