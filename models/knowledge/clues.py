"""What a text says of the substances in it: their formulas and metals, the title's, and the verbs around."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from models.elements import symbols
from models.knowledge.substances import ANIONS, ELEMENT_NAMES, formula_of
from models.knowledge.tokens import Token

Metals = frozenset[str]

VERBS = (
    re.compile(r"^(prepar|synthesi|fabricat|obtain|produc|grow|form|deposit|yield)", re.I),
    re.compile(
        r"^(dissol|mix|weigh|add|disper|purchas|start|use|using|react|suspend|ground|mill|combin|load|place)", re.I
    ),
    re.compile(r"^(heat|calcin|anneal|sinter|dri|fire|cool|autoclav)", re.I),
    re.compile(r"^(wash|rins|filter|centrif|collect|separ)", re.I),
)
"""Making, starting, heating, parting."""
PREPOSITIONS = (
    "of", "from", "with", "in", "into", "to", "by", "as", "for", "and", "using", "on", "under", "between",
)  # fmt: skip
_COMMON = frozenset(("H", "C", "N", "O", "F", "Cl", "S"))
_FORMULA = re.compile(r"^[(\[]?(?:[A-Z][a-z]?[\d.xyzδ+\-]*|[()\[\]*·.]|\d)+$")
_COUNTED = re.compile(r"^[A-Z(].*[A-Z][a-z]?\d|^[A-Z][a-z]?\d")


def is_formula(word: str) -> bool:
    """Whether a word is written like a formula."""
    return bool(_FORMULA.match(word))


def metals_of(word: str) -> Metals:
    """Elements other than the commonest non-metals that a formula or the name of an element names."""
    if is_formula(word) or _COUNTED.match(word):
        return _metals_in(word)
    return frozenset([ELEMENT_NAMES.get(word.lower(), "")]) & _metals()


def verb_of(word: str) -> int:
    """1 to 4: which of ``VERBS``; 0: none."""
    return next((k + 1 for k, pattern in enumerate(VERBS) if pattern.match(word)), 0)


class Clues:
    """One reading of a text.

    Attributes:
        formulas: of each word, alone or with its neighbour (``barium carbonate``); ``None``: no substance.
        metals: of each word.
        title: metals of the first line after the first, where the text has three lines or more.
        verbs: of each word, as :func:`verb_of`.
    """

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        words = [token.text for token in tokens]
        self.formulas: list[str | None] = [
            formula_of(word) if word[:1].isalpha() or word[:1] in "([" else None for word in words
        ]
        for i, (word, following) in enumerate(pairwise(words)):
            is_name = word[:1].isalpha() and following.lower() in (*ANIONS, "acid")
            if is_name and (spoken := formula_of(f"{word} {following}")):
                self.formulas[i] = self.formulas[i + 1] = spoken
        self.metals = [
            metals_of(word) or _metals_in(formula or "") for word, formula in zip(words, self.formulas, strict=True)
        ]
        self.verbs = [verb_of(word) for word in words]
        self._different = {metals for metals in self.metals if metals}
        self._said: dict[Metals, list[str]] = {frozenset(): []}
        self._counts = Counter(formula for formula in self.formulas if formula)
        begin, end = _title(text)
        self.title: Metals = frozenset().union(
            *(metals for metals, token in zip(self.metals, tokens) if begin <= token.start < end)
        )

    def relation(self, i: int) -> list[str]:
        """How the metals of a word lie to those of the text's others: a target holds its precursors' metals."""
        mine = self.metals[i]
        if mine not in self._said:
            within = [m for m in self._different if m < mine]
            around = sum(mine < m for m in self._different)
            said = [f"within={min(3, len(within))}", f"around={min(3, around)}"]
            if within and frozenset().union(*within) == mine:
                said.append("made of others")
            said.append(f"metals&around={min(4, len(mine))}|{min(1, around)}")
            if self.title:
                said.append(f"title:{relation_of(mine, self.title)}")
            self._said[mine] = said
        return self._said[mine]

    def told(self, words: Sequence[str], begin: int, end: int) -> list[list[str]]:
        """Features of the words of one sentence."""
        out = []
        for i in range(begin, end):
            before = next((v for v in self.verbs[begin:i][::-1] if v), 0)
            after = next((v for v in self.verbs[i + 1 : end] if v), 0)
            preposition = next((w.lower() for w in words[begin:i][::-1] if w.lower() in PREPOSITIONS), "")
            around = [f"before={before}", f"after={after}", f"preposition={preposition}"]
            mine = [*self.relation(i), *around, f"between={before}|{after}"]
            if formula := self.formulas[i]:
                mine += [f"formula={formula}", f"named={min(4, self._counts[formula])}"]
            if formula or self.metals[i]:
                mine += [f"substance:{a}" for a in around] + [f"substance:{before}|{after}|{preposition}"]
            out.append(mine)
        return out


def relation_of(mine: Metals, other: Metals) -> int:
    """0: one has no metals; 1: none shared; 2: some; 3: mine within the other; 4: around it; 5: the same."""
    if not mine or not other:
        return 0
    if mine == other:
        return 5
    return 3 if mine < other else 4 if mine > other else 2 if mine & other else 1


@cache
def _metals() -> Metals:
    return frozenset(symbols()) - _COMMON


def _metals_in(formula: str) -> Metals:
    return frozenset(re.findall("[A-Z][a-z]?", formula)) & _metals()


def _title(text: str) -> tuple[int, int]:
    """Where the title stands in the papers of the corpus: a line after the DOI, before the paragraph."""
    lines = [m for m in re.finditer(r"[^\n]+", text) if m.group().strip()]
    return lines[1].span() if len(lines) > 2 else (0, 0)
