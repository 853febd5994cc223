"""The safety envelope of a campaign: what a recipe may ask for, what is forbidden, how much in all, and who is asked.

Pure functions of the campaign's ``safety`` section and a recipe, so that a replay judges the same. They run where a
recipe is compiled and again before each command leaves; the instruments' hosts check limits a third time, by the same
``instruments.limits``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.orders import Offer, Recipe, Step
from instruments.forbidden import materials_in
from instruments.limits import Envelope, leaves
from models.synthesis.hazards import questions

_HOURS = {"h": 1.0, "hours": 1.0, "min": 1 / 60, "minutes": 1 / 60, "s": 1 / 3600, "seconds": 1 / 3600}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Totals(_Section):
    """Caps over the whole campaign: grams of precursors, hours of the recipes' steps, money by ``prices``."""

    grams: float | None = Field(default=None, gt=0)
    hours: float | None = Field(default=None, gt=0)
    money: float | None = Field(default=None, gt=0)


class Prices(_Section):
    """What counts towards ``max.money``: a price a gram of each precursor and a price an hour of step time."""

    per_g: dict[str, float] = Field(default_factory=dict)
    per_hour: float = Field(default=0.0, ge=0)


class Permits(_Section):
    """Hazards that the lab is equipped for: materials that nobody need be asked about."""

    permitted: tuple[str, ...] | None = None


class ApprovalRule(_Section):
    """Recipes with a parameter above a value, or with a hazard, wait until so many different people have approved."""

    above: dict[str, float] = Field(default_factory=dict)
    people: Literal[1, 2] = 1
    timeout_h: float | None = Field(default=None, gt=0)
    on_timeout: Literal["reject", "wait"] = "wait"

    @model_validator(mode="after")
    def _timeout_is_given(self) -> ApprovalRule:
        if self.on_timeout == "reject" and self.timeout_h is None:
            raise ValueError("on_timeout: reject needs timeout_h")
        return self


class Safety(Envelope):
    """The ``safety`` section. Parameters are named ``capability.parameter``, e.g. ``arc_melt.current_A``."""

    max: Totals = Totals()
    prices: Prices = Prices()
    approval: ApprovalRule | None = None
    hazards: Permits = Permits()

    @model_validator(mode="after")
    def _money_has_prices(self) -> Safety:
        if self.max.money is not None and not (self.prices.per_g or self.prices.per_hour):
            raise ValueError("max.money needs prices: per_g and per_hour say what things cost")
        return self

    def guarded(self) -> list[str]:
        """Every ``capability.parameter`` that a limit, a list of words or an approval names."""
        return [*super().guarded(), *(self.approval.above if self.approval else ())]

    def inside(self, lab: Safety) -> Safety:
        """Both envelopes at once: a campaign may be stricter than its lab, never laxer.

        Caps are the lower ones and prices the higher ones; what both permit of hazards needs no approval. Where both
        want approval: the lower thresholds, the larger number of people, and a time-out that rejects if either does.

        Raises:
            ValueError: the two leave nothing of a parameter.
        """
        both = self.within(lab)
        return Safety(
            limits=both.limits,
            allowed=both.allowed,
            forbidden=both.forbidden,
            max=Totals(
                **{what: _least(getattr(lab.max, what), getattr(self.max, what)) for what in Totals.model_fields}
            ),
            prices=Prices(
                per_g=_highest(lab.prices.per_g, self.prices.per_g),
                per_hour=max(lab.prices.per_hour, self.prices.per_hour),
            ),
            approval=_both_rules(lab.approval, self.approval),
            hazards=_both_permits(lab.hazards, self.hazards),
        )


@dataclass(frozen=True)
class Amounts:
    """What recipes use: grams of precursors, hours of step time, money."""

    grams: float = 0.0
    hours: float = 0.0
    money: float = 0.0

    def plus(self, other: Amounts, sign: int = 1) -> Amounts:
        """The sum, or with ``sign`` -1 the difference."""
        return Amounts(
            self.grams + sign * other.grams, self.hours + sign * other.hours, self.money + sign * other.money
        )


