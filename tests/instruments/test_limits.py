"""The safety envelope."""

from __future__ import annotations

import math

import pytest

from instruments.driver import Capability, Limit
from instruments.limits import violations

furnace = Capability("melt", {"temperature_C": Limit(20, 1500)})


@pytest.mark.parametrize("value", [20, 1500, 800.5, [20, 30.0], []])
def test_what_is_inside_passes(value):
    assert violations(furnace, {"temperature_C": value, "note": "hot"}) == []


@pytest.mark.parametrize("value", [19.9, 1501, math.nan, math.inf, "800", None, True, [20, 2000], [[20]], {}])
def test_what_is_outside_or_no_number_is_named(value):
    (sentence,) = violations(furnace, {"temperature_C": value})
    assert "temperature_C" in sentence


def test_a_parameter_that_is_not_given_is_the_drivers_affair():
    assert violations(furnace, {}) == []
