"""Numbers with units in a text: temperatures, times and amounts, found by rule and brought to one unit."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"\d+(?:[.,]\d+)?(?:\s?[x×*]\s?10\s?\^?\s?-?\d+)?"
_TEMPERATURE = r"°\s?C|º\s?C|℃|deg\.?\s?C|degrees?\s(?:C(?:elsius)?)|o\s?C|K|C"
_TIME = r"hours?|hrs?|hs|h|minutes?|mins?|min|seconds?|secs?|sec|s|days?|d|weeks?"
_AMOUNT = (
    r"mmol|mol\.?\s?%|mol|wt\.?\s?%|at\.?\s?%|vol\.?\s?%|mg|kg|g|m[lL]|uL|μL|µL|L|l|mM|M|N|%"
    r"|moles?|grams?|equiv\.?|eq\.?|cm3"
)
_UNIT_KIND = {
    "temperature": re.compile(rf"^(?:{_TEMPERATURE})$"),
    "time": re.compile(rf"^(?:{_TIME})$"),
    "amount": re.compile(rf"^(?:{_AMOUNT})$"),
}
_JOIN = r"\s*(?:-|–|—|~|to|and|,|or|/)\s*"
_PATTERN = re.compile(
    rf"(?<![\w.])(?P<value>{_NUMBER})(?:(?P<join>{_JOIN})(?P<upper>{_NUMBER}))?\s?"
    rf"(?P<unit>(?P<temperature>{_TEMPERATURE})|(?P<time>{_TIME})|(?P<amount>{_AMOUNT}))"
    r"(?P<rate>\s?(?:/|per\b|·)\s?(?:min|h|s|hour|minute|g\b)\w*|\s?(?:min|h|s)\s?(?:-|−|\^-)\s?1)?(?![\w])"
)
_WORDS = re.compile(
    r"\b(?:room temperature|ambient temperature|RT|overnight|half an hour|one hour|two hours|one day)\b"
)
_IN_WORDS = {"half an hour": 0.5, "one hour": 1.0, "two hours": 2.0, "one day": 24.0, "overnight": 12.0}
_HOURS = {"h": 1.0, "m": 1 / 60, "s": 1 / 3600, "d": 24.0, "w": 168.0}


@dataclass(frozen=True)
class Measure:
    """A quantity in a text.

    Attributes:
        start, end: where it stands.
        label: ``temperature`` (°C), ``time`` (h) or ``amount`` (in ``unit``).
        low, high: equal where one number is given.
        unit: as written.
        rate: it is a rate (``5 °C/min``): no state of the sample.
    """

    start: int
    end: int
    label: str
    low: float
    high: float
    unit: str
    rate: bool = False


def measures(text: str) -> list[Measure]:
    """Numbers with units of the three kinds, in order, and the usual words (``room temperature``, ``overnight``)."""
    found = []
    for match in _PATTERN.finditer(text):
        unit = match["unit"]
        label = next(k for k in ("temperature", "time", "amount") if match[k])
        if unit == "C" and match["value"].count(".") and float(match["value"].replace(",", ".")) < 30:
            continue
        values = [_value(match["value"])]
        start = match.start()
        if match["upper"]:
            joined = match["join"].strip()
            if joined in ("and", ",", "or", "/"):
                start = match.start("upper")
                values = [_value(match["upper"])]
            else:
                values.append(_value(match["upper"]))
        if label == "temperature":
            values = [v - 273.15 if unit == "K" else v for v in values]
        elif label == "time":
            values = [v * _HOURS[unit[0].lower()] for v in values]
        end = match.end("unit")
        found.append(Measure(start, end, label, min(values), max(values), unit, bool(match["rate"])))
    for match in _WORDS.finditer(text):
        word = match.group()
        if word in _IN_WORDS:
            found.append(Measure(match.start(), match.end(), "time", _IN_WORDS[word], _IN_WORDS[word], word))
        else:
            found.append(Measure(match.start(), match.end(), "temperature", 25.0, 25.0, word))
    return sorted(found, key=lambda m: m.start)


def is_unit(word: str) -> str | None:
    """``temperature``, ``time`` or ``amount`` where the word is a unit of one."""
    return next((kind for kind, pattern in _UNIT_KIND.items() if pattern.match(word)), None)


def _value(text: str) -> float:
    mantissa, *power = re.split(r"\s?[x×*]\s?10\s?\^?\s?", text)
    return float(mantissa.replace(",", ".")) * (10.0 ** int(power[0]) if power else 1.0)
