"""From a synthesis paragraph to a structured recipe: spans, steps, routes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from models.errors import DataError
from models.knowledge.corpus import Span
from models.knowledge.measures import Measure, measures
from models.knowledge.substances import formula_of, is_organic_or_water
from models.knowledge.tokens import sentences, tokenize
from models.route import Interval, Operation, Route

_ACTIONS = (
    ("sinter", r"sinter"),
    ("calcine", r"calcin|decarbonat"),
    ("anneal", r"anneal|post-?heat"),
    ("melt", r"^melt|fus(ed|ion)"),
    (
        "fire",
        r"^(re-?)?fir(ed|ing)|heat|react(ed|ion)|bak|roast|pyroly|carboniz|autoclav|hydrothermal|solvothermal|treated",
    ),
    ("dry", r"dr(y|ied|ying)|evaporat|dehydrat"),
    ("cool", r"cool|quench"),
    ("grind", r"gr(i|ou)nd|mill|pulveri|crush|triturat"),
    ("press", r"press|pellet|compact|palleti"),
    ("mix", r"mix|blend|stir|homogeni|add|combin|dispers|sonicat|disso|suspend"),
    ("wash", r"wash|rins|filt|centrifug|separat|collect"),
)
_HOT = ("sinter", "calcine", "anneal", "melt", "fire")
_GASES = (
    ("H2/N2", r"H2\s*/\s*N2|N2\s*/\s*H2|forming gas"),
    ("H2/Ar", r"H2\s*/\s*Ar|Ar\s*/\s*H2"),
    ("vacuum", r"vacu|evacuated"),
    ("Ar", r"\bAr\b|argon"),
    ("O2", r"\bO2\b|oxygen"),
    ("N2", r"\bN2\b|nitrogen"),
    ("H2", r"\bH2\b|hydrogen"),
    ("air", r"\bair\b"),
)


@dataclass(frozen=True)
class Step:
    """One operation of a paragraph with its conditions.

    Attributes:
        action: ``mix``, ``grind``, ``press``, ``dry``, ``calcine``, ``sinter``, ``anneal``, ``fire``, ``melt``,
            ``cool``, ``wash``.
        text: the word of the paper.
        temperature_C, hours: ranges, where given.
        atmosphere: as in :class:`models.route.Route`; empty: not said.
    """

    action: str
    text: str
    start: int
    temperature_C: tuple[float, float] | None = None
    hours: tuple[float, float] | None = None
    atmosphere: str = ""


@dataclass(frozen=True)
class Recipe:
    """What a paragraph says.

    Attributes:
        targets, precursors: formulas, most named first.
        others: other substances, as named.
        steps: in order.
        amounts: as written.
    """

    targets: tuple[str, ...] = ()
    precursors: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    amounts: tuple[str, ...] = field(default=())


class Extractor:
    """Reads synthesis paragraphs. Its tagger trains itself at first use (docs/knowledge.md).

    Args:
        data: folder that holds ``knowledge/``; ``None``: what ``ATHANOR_DATA`` names.
    """

    def __init__(self, data: str | Path | None = None) -> None:
        from models.knowledge.trained_tagger import trained_tagger

        folder = Path(data or os.environ.get("ATHANOR_DATA") or "")
        if not (folder / "knowledge").is_dir():
            raise DataError(
                "reading recipes needs annotated paragraphs: set ATHANOR_DATA to the folder with knowledge/."
            )
        self._tagger = trained_tagger(folder / "knowledge")
        self._documents: list[tuple[str, Recipe]] = []

    def spans(self, text: str) -> list[Span]:
        """Labelled spans, in order, none overlapping."""
        return with_measures(text, self._tagger.tag(text))

    def recipe(self, text: str) -> Recipe:
        """The paragraph as a structured recipe."""
        return recipe_of(text, self.spans(text))

    def routes(self, text: str) -> list[Route]:
        """Routes of the paragraph, one a target."""
        return routes_of(self.recipe(text))

    def ingest(self, document: str) -> Recipe:
        """Read a document and remember its recipe."""
        recipe = self.recipe(document)
        self._documents.append((document, recipe))
        return recipe

    def query(self, question: str) -> list[Recipe]:
        """Recipes of ingested documents that make or use a substance (a formula or a name)."""
        wanted = formula_of(question) or question
        return [r for _, r in self._documents if wanted in r.targets] + [
            r for _, r in self._documents if wanted in r.precursors and wanted not in r.targets
        ]


def extract_routes(text: str) -> list[Route]:
    """Routes that a synthesis paragraph describes, one a target, most named target first; empty: no synthesis in it.

    Raises:
        DataError: no annotated paragraphs to learn from (``ATHANOR_DATA``).
    """
    return _extractor(os.environ.get("ATHANOR_DATA", "")).routes(text)


def extract_spans(text: str) -> list[Span]:
    """Labelled spans of a text; raises as :func:`extract_routes`."""
    return _extractor(os.environ.get("ATHANOR_DATA", "")).spans(text)


def extract_recipe(text: str) -> Recipe:
    """The structured recipe of a text; raises as :func:`extract_routes`."""
    return _extractor(os.environ.get("ATHANOR_DATA", "")).recipe(text)


def with_measures(text: str, spans: Sequence[Span]) -> list[Span]:
    """The tagger's spans, with temperatures and times that a rule finds and the tagger has overlooked."""
    kept = list(spans)
    for m in measures(text):
        if m.label == "amount" or m.rate:
            continue
        if all(m.end <= s.start or m.start >= s.end for s in kept):
            kept.append(Span(m.start, m.end, m.label))
    return sorted(kept)


