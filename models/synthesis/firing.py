"""Firing conditions by rule of thumb, where no learnt model is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from models import elements
from models.errors import DataError
from models.route import Interval
from models.synthesis.atmosphere import choose_atmosphere
from models.synthesis.sintering import SinteringPlanner, balance
from models.thermo import formulas
from models.thermo.entries import thermo_folder

_TAMMANN_STD_C = 185.0
"""Error of Tammann's rule on 6,822 text-mined oxide syntheses (``models.synthesis.sintering``)."""
_90_PERCENT = 1.645
_WITHOUT_RULE_C = 900.0
_HOURS = Interval(value=6.0, low=1.0, high=50.0)
"""Median of 12,944 text-mined solid-state syntheses, and where nine of ten of them lie."""


@dataclass(frozen=True)
class Firing:
    """Conditions of a firing."""

    temperature_C: Interval
    hours: Interval
    atmosphere: str


class RuleOfThumb:
    """Tammann's rule for the temperature, the gas that keeps the target, hours as most people fire."""

    def predict_all(self, targets: Sequence[str], precursors: Sequence[Sequence[str]]) -> list[Firing]:
        """Return conditions of each target, whatever its precursors. Raises DataError for what is no formula."""
        return [_by_rule(str(thermo_folder()), target) for target in targets]


@lru_cache(maxsize=10_000)
def _by_rule(folder: str, target: str) -> Firing:
    T_C = firing_C(target)
    spread = _90_PERCENT * _TAMMANN_STD_C
    interval = Interval(value=T_C, low=max(25.0, T_C - spread), high=T_C + spread)
    return Firing(interval, _HOURS, choose_atmosphere(target, T_C))


def firing_C(target: str) -> float:
    """Return Tammann's temperature for the usual oxides of a target's metals; 900 C where there is none."""
    atoms = formulas.atoms(target)
    metals = {el: n for el, n in atoms.items() if el not in elements.NONMETALS - {"O"}}
    if "O" not in atoms or len(metals) < 2:
        return _WITHOUT_RULE_C
    try:
        return SinteringPlanner().firing_temperature_C(balance(metals, "O")[0], "O")[0]
    except DataError:
        return _WITHOUT_RULE_C
