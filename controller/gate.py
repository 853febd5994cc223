"""The result gate: no reading reaches a model unchecked.

Three things are kept apart: a *failed measurement* (the value is missing), a *failed synthesis* (a fact worth
learning) and a *broken instrument* (a repair).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from actors.orders import Step

Verdict = Literal["accepted", "failed_synthesis", "failed_measurement", "fault"]


@dataclass(frozen=True)
class Judgement:
    """The gate's verdict and its reason in words."""

    verdict: Verdict
    reason: str = ""


def judge(step: Step, status: str, readings: Mapping[str, float], message: str) -> Judgement:
    """Judge one report against what its step promised.

    Args:
        step: what was asked for: expected quantities, their physical bounds, whether it leaves the sample as it was.
        status: ``ok``, ``failed``, ``fault`` or ``refused`` as reported.
        readings: quantity -> number, as reported; may hold NaN, infinities, nonsense.
        message: the instrument's own words.
    """
    if status == "fault":
        return Judgement("fault", message or "the instrument reported a fault")
    if status == "refused":
        return Judgement("failed_measurement", f"refused: {message}")
    if status == "failed":
        verdict: Verdict = "failed_measurement" if step.idempotent else "failed_synthesis"
        return Judgement(verdict, message or "the instrument reported a failure")
    for name in step.quantities:
        if name not in readings:
            return Judgement("failed_measurement", f"{name} was not reported")
    for name, value in readings.items():
        if not math.isfinite(value):
            return Judgement("failed_measurement", f"{name} = {value} is not a number to learn from")
        low, high = step.bounds.get(name, (None, None))
        if (low is not None and value < low) or (high is not None and value > high):
            return Judgement("failed_measurement", f"{name} = {value:g} is outside its physical bounds {low} .. {high}")
    return Judgement("accepted")
