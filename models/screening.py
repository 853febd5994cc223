"""Rules of thumb that cost nothing: what no chemist would weigh in is not given to a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models import elements
from models.errors import SpaceError
from models.pool import CandidatePool
from models.quantities import price_USD_per_kg
from models.spaces.base import EnumerableSpace

_GROUPS = {"radioactive": elements.RADIOACTIVE, "rare_earth": elements.RARE_EARTH, "poisonous": elements.POISONOUS}


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ExcludeRule(_Rule):
    """No element of these groups or symbols."""

    rule: Literal["exclude"]
    groups: list[Literal["radioactive", "rare_earth", "poisonous"]] = []
    elements: list[str] = []

    @property
    def reason(self) -> str:
        """Why a candidate is dropped."""
        return f"holds an excluded element ({', '.join([*self.groups, *self.elements])})"

    def passes(self, amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
        """True where none is present."""
        elements.check_symbols(self.elements)
        banned = set(self.elements).union(*(set(_GROUPS[group]) for group in self.groups))
        return (amounts[:, [el in banned for el in symbols]] == 0).all(axis=1)


class ChargeRule(_Rule):
    """Electrons that can pair up.

    A composition with a nonmetal must be neutral: the most electronegative element in its lowest common oxidation
    state, every other one anywhere between its lowest and highest (so that mixed valence passes). An alloy of metals
    and metalloids has no oxidation states; it must have a valence electron count an atom in ``electrons_per_atom``. The
    default spans what the 1,352 full Heuslers with negative formation energy in Nguyen et al. 2024 (J. Mater. Chem. C,
    10.1039/D4TC02116A) have, 2.75 to 9.0, with a margin.
    """

    rule: Literal["charge"]
    electrons_per_atom: tuple[float, float] = (2.5, 9.5)

    @property
    def reason(self) -> str:
        """Why a candidate is dropped."""
        low, high = self.electrons_per_atom
        return f"salt that is not neutral, or alloy outside {low:g} to {high:g} valence electrons an atom"

    def passes(self, amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
        """True where neutral (salts) or inside the electron window (alloys)."""
        nonmetal = np.array([el in elements.NONMETALS for el in symbols])
        salts = amounts[:, nonmetal].any(axis=1)
        electrons = amounts @ elements.values("valence_electrons", symbols) / amounts.sum(axis=1)
        out = (electrons >= self.electrons_per_atom[0]) & (electrons <= self.electrons_per_atom[1])
        if salts.any():
            out[salts] = _can_be_neutral(amounts[salts], symbols)
        return out


class SizeRule(_Rule):
    """Atoms that fit together.

    Alloys: the standard deviation of the metallic radii over their mean at most ``max_mismatch``; the default holds all
    1,352 full Heuslers with negative formation energy of the set that ``ChargeRule`` names (largest 0.179). Salts are
    not judged by metallic radii and pass: use ``tolerance_factor`` for perovskites.
    """

    rule: Literal["size"]
    max_mismatch: float = Field(default=0.18, gt=0)

    @property
    def reason(self) -> str:
        """Why a candidate is dropped."""
        return f"atomic radii spread by more than {self.max_mismatch:.0%}"

    def passes(self, amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
        """True where the atoms are alike enough in size, and for every salt."""
        nonmetal = np.array([el in elements.NONMETALS for el in symbols])
        fraction = amounts / amounts.sum(axis=1, keepdims=True)
        radius = elements.values("radius_A", symbols)
        mean = fraction @ radius
        spread = np.sqrt(np.maximum(fraction @ radius**2 - mean**2, 0.0)) / mean
        return (spread <= self.max_mismatch) | amounts[:, nonmetal].any(axis=1)


class ToleranceFactorRule(_Rule):
    """Goldschmidt's factor (r_A + r_X) / (sqrt(2) (r_B + r_X)) of a perovskite inside bounds.

    Ionic radii of the charges in which the compound is neutral (Shannon, six-fold); where none is known the candidate
    is dropped. ``sites`` names the prototype's labels of A, B and X; prototypes without them pass.
    """

    rule: Literal["tolerance_factor"]
    sites: tuple[str, str, str] = ("A", "B", "X")
    bounds: tuple[float, float] = (0.8, 1.1)

    @property
    def reason(self) -> str:
        """Why a candidate is dropped."""
        return f"tolerance factor outside {self.bounds[0]:g} to {self.bounds[1]:g}"

    def passes_sites(self, decorations: np.ndarray, symbols: tuple[str, ...]) -> np.ndarray:
        """True where it fits; ``decorations`` (n, 3) are indices into ``symbols``, -1 for an absent label."""
        from models.spaces.lattice import neutral_charges

        out = np.ones(len(decorations), dtype=bool)
        for k, row in enumerate(decorations.tolist()):
            if min(row) < 0:
                continue
            trio = [symbols[j] for j in row]
            charges = neutral_charges(trio, np.array([1, 1, 3]))
            radii = [elements.ionic_radius_A(el, q) for el, q in zip(trio, charges or (0, 0, 0), strict=True)]
            if charges is None or any(r is None for r in radii):
                out[k] = False
                continue
            a, b, x = (r for r in radii if r is not None)
            out[k] = self.bounds[0] <= (a + x) / (math.sqrt(2) * (b + x)) <= self.bounds[1]
        return out


class PriceRule(_Rule):
    """Elements that cost at most so much, USD/kg of the alloy at prices of 2013."""

    rule: Literal["price"]
    at_most_USD_per_kg: float = Field(gt=0)

    @property
    def reason(self) -> str:
        """Why a candidate is dropped."""
        return f"elements cost more than {self.at_most_USD_per_kg:g} USD/kg"

    def passes(self, amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
        """True where cheap enough."""
        return price_USD_per_kg(amounts, symbols) <= self.at_most_USD_per_kg


Rule = Annotated[ExcludeRule | ChargeRule | SizeRule | ToleranceFactorRule | PriceRule, Field(discriminator="rule")]


class ScreeningSpec(BaseModel):
    """What a user may write under ``screening:``: rules in the order in which they are applied; none by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: list[Rule] = []

    @model_validator(mode="after")
    def _each_once(self) -> ScreeningSpec:
        kinds = [rule.rule for rule in self.rules]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"each rule may be given once, not {kinds}")
        return self