def recipe_of(text: str, spans: Sequence[Span]) -> Recipe:
    """Parse labelled spans into substances and steps."""
    by: dict[str, list[Span]] = {}
    for span in spans:
        by.setdefault(span.label, []).append(span)
    targets = _formulas(text, by.get("target", ()))
    precursors = [
        f for f in _formulas(text, by.get("precursor", ())) if not is_organic_or_water(f) or "P" in f or "B" in f
    ]
    others = list(dict.fromkeys(text[s.start : s.end] for s in by.get("material", ())))
    if not targets:
        named = Counter(f for s in by.get("material", ()) if (f := formula_of(text[s.start : s.end])))
        targets = [f for f, _ in named.most_common() if f not in precursors and not is_organic_or_water(f)][:1]
    precursors = [f for f in precursors if f not in targets]
    amounts = tuple(text[s.start : s.end] for s in by.get("amount", ()))
    return Recipe(tuple(targets), tuple(precursors), tuple(others), tuple(_steps(text, spans)), amounts)


def routes_of(recipe: Recipe) -> list[Route]:
    """One route a target: its firing is the hottest step of the synthesis."""
    if not recipe.targets or not (recipe.precursors or recipe.steps):
        return []
    hot = [s for s in recipe.steps if s.action in _HOT and s.temperature_C]
    firing = max(hot, key=lambda s: s.temperature_C[1] if s.temperature_C else 0.0, default=None)
    operations = tuple(Operation(capability=s.action, parameters=_parameters(s)) for s in recipe.steps)
    routes = []
    for rank, target in enumerate(recipe.targets):
        routes.append(
            Route(
                candidate=target,
                operations=operations,
                reason=_reason(target, recipe, firing),
                score=1.0 / (1 + rank),
                target=target,
                precursors=tuple(sorted(recipe.precursors)),
                temperature_C=_interval(firing.temperature_C) if firing else None,
                hours=_interval(firing.hours) if firing else None,
                atmosphere=firing.atmosphere if firing else "",
            )
        )
    return routes


@lru_cache(maxsize=2)
def _extractor(folder: str) -> Extractor:
    return Extractor(folder or None)


