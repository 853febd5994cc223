"""Words of a text, with where they stand in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate

_CHUNK = re.compile(r"\S+")
_NUMBER_UNIT = re.compile(
    r"^([+-]?\d+(?:[.,]\d+)?)(°C|℃|ºC|degC|oC|mmol|mol|mg|kg|g|mL|ml|L|l|wt|min|h|hr|hrs|s|K|C|M|mM|nm|mm|cm|rpm|%)$"
)
_OPEN, _CLOSE = "([{<>≥≤\"'“‘‘~≈∼=", ")]}>\"'”’,.;:?!="
_SPLIT = re.compile(r"(?<=[a-zα-ω\d)\]])([/–—~∼×:]|-{1,2})(?=[\w(])")
_WORDS = re.compile(r"^[A-Za-z]+(-[A-Za-z]+)+$")
_RANGE = re.compile(r"^\d+(\.\d+)?(-|–|~|to)\d+(\.\d+)?$")
_CITED = re.compile(r"^([A-Za-z]{3,})(\.)(\d{1,3}(?:[,–-]\d{1,3})*)$|^(.*[\w)])()(\[\d+(?:[,–-]\d+)*\])$")
_ABBREVIATIONS = frozenset(
    ("fig", "figs", "ref", "refs", "ca", "approx", "e.g", "i.e", "al", "vs", "eq", "no", "wt", "vol", "temp", "conc")
)


@dataclass(frozen=True)
class Token:
    """A word, number or sign: ``text[start:end]``."""

    text: str
    start: int
    end: int


def tokenize(text: str) -> list[Token]:
    """Split a text: formulas stay whole, numbers part from units, brackets, commas and citations stand alone."""
    tokens: list[Token] = []
    for chunk in _CHUNK.finditer(text):
        tokens += _split(chunk.group(), chunk.start())
    return tokens


def sentences(text: str, tokens: list[Token]) -> list[tuple[int, int]]:
    """Half-open ranges of tokens, one a sentence; a line break ends one too."""
    ranges, first = [], 0
    for i, token in enumerate(tokens):
        last = i + 1 == len(tokens)
        gap = "" if last else text[token.end : tokens[i + 1].start]
        stop = token.text in ".?!" and not last and tokens[i + 1].text[:1].upper() == tokens[i + 1].text[:1]
        if stop and token.text == "." and i and tokens[i - 1].text.lower() in _ABBREVIATIONS:
            stop = False
        cited = (
            gap and i and tokens[i - 1].text == "." and token.text[:1].isdigit() and token.start == tokens[i - 1].end
        )
        if last or "\n" in gap or (stop and gap) or cited:
            ranges.append((first, i + 1))
            first = i + 1
    return ranges


def _split(chunk: str, offset: int) -> list[Token]:
    front: list[Token] = []
    back: list[Token] = []
    while len(chunk) > 1 and chunk[0] in _OPEN and not _bracketed(chunk):
        front.append(Token(chunk[0], offset, offset + 1))
        chunk, offset = chunk[1:], offset + 1
    while len(chunk) > 1 and chunk[-1] in _CLOSE and not _bracketed(chunk):
        back.append(Token(chunk[-1], offset + len(chunk) - 1, offset + len(chunk)))
        chunk = chunk[:-1]
    if (found := _CITED.match(chunk)) and chunk.split(".")[0].lower() not in _ABBREVIATIONS:
        pieces = [piece for piece in found.groups() if piece]
        ends = list(accumulate(map(len, pieces), initial=offset))
        return front + [Token(*piece) for piece in zip(pieces, ends, ends[1:])] + back[::-1]
    return front + _inner(chunk, offset) + back[::-1]


def _bracketed(chunk: str) -> bool:
    """The bracket at an end belongs to the formula: ``Ba(NO3)2``, ``La(OH)``, ``(NH4)2HPO4``."""
    if chunk[-1] in ")]}":
        opened = {")": "(", "]": "[", "}": "{"}[chunk[-1]]
        return chunk.find(opened) > 0 and chunk.count(opened) == chunk.count(chunk[-1])
    if chunk[0] in "([{":
        closed = {"(": ")", "[": "]", "{": "}"}[chunk[0]]
        place = chunk.find(closed)
        return (
            0 < place < len(chunk) - 1
            and chunk[place + 1] not in _CLOSE
            and chunk.count(chunk[0]) == chunk.count(closed)
        )
    return False


def _inner(chunk: str, offset: int) -> list[Token]:
    if found := _NUMBER_UNIT.match(chunk):
        cut = found.end(1)
        return [Token(chunk[:cut], offset, offset + cut), Token(chunk[cut:], offset + cut, offset + len(chunk))]
    if _RANGE.match(chunk) or ("/" in chunk and not _formula_like(chunk)) or "–" in chunk or "~" in chunk:
        pieces = re.split(r"([-–—/~∼])" if not _WORDS.match(chunk) else r"([/–—~∼])", chunk)
        tokens = []
        for piece in pieces:
            if piece:
                tokens += _inner_unit(piece, offset)
                offset += len(piece)
        return tokens
    return [Token(chunk, offset, offset + len(chunk))] if chunk else []


def _inner_unit(piece: str, offset: int) -> list[Token]:
    found = _NUMBER_UNIT.match(piece)
    if not found:
        return [Token(piece, offset, offset + len(piece))]
    cut = found.end(1)
    return [Token(piece[:cut], offset, offset + cut), Token(piece[cut:], offset + cut, offset + len(piece))]


def _formula_like(chunk: str) -> bool:
    return sum(c.isupper() for c in chunk) >= 2 and any(c.isdigit() for c in chunk)
