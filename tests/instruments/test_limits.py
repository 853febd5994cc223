"""The safety envelope."""

from __future__ import annotations

import math

import pytest

from instruments.driver import Capability, Limit
from instruments.limits import Envelope, violations

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


def test_what_is_forbidden_is_refused_beside_the_instrument_too():
    envelope = Envelope.model_validate(
        {"forbidden": {"elements": ["Pb"], "precursors": ["KMnO4"], "together": [["HNO3", "ethanol"]]}}
    )
    assert envelope.breaches("sinter", {"precursors_g": {"PbO": 1.0}}) == ["the element Pb is forbidden"]
    assert envelope.breaches("mix", {"masses_g": {"KMnO4": 1.0}}) == ["KMnO4 is forbidden"]
    assert envelope.breaches("mix", {"acid_mL": {"HNO3": 2}, "solvent": "ethanol"}) == [
        "HNO3 and ethanol must not come together"
    ]
    assert not envelope.breaches("mix", {"masses_g": {"BaCO3": 1.0}, "solvent": "ethanol"})


def test_what_either_envelope_forbids_is_forbidden():
    lab = Envelope.model_validate({"forbidden": {"elements": ["Pb"]}})
    own = Envelope.model_validate({"forbidden": {"elements": ["Hg"]}})
    assert own.within(lab).forbidden.elements == ("Pb", "Hg")
