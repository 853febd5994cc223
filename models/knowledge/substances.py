"""From what a paper calls a substance to its formula: ``barium carbonate``, ``Ba(NO3)2·6H2O``, ``LiNi0.5Mn1.5O4-δ``."""

from __future__ import annotations

import re
from math import gcd

from models.elements import electronegativity, oxidation_states, parse_formula
from models.errors import ModelError

ELEMENT_NAMES = {
    "lithium": "Li", "beryllium": "Be", "boron": "B", "carbon": "C", "graphite": "C", "sodium": "Na", "magnesium": "Mg",
    "aluminum": "Al", "aluminium": "Al", "silicon": "Si", "phosphorus": "P", "sulfur": "S", "sulphur": "S",
    "potassium": "K", "calcium": "Ca", "scandium": "Sc", "titanium": "Ti", "vanadium": "V", "chromium": "Cr",
    "manganese": "Mn", "iron": "Fe", "cobalt": "Co", "nickel": "Ni", "copper": "Cu", "zinc": "Zn", "gallium": "Ga",
    "germanium": "Ge", "arsenic": "As", "selenium": "Se", "rubidium": "Rb", "strontium": "Sr", "yttrium": "Y",
    "zirconium": "Zr", "niobium": "Nb", "molybdenum": "Mo", "ruthenium": "Ru", "rhodium": "Rh", "palladium": "Pd",
    "silver": "Ag", "cadmium": "Cd", "indium": "In", "tin": "Sn", "antimony": "Sb", "tellurium": "Te", "cesium": "Cs",
    "caesium": "Cs", "barium": "Ba", "lanthanum": "La", "cerium": "Ce", "praseodymium": "Pr", "neodymium": "Nd",
    "samarium": "Sm", "europium": "Eu", "gadolinium": "Gd", "terbium": "Tb", "dysprosium": "Dy", "holmium": "Ho",
    "erbium": "Er", "thulium": "Tm", "ytterbium": "Yb", "lutetium": "Lu", "hafnium": "Hf", "tantalum": "Ta",
    "tungsten": "W", "rhenium": "Re", "iridium": "Ir", "platinum": "Pt", "gold": "Au", "thallium": "Tl", "lead": "Pb",
    "bismuth": "Bi", "thorium": "Th", "uranium": "U",
}  # fmt: skip
_CHARGES = {
    "Ti": 4, "V": 5, "Cr": 3, "Mn": 2, "Fe": 3, "Co": 2, "Ni": 2, "Cu": 2, "Zr": 4, "Nb": 5, "Mo": 6, "Sn": 4, "Sb": 3,
    "Ta": 5, "W": 6, "Bi": 3, "Pb": 2, "Ce": 3, "Hf": 4, "Si": 4, "Ge": 4, "Te": 4, "Ag": 1, "Ga": 3, "In": 3, "B": 3,
}  # fmt: skip
_OXIDES = {"Ce": "CeO2", "Pr": "Pr6O11", "Tb": "Tb4O7", "Co": "Co3O4", "Mn": "MnO2", "Fe": "Fe2O3", "Pb": "PbO"}
ANIONS = {
    "oxide": ("O", 2), "carbonate": ("CO3", 2), "nitrate": ("NO3", 1), "hydroxide": ("OH", 1), "sulfate": ("SO4", 2),
    "sulphate": ("SO4", 2), "chloride": ("Cl", 1), "fluoride": ("F", 1), "bromide": ("Br", 1), "iodide": ("I", 1),
    "sulfide": ("S", 2), "acetate": ("C2H3O2", 1), "oxalate": ("C2O4", 2), "phosphate": ("PO4", 3), "nitride": ("N", 3),
    "fluorides": ("F", 1), "peroxide": ("O2", 2),
}  # fmt: skip
_OTHERS = {
    "ammonium dihydrogen phosphate": "NH4H2PO4", "diammonium hydrogen phosphate": "(NH4)2HPO4", "boric acid": "H3BO3",
    "silica": "SiO2", "alumina": "Al2O3", "titania": "TiO2", "zirconia": "ZrO2", "magnesia": "MgO", "ceria": "CeO2",
    "yttria": "Y2O3", "hematite": "Fe2O3", "magnetite": "Fe3O4", "rutile": "TiO2", "anatase": "TiO2", "quartz": "SiO2",
    "water": "H2O", "urea": "CH4N2O", "citric acid": "C6H8O7", "ammonia": "NH3", "hydrogen peroxide": "H2O2",
    "ammonium nitrate": "NH4NO3", "ammonium carbonate": "(NH4)2CO3", "ammonium hydrogen carbonate": "NH4HCO3",
}  # fmt: skip
_COUNT = {"mono": 1, "di": 2, "tri": 3, "tetr": 4, "tetra": 4, "pent": 5, "penta": 5}
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}
_WATER = re.compile(r"\s*[·*•∙⋅.x]\s*(?:\d+\.?\d*|x|n)?\s*H2O\s*$", re.IGNORECASE)


