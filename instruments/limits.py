"""Limits of what a command may ask for: the driver's own, and the lab's envelope around them.

The same functions judge in the controller and again in the host, so that the two cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instruments.driver import Capability, Limit
from instruments.forbidden import Forbidden, materials_in


class Bounds(BaseModel):
    """What a number may be; it narrows the driver's own limits and never widens them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.low is None and self.high is None:
            raise ValueError("give low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must not be above high ({self.high:g})")
        return self

    def __str__(self) -> str:
        low = "" if self.low is None else f"{self.low:g}"
        high = "" if self.high is None else f"{self.high:g}"
        return f"{low} .. {high}"


class Envelope(BaseModel):
    """What people allow, whatever a driver could do. Names are ``capability.parameter``: ``sinter.ramp_C_per_min``.

    Attributes:
        limits: bounds of numbers.
        allowed: the only values of words, e.g. ``{"sinter.atmosphere": ["air", "O2"]}``.
        forbidden: what must not be used at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    limits: dict[str, Bounds] = Field(default_factory=dict)
    allowed: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    forbidden: Forbidden = Forbidden()

    @model_validator(mode="after")
    def _names_are_whole(self) -> Envelope:
        for name in self.guarded():
            capability, _, parameter = name.partition(".")
            if not capability or not parameter:
                raise ValueError(f"{name!r} must be capability.parameter, e.g. arc_melt.current_A")
        return self

    def guarded(self) -> list[str]:
        """Every ``capability.parameter`` that is named."""
        return [*self.limits, *self.allowed]

    def breaches(self, capability: str, parameters: Mapping[str, Any]) -> list[str]:
        """A sentence for every parameter of a command that is outside, and for what it uses though it is forbidden.

        Lists and objects are judged leaf by leaf. A guarded parameter that is not given, or is not a number where one
        is due, cannot be judged and is outside too.
        """
        found: list[str] = []
        for name in {**self.limits, **self.allowed}:
            owner, _, parameter = name.partition(".")
            if owner != capability:
                continue
            if parameter not in parameters:
                found.append(f"{name} is limited and the recipe does not give it")
                continue
            for value in leaves(parameters[parameter]):
                found += self._judge(name, value)
        return found + self.forbidden.used(set(materials_in(parameters))) if self.forbidden else found

    def _judge(self, name: str, value: Any) -> Iterator[str]:
        if (bounds := self.limits.get(name)) is not None:
            if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
                yield f"{name} must be a number, not {value!r:.50}"
            elif (bounds.low is not None and value < bounds.low) or (bounds.high is not None and value > bounds.high):
                yield f"{name} = {value:g} is outside {bounds}"
        if name in self.allowed and value not in self.allowed[name]:
            yield f"{name} = {value!r:.50} is not allowed; allowed: {', '.join(self.allowed[name]) or 'nothing'}"

    def within(self, other: Envelope) -> Envelope:
        """What both allow. Raises ValueError where that is nothing, naming the parameter."""
        limits = {**other.limits, **self.limits}
        for name in self.limits.keys() & other.limits.keys():
            try:
                limits[name] = overlap(self.limits[name], other.limits[name])
            except ValueError:
                raise ValueError(
                    f"{name}: {self.limits[name]} and {other.limits[name]} have nothing in common"
                ) from None
        allowed = {**other.allowed, **self.allowed}
        for name in self.allowed.keys() & other.allowed.keys():
            allowed[name] = tuple(word for word in self.allowed[name] if word in other.allowed[name])
            if not allowed[name]:
                words = f"{', '.join(self.allowed[name])} and {', '.join(other.allowed[name])}"
                raise ValueError(f"{name}: {words} have nothing in common")
        return Envelope(limits=limits, allowed=allowed, forbidden=self.forbidden.union(other.forbidden))


def overlap(one: Bounds, other: Bounds) -> Bounds:
    """The numbers that both bounds allow. Raises ValueError where there are none."""
    lows = [x for x in (one.low, other.low) if x is not None]
    highs = [x for x in (one.high, other.high) if x is not None]
    return Bounds(low=max(lows, default=None), high=min(highs, default=None))


def leaves(value: Any) -> Iterator[Any]:
    """Everything in lists and objects that is neither, in order."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def violations(capability: Capability, parameters: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every parameter outside the driver's own limit; a list is checked number by number.

    A limited parameter that is not given is the driver's affair; one that is not a number is a violation.
    """
    found = []
    for name, limit in capability.limits.items():
        if name in parameters:
            value = parameters[name]
            found += [_sentence(name, x, limit) for x in (value if isinstance(value, list) else [value])]
    return [sentence for sentence in found if sentence]


def _sentence(name: str, value: Any, limit: Limit) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{name} must be a number, not {value!r:.50}"
    if not limit.low <= value <= limit.high:  # also refuses NaN
        return f"{name} = {value} is outside {limit.low} .. {limit.high}"
    return ""
