"""Names and numbers as people write them."""

from __future__ import annotations

import math
import re

from controller.view_progress import number
from models.observation import Prediction

UNITS = {
    "T": "T", "K": "K", "C": "°C", "g": "g", "h": "h", "s": "s", "A": "Å", "nm": "nm", "mm": "mm", "V": "V",
    "W": "W", "Hz": "Hz", "deg": "°", "pct": "%", "mA": "mA", "MPa": "MPa", "GPa": "GPa", "eV": "eV", "mL": "mL",
    "A_m2": "A m²", "eV_per_atom": "eV/atom", "A3_per_atom": "Å³/atom", "muB_per_formula_unit": "µB/f.u.",
    "USD_per_kg": "USD/kg", "g_per_cm3": "g/cm³", "g_per_mol": "g/mol", "J_per_g": "J/g", "S_per_cm": "S/cm",
}  # fmt: skip
_SUBSCRIPT = str.maketrans("0123456789.", "₀₁₂₃₄₅₆₇₈₉.")
_SPELT = {"hhi": "supply risk (HHI)", "rwp": "Rwp"}


def words_and_unit(name: str) -> tuple[str, str]:
    """``saturation_magnetization_T`` -> ``("saturation magnetization", "T")``; an unknown unit is ``""``."""
    if name.endswith("current_A"):  # amperes; every other _A is a length in angstrom
        return name[:-2].replace("_", " "), "A"
    for suffix in sorted(UNITS, key=len, reverse=True):
        if name.endswith(f"_{suffix}") and len(name) > len(suffix) + 1:
            stem = name[: -len(suffix) - 1]
            return _SPELT.get(stem, stem.replace("_", " ")), UNITS[suffix]
    return _SPELT.get(name, name.replace("_", " ")), ""


def pretty(name: str) -> str:
    """``saturation_magnetization_T`` as people write it: ``saturation magnetization (T)``."""
    words, unit = words_and_unit(name)
    return f"{words} ({unit})" if unit else words


def amount(value: float) -> str:
    """A number with a true minus sign."""
    return number(value).replace("-", "−")


def quantity(name: str, value: float) -> str:
    """``saturation magnetization 1.6 T``."""
    words, unit = words_and_unit(name)
    return f"{words} {amount(value)}{' ' if unit and unit not in '°%' else ''}{unit}"


def belief(prediction: Prediction) -> str:
    """``1.14 ± 0.15``: the uncertainty with two digits, the mean with as many decimals."""
    if prediction.std <= 0:
        return amount(prediction.mean)
    decimals = 1 - math.floor(math.log10(prediction.std))
    if not -3 <= decimals <= 6:
        return f"{amount(prediction.mean)} ± {prediction.std:.2g}"
    return f"{prediction.mean:.{max(0, decimals)}f} ± {prediction.std:.{max(0, decimals)}f}".replace("-", "−")


def formula(text: str) -> str:
    """``Co2MnSi`` with subscripts."""
    return re.sub(r"(?<=[A-Za-z)\]])[\d.]+", lambda match: match.group().translate(_SUBSCRIPT), text)


def prototype(text: str) -> str:
    """``L2_1`` with its subscript."""
    return re.sub(r"_(\d+)", lambda match: match.group(1).translate(_SUBSCRIPT), text)
