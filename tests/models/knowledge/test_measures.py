import pytest

from models.knowledge.measures import is_unit, measures


@pytest.mark.parametrize(
    ("text", "label", "low", "high"),
    [
        ("at 850 °C in", "temperature", 850, 850),
        ("at 850degC in", "temperature", 850, 850),
        ("at 1073 K in", "temperature", 799.85, 799.85),
        ("at 960-970 °C", "temperature", 960, 970),
        ("at room temperature", "temperature", 25, 25),
        ("for 12 h.", "time", 12, 12),
        ("for 30 min", "time", 0.5, 0.5),
        ("for 2 days", "time", 48, 48),
        ("for 4 to 6 hours", "time", 4, 6),
        ("stirred overnight", "time", 12, 12),
        ("of 9.5 mmol of", "amount", 9.5, 9.5),
        ("in 100 mL of", "amount", 100, 100),
        ("2 x 10-3 mol of", "amount", 0.002, 0.002),
    ],
)
def test_numbers_with_units_are_found(text, label, low, high):
    (found,) = measures(text)
    assert (found.label, found.low, found.high) == (label, pytest.approx(low), pytest.approx(high))
    assert text[found.start : found.end].strip() == text[found.start : found.end]


def test_a_rate_is_not_a_state():
    assert [m.rate for m in measures("heated at 5 °C/min to 900 °C")] == [True, False]
    assert [m.rate for m in measures("at 2 degC min-1")] == [True]


@pytest.mark.parametrize("text", ["see ref. 12", "LiMn2O4 spinel", "pH 7", "a 5 cm long tube", "Figure 3a"])
def test_other_numbers_are_left_alone(text):
    assert measures(text) == []


def test_units_are_known_by_kind():
    assert [is_unit(u) for u in ("degC", "h", "mL", "banana")] == ["temperature", "time", "amount", None]
