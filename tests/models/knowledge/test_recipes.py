import re

import pytest

from models.errors import DataError
from models.knowledge.corpus import Span
from models.knowledge.recipes import Extractor, recipe_of, routes_of, with_measures

TEXT = (
    "BaTiO3 was prepared from barium carbonate and TiO2. The powders were ball milled in ethanol for 6 h and dried at "
    "80 °C. The mixture was calcined at 900 °C for 4 h in air, pressed and sintered at 1623 K for 120 min under O2 "
    "with a heating rate of 5 °C/min."
)
WORDS = {
    "target": ["BaTiO3"],
    "precursor": ["barium carbonate", "TiO2"],
    "material": ["ethanol"],
    "operation": ["prepared", "milled", "dried", "calcined", "pressed", "sintered"],
    "atmosphere": ["air", "O2"],
}


def labelled(text=TEXT, words=WORDS):
    spans = []
    for label, names in words.items():
        for name in names:
            found = list(re.finditer(rf"\b{re.escape(name)}\b", text))
            spans.append(Span(found[-1].start(), found[-1].end(), label))
    return with_measures(text, spans)


def test_steps_carry_their_own_conditions():
    steps = recipe_of(TEXT, labelled()).steps
    assert [s.action for s in steps] == ["grind", "dry", "calcine", "press", "sinter"]
    assert [s.hours for s in steps] == [(6, 6), None, (4, 4), None, (2, 2)]
    assert [s.temperature_C for s in steps][1:4] == [(80, 80), (900, 900), None]
    assert steps[-1].temperature_C == pytest.approx((1349.85, 1349.85))
    assert [s.atmosphere for s in steps] == ["", "", "air", "", "O2"]


def test_the_hottest_step_is_the_firing_of_the_route():
    (route,) = routes_of(recipe_of(TEXT, labelled()))
    assert (route.target, route.precursors, route.atmosphere) == ("BaTiO3", ("BaCO3", "TiO2"), "O2")
    assert route.temperature_C is not None and route.temperature_C.value == pytest.approx(1349.85)
    assert route.hours is not None and route.hours.value == 2
    assert [o.capability for o in route.operations] == ["grind", "dry", "calcine", "press", "sinter"]
    assert route.operations[2].parameters == {"temperature_C": 900, "hours": 4, "atmosphere": "air"}
    assert "1350 °C for 2 h in O2" in route.reason


def test_a_text_without_a_target_has_no_route():
    assert routes_of(recipe_of("It was measured at 300 K.", [])) == []


def test_a_rate_is_no_temperature_of_the_sample():
    assert [TEXT[s.start : s.end] for s in labelled() if s.label == "temperature"] == ["80 °C", "900 °C", "1623 K"]


def test_without_paragraphs_to_learn_from_the_message_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv("ATHANOR_DATA", raising=False)
    with pytest.raises(DataError, match="ATHANOR_DATA"):
        Extractor(tmp_path)
