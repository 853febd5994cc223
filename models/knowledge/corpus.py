"""Annotated synthesis paragraphs, read into one coarse set of labels, with the finer ones beside."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import DataError

LABELS = ("target", "precursor", "material", "operation", "temperature", "time", "atmosphere", "amount")
"""What a span can be."""

FINER = ("material.solvent", "material.participant", "material.coref")
"""What a substance that is neither target nor precursor does, where annotators said so: a tagger that must tell them
apart learns the roles better."""

KINDS = (
    "nonrecipe", "number", "unit", "descriptor", "condition", "property", "apparatus", "apparatus descriptor",
    "brand", "meta", "reference", "condition type",
)  # fmt: skip
"""Other words that annotators marked: no spans to be told, but learnt beside them."""

_TEMPERATURE = frozenset(("degc", "°c", "c", "k", "deg c", "oc", "℃", "ºc"))
_TIME = frozenset(
    (
        "h",
        "hs",
        "hr",
        "hrs",
        "hour",
        "hours",
        "min",
        "mins",
        "minute",
        "minutes",
        "s",
        "sec",
        "day",
        "days",
        "week",
        "weeks",
        "d",
    )
)
_TIME_WORDS = ("overnight", "hour", "one night", "several min", "minute")
_ROOM = ("room temperature", "ambient temperature", "rt")
_KINDS = {
    "Nonrecipe-Material": "nonrecipe", "Number": "number", "Material-Descriptor": "descriptor",
    "Condition-Misc": "condition", "Property-Misc": "property", "Property-Type": "property",
    "Synthesis-Apparatus": "apparatus", "Characterization-Apparatus": "apparatus",
    "Apparatus-Descriptor": "apparatus descriptor", "Brand": "brand", "Meta": "meta", "Reference": "reference",
    "Condition-Type": "condition type", "Amount-Unit": "unit", "Condition-Unit": "unit", "Property-Unit": "unit",
    "Apparatus-Unit": "unit",
}  # fmt: skip
_ROLES = {"Recipe_Target": "target", "Recipe_Precursor": "precursor", "Atmospheric_Material": "atmosphere"}
_DOINGS = {"Solvent_Material": "material.solvent", "Participant_Material": "material.participant"}


@dataclass(frozen=True, order=True)
class Span:
    """``text[start:end]`` is a ``label``."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Document:
    """A text with its true spans.

    Attributes:
        finer: labels of ``FINER`` and ``KINDS`` beside and within ``spans``; to learn from, never to be judged by.
        complete: most numbers are linked to units; else the spans lack amounts and roles, and would teach wrongly.
    """

    id: str
    text: str
    spans: tuple[Span, ...]
    finer: tuple[Span, ...] = ()
    complete: bool = True


def read_annotated(file: Path) -> list[Document]:
    """Mysore et al., LAW 2019: roles of materials from the events, a number and its unit as one span.

    Raises:
        DataError: no such file, or not of this form.
    """
    return [_document(row) for row in _rows(file)]


def _document(row: Mapping[str, Any]) -> Document:
    text, relations = row["text"], row["relations"]
    entities = {e[0]: (e[1], e[2][0][0], e[2][-1][1]) for e in row["entities"]}
    said = [(role.rstrip("0123456789"), entity) for _, _, arguments in row["events"] for role, entity in arguments]
    roles = {entity: _ROLES[role] for role, entity in said if role in _ROLES}
    doings = {x: "material.coref" for _, name, *pair in relations if name == "Coref_Of" for x in pair}
    doings |= {entity: _DOINGS.get(role, "") for role, entity in said}
    spans, finer = set(), set()
    for key, (kind, start, end) in entities.items():
        label = None
        if kind == "Material":
            label = roles.get(key, "material")
            if label == "material" and doings.get(key):
                finer.add(Span(start, end, doings[key]))
        elif kind == "Operation":
            label = "operation"
        elif kind == "Amount-Misc":
            label = "amount"
        elif kind == "Condition-Misc":
            label = _condition_in_words(text[start:end])
        if label:
            spans.add(Span(start, end, label))
        elif kind in _KINDS:
            finer.add(Span(start, end, _KINDS[kind]))
    numbers = sum(kind == "Number" for kind, *_ in entities.values())
    linked = sum(name == "Number_Of" for _, name, *_ in relations)
    spans |= _numbers(text, entities, relations)
    return Document(row["id"], text, _disjoint(spans), tuple(sorted(finer)), numbers < 10 or 2 * linked > numbers)


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as handle:
            return [json.loads(line) for line in handle]
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); ATHANOR_DATA must hold the folder knowledge/.") from error


def _condition_in_words(words: str) -> str | None:
    lower = words.lower()
    if any(w in lower for w in _ROOM):
        return "temperature"
    if any(w in lower for w in _TIME_WORDS):
        return "time"
    return "atmosphere" if "vacu" in lower else None


def _numbers(text: str, entities: dict[str, tuple[str, int, int]], relations: Sequence[Any]) -> set[Span]:
    spans = set()
    for _, name, left, right in relations:
        if name != "Number_Of" or left not in entities or right not in entities:
            continue
        kind, start, end = entities[right]
        number, first, last = entities[left]
        if number != "Number":
            continue
        label = _unit_label(kind, text[start:end])
        if label is None:
            continue
        if 0 <= start - last <= 2:
            spans.add(Span(first, end, label))
        else:
            spans.add(Span(first, last, label))
    return spans


def _unit_label(kind: str, unit: str) -> str | None:
    if kind == "Amount-Unit":
        return "amount"
    if kind == "Condition-Unit":
        lower = unit.lower().strip()
        return "temperature" if lower in _TEMPERATURE else "time" if lower in _TIME else None
    return None


def _disjoint(spans: set[Span]) -> tuple[Span, ...]:
    """In order; of two that overlap the longer one stays."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start - s.end, s.start, s.label)):
        if all(span.end <= k.start or span.start >= k.end for k in kept):
            kept.append(span)
    return tuple(sorted(kept))