def breaches(safety: Envelope, step: Step) -> list[str]:
    """A sentence for every limit that a step breaks; a limited parameter that is not given cannot be judged: so too."""
    return safety.breaches(step.capability, step.parameters)


def misfits(own: Envelope, offer: Offer, step: Step) -> list[str]:
    """Why one instrument may not take a step that others may: its own envelope in the lab, its driver's limits."""
    found = own.breaches(step.capability, step.parameters)
    for name, (low, high) in offer.limits.items():
        for value in leaves(step.parameters.get(name, [])):
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if (low is not None and value < low) or (high is not None and value > high):
                found.append(f"{name} = {value:g} is outside {low} .. {high}")
    return found


def forbidden_use(safety: Safety, composition: Collection[str], recipe: Recipe) -> list[str]:
    """A sentence for every forbidden element, precursor or combination that a recipe uses."""
    return safety.forbidden.used(set(_materials(recipe)), composition)


def amounts(safety: Safety, recipe: Recipe) -> Amounts:
    """What a recipe uses. Hours are the parameters named ``hours`` or ending in ``_h``, ``_min`` or ``_s``."""
    grams = math.fsum(recipe.precursors_g.values())
    hours = math.fsum(hours for step in recipe.steps for hours in _hours(step.parameters))
    per_g = safety.prices.per_g
    cost = math.fsum(per_g.get(name, 0.0) * mass_g for name, mass_g in recipe.precursors_g.items())
    return Amounts(grams, hours, cost + hours * safety.prices.per_hour)


def stated_hours(step: Step) -> float:
    """How long a step takes as far as its parameters say it, in hours; 0 where they do not."""
    return math.fsum(_hours(step.parameters))


def over_the_cap(safety: Safety, planned: Amounts, used_hours: float, wanted: Amounts) -> list[str]:
    """A sentence for every total that a recipe would exceed, on top of what is planned (or, in hours, used) already."""
    found: list[str] = []
    for what, before, more in (
        ("grams", planned.grams, wanted.grams),
        ("hours", max(planned.hours, used_hours), wanted.hours),
        ("money", planned.money, wanted.money),
    ):
        cap = getattr(safety.max, what)
        if cap is not None and not before + more <= cap:
            found.append(f"safety.max.{what}: {before:.4g} of {cap:g} are taken, {more:.4g} more are too many")
    return found


def unpriced(safety: Safety, recipe: Recipe) -> list[str]:
    """Precursors whose price is not known although money is capped."""
    if safety.max.money is None:
        return []
    missing = [name for name, mass_g in recipe.precursors_g.items() if mass_g > 0 and name not in safety.prices.per_g]
    return [f"safety.prices.per_g has no price for {name}" for name in missing]


def needs_approval(safety: Safety, recipe: Recipe) -> list[str]:
    """Why people must be asked; nothing where they need not be. What cannot be judged is asked about."""
    found = questions(recipe.hazards, safety.hazards.permitted or ())
    for name, threshold in (safety.approval.above if safety.approval else {}).items():
        capability, _, parameter = name.partition(".")
        for step in recipe.steps:
            if step.capability != capability:
                continue
            values = list(leaves(step.parameters.get(parameter)))
            high = [v for v in values if isinstance(v, bool) or not isinstance(v, int | float) or not v <= threshold]
            if high:
                shown = high[0] if isinstance(high[0], int | float) else "not a number"
                found.append(f"{name} = {shown} is above {threshold:g}")
    return found


