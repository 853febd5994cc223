"""The reaction planner: every balanced way to a target, judged by nucleation, by what competes and by custom."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from models import elements
from models.candidate import Candidate
from models.errors import DataError
from models.route import Interval, Operation, Route
from models.synthesis.atmosphere import choose_atmosphere
from models.synthesis.landscape import Landscape, survey
from models.synthesis.route_words import numbers, reason
from models.synthesis.sintering import SinteringPlanner, balance
from models.thermo import formulas

_TAMMANN_STD_C = 185.0
"""Root mean square error of Tammann's rule on 6,822 text-mined oxide syntheses (``models.synthesis.sintering``)."""
_90_PERCENT = 1.645
_WITHOUT_RULE_C = 900.0


class ReactionPlanner:
    """Plans solid-state syntheses from thermochemistry and nucleation theory.

    All balanced reactions from available powders are enumerated, open to the gases of the atmosphere. Each is judged by
    the barrier to the target's nucleation and by how many other phases its precursors could form; what no other route
    beats in both is the Pareto front. Routes are ranked by that and by how often chemists use the powders.

    Args:
        top: routes to return.
        atmosphere: of the firing, one of ``models.thermo.gibbs.ATMOSPHERES_bar``; by default one that keeps the target.
        sample_mass_g: of product aimed at.
        temperature_C: of the firing; by default estimated.

    Citation: Aykol, Montoya, Hummelshoj, J. Am. Chem. Soc. 143, 9244 (2021), doi:10.1021/jacs.1c04888.
    """

    citation = "10.1021/jacs.1c04888"

    def __init__(
        self, *, top: int = 5, atmosphere: str = "", sample_mass_g: float = 2.0, temperature_C: float | None = None
    ):
        self.top = top
        self.atmosphere = atmosphere
        self.sample_mass_g = sample_mass_g
        self.temperature_C = temperature_C

    def plan(self, candidate: Candidate) -> list[Route]:
        """Return routes, best first; none without a composition, or where nothing is known of its elements."""
        if not candidate.formula:
            return []
        try:
            return self.routes(candidate.formula, candidate.id)
        except DataError:
            return []

    def routes(self, formula: str, candidate: str = "") -> list[Route]:
        """Return routes to a formula, best first.

        Raises:
            DataError: no public data, not a formula, or no set of available precursors makes it; says what to do.
        """
        found = self.landscape(formula)
        order = np.argsort(-self.scores(found), kind="stable")[: self.top]
        chance = self.scores(found)
        return [
            self._route(found, int(row), float(chance[row]), candidate or formulas.reduced(formula)) for row in order
        ]

    def landscape(self, formula: str) -> Landscape:
        """Return all reactions to a formula with their numbers. Raises DataError like ``routes``."""
        temperature_C = self.firing_C(formula)
        found = survey(formula, temperature_C, self.atmosphere or choose_atmosphere(formula, temperature_C))
        if not len(found.reactions):
            held = ", ".join(sorted({p.phase.formula for p in found.precursors})) or "none"
            raise DataError(
                f"no set of available precursors makes {formula}; known powders of its elements: {held}. Choose a "
                "target whose elements all have one"
            )
        return found

    def firing_C(self, formula: str) -> float:
        """Return the temperature to fire at: what was given, else Tammann's rule for the usual binary powders."""
        if self.temperature_C is not None:
            return self.temperature_C
        atoms = formulas.atoms(formula)
        if "O" in atoms:
            metals = {el: n for el, n in atoms.items() if el not in elements.NONMETALS - {"O"}}
            if len(metals) > 1:
                moles, _ = balance(metals, "O")
                return SinteringPlanner().firing_temperature_C(moles, "O")[0]
        return _WITHOUT_RULE_C

    def scores(self, found: Landscape) -> np.ndarray:
        """Return the probability-like score (m,) of each reaction; they sum to 1."""
        driven = log_ndtr(-found.energy_eV_per_atom / found.std_eV_per_atom)
        words = (
            custom(found)
            + driven
            - 0.3 * np.log1p(np.minimum(found.barrier_eV, 1e6))
            - 0.05 * found.competition.expected
        )
        words -= words.max()
        return np.exp(words) / np.exp(words).sum()

    def _route(self, found: Landscape, row: int, score: float, candidate: str) -> Route:
        sets, amounts = found.reactions.sets[row], found.reactions.coefficients[row]
        powders = {found.precursors[i].phase.formula: float(x) for i, x in zip(sets, amounts, strict=True) if i >= 0}
        units = self.sample_mass_g / _mass_g_per_mol(found.target.atoms)
        masses = {name: units * x * _mass_g_per_mol(formulas.atoms(name)) for name, x in powders.items()}
        target = formulas.reduced(found.target.formula)
        spread = _90_PERCENT * _TAMMANN_STD_C
        T_C = found.temperature_C
        parameters = {
            "precursors_g": masses,
            "sample_mass_g": self.sample_mass_g,
            "temperature_C": T_C,
            "hours": 12.0,
            "atmosphere": found.atmosphere,
        }
        return Route(
            candidate=candidate,
            precursors_g=masses,
            operations=(
                Operation(capability="sinter", parameters=parameters, quantities=("sample_mass_g", "mass_loss_pct")),
            ),
            reason=reason(found, row),
            score=score,
            target=target,
            precursors=tuple(sorted(powders)),
            temperature_C=Interval(value=T_C, low=max(25.0, T_C - spread), high=T_C + spread),
            hours=Interval(value=12.0, low=4.0, high=48.0),
            atmosphere=found.atmosphere,
            numbers=numbers(found, row),
        )


def custom(found: Landscape) -> np.ndarray:
    """Return how usual each set of powders is, (m,): the logarithm of the product of their shares of their elements."""
    fixed = found.reactions.fixed
    bought = np.array([p.bought for p in found.precursors], float)
    holds = np.array([[el in p.phase.atoms for el in fixed] for p in found.precursors])
    shares = np.where(holds, bought[:, None] / np.maximum(1.0, bought @ holds), np.nan)
    words = np.append(np.log(np.nanmean(shares, axis=1)), 0.0)
    return words[found.reactions.sets].sum(axis=1)


def _mass_g_per_mol(atoms: dict[str, float]) -> float:
    return float(
        sum(n * m for n, m in zip(atoms.values(), elements.values("mass_g_per_mol", list(atoms)), strict=True))
    )
