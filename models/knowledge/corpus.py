"""Annotated synthesis paragraphs, read into one coarse set of labels."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import DataError

LABELS = ("target", "precursor", "material", "operation", "temperature", "time", "atmosphere", "amount")
"""What a span can be."""

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
_ROLES = {"Recipe_Target": "target", "Recipe_Precursor": "precursor", "Atmospheric_Material": "atmosphere"}


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
        complete: every span of the text is annotated; else only those of the labels that ``source`` knows.
        source: which corpus, each with habits of its own.
    """

    id: str
    text: str
    spans: tuple[Span, ...]
    source: str = "annotated"


def read_annotated(file: Path) -> list[Document]:
    """Mysore et al., LAW 2019: roles of materials from the events, a number and its unit as one span.

    Raises:
        DataError: no such file, or not of this form.
    """
    documents = []
    for row in _rows(file):
        text = row["text"]
        entities = {e[0]: (e[1], e[2][0][0], e[2][-1][1]) for e in row["entities"]}
        roles = {}
        for _, _, arguments in row["events"]:
            for role, entity in arguments:
                if role.rstrip("0123456789") in _ROLES:
                    roles[entity] = _ROLES[role.rstrip("0123456789")]
        spans = set()
        for key, (kind, start, end) in entities.items():
            if kind == "Material":
                spans.add(Span(start, end, roles.get(key, "material")))
            elif kind == "Operation":
                spans.add(Span(start, end, "operation"))
            elif kind == "Amount-Misc":
                spans.add(Span(start, end, "amount"))
            elif kind == "Condition-Misc" and (label := _condition_in_words(text[start:end])):
                spans.add(Span(start, end, label))
        spans |= _numbers(text, entities, row["relations"])
        documents.append(Document(row["id"], text, _disjoint(spans)))
    return documents


def read_pcmsp(file: Path) -> list[Document]:
    """Yang et al., EMNLP Findings 2022: sentences of solid-state syntheses."""
    kinds = {
        "Material-target": "target",
        "Material-recipe": "precursor",
        "Material-intermedium": "material",
        "Material-others": "material",
        "Operation": "operation",
        "Property-temperature": "temperature",
        "Property-time": "time",
    }
    documents = []
    for i, row in enumerate(_rows(file)):
        text, places = _joined(row["tokens"])
        spans = set()
        for vertex in row["vertexSet"]:
            label = kinds.get(vertex["kbID"])
            where = vertex["tokenpositions"]
            if label and where:
                start, end = places[where[0]][0], places[where[-1]][1]
                if label in ("temperature", "time") and not any(c.isdigit() for c in text[start:end]):
                    continue
                spans.add(Span(start, end, label))
        documents.append(Document(f"pcmsp-{i}", text, _disjoint(spans), "pcmsp"))
    return documents


def read_actions(file: Path) -> list[Document]:
    """Wang et al., Digital Discovery 2022: sentences with their operations only."""
    documents = []
    for i, row in enumerate(_rows(file)):
        text, places = _joined(row["tokens"])
        spans = {Span(*places[j], "operation") for j, tag in enumerate(row["tags"]) if tag}
        documents.append(Document(f"actions-{i}", text, _disjoint(spans), "actions"))
    return documents


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as handle:
            return [json.loads(line) for line in handle]
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); ATHANOR_DATA must hold the folder knowledge/.") from error


def _joined(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    places, position = [], 0
    for token in tokens:
        places.append((position, position + len(token)))
        position += len(token) + 1
    return " ".join(tokens), places


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
