"""What a tagger may know of a word: its form, its neighbours, its place in the text; as hashed numbers."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence

from models.elements import symbols
from models.knowledge.clues import Clues, is_formula
from models.knowledge.measures import is_unit
from models.knowledge.tokens import Token

BUCKETS = 1 << 17
"""Hashed features."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ELEMENT_NAMES = _words(
    """
    lithium beryllium boron carbon nitrogen oxygen fluorine sodium magnesium aluminum aluminium silicon phosphorus
    sulfur sulphur chlorine argon potassium calcium scandium titanium vanadium chromium manganese iron cobalt nickel
    copper zinc gallium germanium arsenic selenium bromine rubidium strontium yttrium zirconium niobium molybdenum
    ruthenium rhodium palladium silver cadmium indium tin antimony tellurium iodine cesium caesium barium lanthanum
    cerium praseodymium neodymium samarium europium gadolinium terbium dysprosium holmium erbium thulium ytterbium
    lutetium hafnium tantalum tungsten rhenium osmium iridium platinum gold mercury thallium lead bismuth thorium
    uranium ammonium hydrogen helium ferric ferrous cupric
    """
)
_ANIONS = _words(
    """
    oxide oxides carbonate carbonates nitrate nitrates hydroxide hydroxides acetate acetates chloride chlorides
    sulfate sulphate phosphate oxalate citrate fluoride sulfide nitride bromide iodide isopropoxide butoxide
    ethoxide hydrate dioxide trioxide pentoxide monoxide acid salt salts peroxide carbide selenide
    """
)
_SOLVENTS = _words(
    """
    water ethanol methanol acetone toluene hexane isopropanol propanol glycol dmf thf ether chloroform alcohol
    solvent cyclohexane acetonitrile ammonia nmp glycerol benzene dmso
    """
)
_GASES = _words(
    """
    air argon nitrogen oxygen hydrogen helium vacuum ar n2 o2 h2 he co2 nh3 h2s
    """
)
_SELLERS = re.compile(
    r"aldrich|sigma|merck|alfa|aesar|purchased|supplied|reagent|grade|kanto|wako|acros|fluka|strem|%$", re.I
)
_MAKING = re.compile(r"^(prepar|synthesi|fabricat|obtain|produc|grown?$|form|deposit)", re.I)
_STARTING = re.compile(r"^(start|precursor|stoichiometric|dissolv|mix|react|weigh|raw|using|amount|from$)", re.I)


def token_features(text: str, tokens: Sequence[Token], ranges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Hashed features of each token."""
    words = [t.text for t in tokens]
    counts = Counter(w.lower() for w in words)
    seen: Counter[str] = Counter()
    lines = text[: tokens[-1].end].count("\n") if tokens else 0
    first_line = {w.lower() for w, t in zip(words, tokens) if lines and text.count("\n", 0, t.start) <= 1}
    features: list[list[int]] = []
    forms = [_form(w) for w in words]
    clues = Clues(text, tokens)
    for number, (begin, end) in enumerate(ranges):
        sentence = words[begin:end]
        flags = []
        if any(_SELLERS.search(w) for w in sentence):
            flags.append("seller")
        if any(_MAKING.match(w) for w in sentence):
            flags.append("making")
        if any(_STARTING.match(w) for w in sentence):
            flags.append("starting")
        place = f"place={min(4, 5 * number // max(1, len(ranges)))}"
        for i, told in zip(range(begin, end), clues.told(words, begin, end)):
            low = words[i].lower()
            mine = [f"w={low}", *forms[i], *told, place]
            mine += [f"{f}&{k}" for f in flags for k in forms[i] if k.startswith("kind")]
            mine.append(f"count={min(4, counts[low])}")
            if not seen[low]:
                mine.append("new")
            if low in first_line and len(low) > 2:
                mine.append("title")
            if lines:
                mine.append(f"line={min(2, text.count(chr(10), 0, tokens[i].start))}")
            seen[low] += 1
            for offset in (-2, -1, 1, 2):
                j = i + offset
                inside = begin <= j < end
                mine.append(f"{offset}={words[j].lower() if inside else '#'}")
                if inside and abs(offset) == 1:
                    mine += [f"{offset}:{k}" for k in forms[j] if k.startswith(("kind", "shape", "suffix3"))]
            if i + 1 < end:
                mine.append(f"w&1={low}|{words[i + 1].lower()}")
            if i > begin:
                mine.append(f"-1&w={words[i - 1].lower()}|{low}")
            features.append([_hashed(m) for m in mine])
    return features


def _form(word: str) -> list[str]:
    low = word.lower()
    shape = re.sub(r"(.)\1+", r"\1", re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub(r"\d", "0", word))))
    found = [f"shape={shape[:8]}"]
    found += [f"suffix{n}={low[-n:]}" for n in (2, 3, 4) if len(low) > n]
    found += [f"prefix{n}={low[:n]}" for n in (2, 3, 4) if len(low) > n]
    if len(low) > 5:
        found += [f"gram={low[i : i + 4]}" for i in range(len(low) - 3)][:8]
    kinds = []
    if word[:1].isdigit():
        kinds.append("number")
    if is_unit(word):
        kinds.append(f"unit:{is_unit(word)}")
    if low in _ELEMENT_NAMES or word in symbols():
        kinds.append("element")
    if low in _ANIONS:
        kinds.append("anion")
    if low in _SOLVENTS:
        kinds.append("solvent")
    if low in _GASES:
        kinds.append("gas")
    if is_formula(word) and sum(c.isupper() for c in word) >= 2:
        kinds.append("formula" if any(c.isdigit() for c in word) else "capitals")
        metals = sum(
            1 for s in re.findall("[A-Z][a-z]?", word) if s in symbols() and s not in ("H", "C", "N", "O", "F", "Cl")
        )
        kinds.append(f"metals{min(3, metals)}")
    return found + [f"kind={k}" for k in kinds or ["plain"]]


def _hashed(feature: str) -> int:
    return zlib.crc32(feature.encode()) % BUCKETS