def narrowed(envelope: Envelope, offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """Offers within an envelope, so that a planner's next best route is taken where the best breaks it."""
    return tuple(_narrow(envelope, offer) for offer in offers)


def widest(one: Offer, other: Offer) -> Offer:
    """What at least one of two instruments offers of a capability."""
    return other.model_copy(
        update={
            "idempotent": one.idempotent and other.idempotent,
            "limits": _hull(one.limits, other.limits),
            "quantities": _hull(one.quantities, other.quantities),
            "allowed": {n: _union(one.allowed[n], other.allowed[n]) for n in one.allowed.keys() & other.allowed.keys()},
        }
    )


def person(name: str) -> str:
    """The name by which two people are told apart: case and spacing do not make another person."""
    return " ".join(name.casefold().split())


def unknown_names(envelope: Envelope, capabilities: Iterable[str]) -> list[str]:
    """Guarded names whose capability nobody offers: a slip of the pen must not leave a door open."""
    offered = set(capabilities)
    return sorted({name for name in envelope.guarded() if name.partition(".")[0] not in offered})


def _narrow(envelope: Envelope, offer: Offer) -> Offer:
    limits, allowed = dict(offer.limits), dict(offer.allowed)
    for name in (*envelope.limits, *envelope.allowed):
        capability, _, parameter = name.partition(".")
        if capability != offer.capability:
            continue
        if (bounds := envelope.limits.get(name)) is not None:
            low, high = limits.get(parameter, (None, None))
            lows = [x for x in (low, bounds.low) if x is not None]
            highs = [x for x in (high, bounds.high) if x is not None]
            limits[parameter] = (max(lows, default=None), min(highs, default=None))
        if name in envelope.allowed:
            words = envelope.allowed[name]
            allowed[parameter] = tuple(w for w in words if w in allowed.get(parameter, words))
    return offer.model_copy(update={"limits": limits, "allowed": allowed})


_Ranges = dict[str, tuple[float | None, float | None]]


def _hull(one: _Ranges, other: _Ranges) -> _Ranges:
    """What is within either; a name that only one of them bounds is not bounded."""
    found: _Ranges = {}
    for name in sorted(one.keys() & other.keys()):
        (low, high), (more_low, more_high) = one[name], other[name]
        found[name] = (
            None if low is None or more_low is None else min(low, more_low),
            None if high is None or more_high is None else max(high, more_high),
        )
    return found


def _union(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([*one, *other]))


def _least(one: float | None, other: float | None) -> float | None:
    return min((x for x in (one, other) if x is not None), default=None)


def _highest(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: max(one.get(name, -math.inf), other.get(name, -math.inf)) for name in {**one, **other}}


def _both_rules(one: ApprovalRule | None, other: ApprovalRule | None) -> ApprovalRule | None:
    if one is None or other is None:
        return one or other
    return ApprovalRule(
        above={n: min(one.above.get(n, math.inf), other.above.get(n, math.inf)) for n in {**one.above, **other.above}},
        people=max(one.people, other.people),
        timeout_h=_least(one.timeout_h, other.timeout_h),
        on_timeout="reject" if "reject" in (one.on_timeout, other.on_timeout) else "wait",
    )


def _both_permits(lab: Permits, campaign: Permits) -> Permits:
    if campaign.permitted is None:
        return lab
    return Permits(permitted=tuple(name for name in campaign.permitted if name in (lab.permitted or ())))


def _materials(recipe: Recipe) -> Iterator[str]:
    """Names of what goes in: weighed precursors, and what the steps name."""
    yield from (name for name, mass_g in recipe.precursors_g.items() if mass_g > 0)
    for step in recipe.steps:
        yield from materials_in(step.parameters)


def _hours(parameters: Mapping[str, Any]) -> Iterator[float]:
    for name, value in parameters.items():
        unit = name.rpartition("_")[2]
        if unit in _HOURS and "_per_" not in name:
            for x in leaves(value):
                if isinstance(x, int | float) and not isinstance(x, bool) and x > 0:
                    yield x * _HOURS[unit]
        elif isinstance(value, Mapping):
            yield from _hours(value)
        elif isinstance(value, list | tuple):
            for item in value:
                if isinstance(item, Mapping):
                    yield from _hours(item)
