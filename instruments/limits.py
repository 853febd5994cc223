"""The safety envelope of one capability, checked by the controller and again by the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instruments.driver import Capability, Limit


def violations(capability: Capability, parameters: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every parameter outside its limit; a list is checked number by number.

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