@dataclass(frozen=True)
class Screening:
    """Result of the rules over n candidates.

    Attributes:
        mask: (n,) True where every rule is passed.
        dropped: rule -> how many it was the first to drop, in order.
        reasons: rule -> why, in words.
    """

    mask: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def screen(spec: ScreeningSpec, pool: CandidatePool | EnumerableSpace, block: np.ndarray | None = None) -> Screening:
    """Apply the rules in order to a pool, or to the candidates ``block`` (numbers) of a countable space.

    Raises:
        SpaceError: there are rules but the candidates have no composition.
    """
    space = pool.space if isinstance(pool, CandidatePool) else pool
    if isinstance(pool, CandidatePool):
        if not spec.rules:
            return Screening(np.ones(len(pool), dtype=bool))
        indices = pool.indices
    else:
        indices = np.arange(pool.size) if block is None else np.asarray(block, dtype=np.int64)
        if not spec.rules:
            return Screening(np.ones(len(indices), dtype=bool))
    if indices is None or not isinstance(space, EnumerableSpace) or not space.elements:
        raise SpaceError(
            f"the screening rules {[rule.rule for rule in spec.rules]} judge compositions, and this space has none: "
            "remove 'screening', or name the table's 'composition' column"
        )
    mask = np.ones(len(indices), dtype=bool)
    dropped, reasons = {}, {}
    for rule in spec.rules:
        alive = np.flatnonzero(mask)
        if isinstance(rule, ToleranceFactorRule):
            passed = rule.passes_sites(_decorations(space, indices[alive], rule.sites), space.elements)
        else:
            passed = rule.passes(space.amounts_at(indices[alive]), space.elements)
        mask[alive] = passed
        dropped[rule.rule] = int(len(alive) - passed.sum())
        reasons[rule.rule] = rule.reason
    return Screening(mask, dropped, reasons)


def _decorations(space: EnumerableSpace, indices: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    from models.spaces.prototype import PrototypeSpace

    if not isinstance(space, PrototypeSpace):
        raise SpaceError("the rule tolerance_factor needs a prototype space; remove it from 'screening'")
    return np.stack([space.sites_at(indices, label) for label in labels], axis=1)


def _can_be_neutral(amounts: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
    """True where oxidation states between each element's extremes add up to zero; see ``ChargeRule``."""
    states = [elements.oxidation_states(el) for el in symbols]
    lowest = np.array([min(s, default=0) for s in states], dtype=float)
    highest = np.array([max(s, default=0) for s in states], dtype=float)
    chi = np.array([elements.electronegativity(el) for el in symbols])
    anion = np.where(amounts > 0, chi, -1.0).argmax(axis=1)
    rows = np.arange(len(amounts))
    anion_charge = amounts[rows, anion] * lowest[anion]
    high = amounts @ highest - amounts[rows, anion] * highest[anion] + anion_charge
    low = amounts @ lowest
    return (low <= 1e-9) & (high >= -1e-9) & (lowest[anion] < 0)