def formula_of(name: str) -> str | None:
    """Formula of a substance without its crystal water, or ``None`` where the name says none.

    ``Ba(NO3)2*6H2O`` and ``barium nitrate`` are both ``Ba(NO3)2``; an unknown δ is left out.
    """
    text = re.sub(r"\s(?:powders?|metal|foil|salt)$", "", " ".join(name.split()).strip(" .,;"))
    return _OTHERS.get(text.lower()) or _written(text) or _spoken(text.lower())


def is_organic_or_water(formula: str) -> bool:
    """Solvents and fuels: no metal in it."""
    light = {"H", "C", "N", "O", "S", "F", "Cl"}
    return set(parse_formula(formula)) <= light


def _written(text: str) -> str | None:
    text = _WATER.sub("", text)
    text = re.sub(r"[±+\-−–]?\s*(?:δ|delta|d|x|y)$", "", text)
    if not re.fullmatch(r"[A-Z][A-Za-z0-9.()\[\]]*", text):
        return None
    try:
        counts = parse_formula(text)
    except ModelError:
        return None
    if re.fullmatch("[A-Z]{3,}", text) and text not in ("KOH", "KCN"):
        return None  # PVP, NMP: abbreviations that happen to spell elements
    if not any(electronegativity(e) < 2.3 for e in counts) and not any(c.isdigit() for c in text):
        return None
    return text


def _spoken(text: str) -> str | None:
    valence = next((_ROMAN[m.group(1)] for m in [re.search(r"\(\s*([iv]+)\s*\)", text)] if m), None)
    words = re.sub(r"\([^)]*\)", " ", text).replace("anhydrous", " ").split()
    words = [w for w in words if "hydrate" not in w and w not in ("powder", "powders", "metal")]
    if len(words) == 1 and words[0] in ELEMENT_NAMES:
        return ELEMENT_NAMES[words[0]]
    if len(words) != 2 or words[0] not in ELEMENT_NAMES:
        return None
    element, anion = ELEMENT_NAMES[words[0]], words[1]
    if (found := re.fullmatch(r"(mono|di|tri|tetra?|penta?)(oxide|chloride|fluoride|sulfide)", anion)) is not None:
        return _joined(element, 1, ANIONS[found.group(2)][0], _COUNT[found.group(1)])
    anion = anion.removesuffix("s") if anion not in ANIONS else anion
    if anion not in ANIONS:
        return None
    if anion == "oxide" and valence is None and element in _OXIDES:
        return _OXIDES[element]
    group, charge = ANIONS[anion]
    positive = valence or _CHARGES.get(element) or max((s for s in oxidation_states(element) if s > 0), default=0)
    if (
        anion not in ("oxide", "fluoride", "nitride")
        and valence is None
        and element == "Fe"
        and anion in ("oxalate", "sulfate")
    ):
        positive = 2
    if not positive:
        return None
    common = gcd(positive, charge)
    return _joined(element, charge // common, group, positive // common)


def _joined(element: str, m: int, group: str, n: int) -> str:
    many = f"({group}){n}" if len(re.findall("[A-Z]", group)) > 1 else f"{group}{n}"
    return f"{element}{m if m > 1 else ''}{group if n == 1 else many}"