def _formulas(text: str, spans: Iterable[Span]) -> list[str]:
    counted = Counter(f for s in spans if (f := formula_of(text[s.start : s.end])))
    return [f for f, _ in counted.most_common()]


def _steps(text: str, spans: Sequence[Span]) -> list[Step]:
    tokens = tokenize(text)
    found = measures(text)
    steps: list[Step] = []
    for a, b in sentences(text, tokens):
        start, end = tokens[a].start, tokens[b - 1].end
        inside = [s for s in spans if start <= s.start < end]
        operations = [
            (s, action) for s in inside if s.label == "operation" and (action := _action(text[s.start : s.end]))
        ]
        steps += _with_conditions(text, operations, inside, [m for m in found if start <= m.start < end])
    return steps


def _with_conditions(
    text: str, operations: Sequence[tuple[Span, str]], spans: Sequence[Span], found: Sequence[Measure]
) -> list[Step]:
    """Each condition belongs to the nearest operation before it that can take it, else to the first one after it."""
    conditions: list[dict[str, object]] = [{} for _ in operations]

    def owner(place: int, label: str) -> int | None:
        able = [i for i, (_, action) in enumerate(operations) if _takes(action, label) and label not in conditions[i]]
        before = [i for i in able if operations[i][0].start < place]
        return before[-1] if before else (able[0] if able else None)

    wanted = {s.start: s for s in spans if s.label in ("temperature", "time")}
    for m in found:
        if m.rate or m.label == "amount" or not any(s.start < m.end and m.start < s.end for s in wanted.values()):
            continue
        if (i := owner(m.start, m.label)) is not None:
            conditions[i][m.label] = (m.low, m.high)
    for match_start, gas in _gases(text, spans):
        if (i := owner(match_start, "atmosphere")) is not None:
            conditions[i]["atmosphere"] = gas
    return [
        Step(
            action,
            text[span.start : span.end],
            span.start,
            c.get("temperature"),  # pyright: ignore[reportArgumentType]
            c.get("time"),  # pyright: ignore[reportArgumentType]
            str(c.get("atmosphere", "")),
        )
        for (span, action), c in zip(operations, conditions)
    ]


def _takes(action: str, label: str) -> bool:
    if label == "atmosphere":
        return action in _HOT or action in ("dry", "cool")
    if label == "temperature":
        return action in _HOT or action in ("dry", "mix", "cool")
    return action not in ("press", "wash")


def _gases(text: str, spans: Sequence[Span]) -> list[tuple[int, str]]:
    found = []
    for span in spans:
        if span.label == "atmosphere":
            words = text[span.start : span.end + 6]
            gas = next((g for g, pattern in _GASES if re.search(pattern, words[: span.end - span.start])), None)
            mixed = next((g for g, pattern in _GASES[:2] if re.match(pattern, words)), None)
            if mixed or gas:
                found.append((span.start, mixed or gas or ""))
    return found


def _action(word: str) -> str | None:
    lower = word.lower()
    return next((action for action, pattern in _ACTIONS if re.search(pattern, lower)), None)


def _parameters(step: Step) -> dict[str, float | str]:
    told: dict[str, float | str] = {}
    if step.temperature_C:
        told["temperature_C"] = step.temperature_C[1]
    if step.hours:
        told["hours"] = round(step.hours[1], 4)
    if step.atmosphere:
        told["atmosphere"] = step.atmosphere
    return told


def _interval(values: tuple[float, float] | None) -> Interval | None:
    return Interval(value=sum(values) / 2, low=values[0], high=values[1]) if values else None


def _reason(target: str, recipe: Recipe, firing: Step | None) -> str:
    words = f"as written: {target}"
    if recipe.precursors:
        words += f" from {' + '.join(recipe.precursors)}"
    if firing and firing.temperature_C:
        words += f", {firing.text} at {firing.temperature_C[1]:.0f} °C"
        if firing.hours:
            words += f" for {firing.hours[1]:g} h"
        if firing.atmosphere:
            words += f" in {firing.atmosphere}"
    return words
