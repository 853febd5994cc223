"""The reaction planner: every balanced way to a target, judged by thermodynamics and by what the literature does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models import elements
from models.candidate import Candidate
from models.errors import DataError, ModelError
from models.route import Interval, Operation, Route
from models.synthesis.blend import allowed, custom, shares
from models.synthesis.conditions import ConditionsModel
from models.synthesis.firing import Firing, RuleOfThumb
from models.synthesis.landscape import Landscape, survey
from models.synthesis.reactions import enumerate_reactions
from models.synthesis.recipe import write_recipe
from models.synthesis.recommender import PrecursorRecommender
from models.synthesis.route_words import numbers, reason
from models.thermo import formulas

_ASKED = 20
"""Sets of precursors that the recommender is asked for."""
_REST = 0.02
"""Share of the odds left to sets that the recommender did not name."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Routes to a target and what they were chosen from.

    Attributes:
        landscape: every reaction; None where thermodynamics knows nothing of the target's elements.
        routes: best first.
        rows: of each route its reaction in the landscape; None where only the literature knows its precursors.
    """

    landscape: Landscape | None
    routes: list[Route]
    rows: list[int | None]


class ReactionPlanner:
    """Plans solid-state syntheses from thermochemistry, nucleation theory and the literature.

    All balanced reactions from available powders are enumerated, open to the gases of the atmosphere. Each is judged by
    the barrier to the target's nucleation and by how many other phases its precursors could form; what no other route
    beats in both is the Pareto front. Routes are ranked by the odds that a recommender learnt from the literature gives
    their precursors; those that it does not name, and all where there is none, by how often each powder is used and by
    what thermodynamics allows.

    Args:
        top: routes to return.
        atmosphere: of the firing, one of ``models.thermo.gibbs.ATMOSPHERES_bar``; by default one that keeps the target.
        temperature_C: of the firing; by default estimated.
        sample_mass_g: of product aimed at.
        literature: ask the learnt models of precursors and conditions.

    Citation: Aykol, Montoya, Hummelshoj, J. Am. Chem. Soc. 143, 9244 (2021), doi:10.1021/jacs.1c04888.
    """

    citation = "10.1021/jacs.1c04888"

    def __init__(
        self,
        *,
        top: int = 5,
        atmosphere: str = "",
        temperature_C: float | None = None,
        sample_mass_g: float = 2.0,
        literature: bool = True,
    ):
        self.top = top
        self.atmosphere = atmosphere
        self.temperature_C = temperature_C
        self.sample_mass_g = sample_mass_g
        self.literature = literature

    @cached_property
    def recommender(self) -> PrecursorRecommender | None:
        """The learnt recommender of precursors; None without the literature."""
        return PrecursorRecommender.load() if self.literature else None

    @cached_property
    def conditions(self) -> ConditionsModel | RuleOfThumb:
        """The learnt model of conditions; a rule of thumb without the literature."""
        return ConditionsModel.load() if self.literature else RuleOfThumb()

    def plan(self, candidate: Candidate) -> list[Route]:
        """Return routes with recipes, best first; none without a composition, or of elements nothing is known of."""
        if not candidate.formula:
            return []
        try:
            found = self.routes(candidate.formula, candidate.id)
            return [with_recipe(route, self.sample_mass_g) for route in found]
        except DataError:
            return []

    def routes(self, formula: str, candidate: str = "") -> list[Route]:
        """Return routes to a formula, best first.

        Raises:
            DataError: no public data, not a formula, or no set of available precursors makes it; says what to do.
        """
        return self.survey(formula, candidate).routes

    def survey(self, formula: str, candidate: str = "") -> Plan:
        """Return the routes and the reactions that they were chosen from. Raises DataError like ``routes``."""
        usual = self._recommended(formula)
        try:
            found = self.landscape(formula, usual)
        except DataError:
            if not usual:
                raise
            return Plan(None, self._routes(formula, dict(list(usual.items())[: self.top]), candidate), [])
        sets = [frozenset(p.phase.key for p in found.set_of(row)) for row in range(len(found.reactions))]
        named = {_keys(names): odds for names, odds in usual.items()}
        others = [names for names in usual if _keys(names) not in set(sets)]
        words = custom(found) + allowed(found)
        if usual:  # what the literature does not name shares a small rest, by custom and thermodynamics
            rest = _REST * shares(words)
            words = np.log(np.array([named.get(held, 0.0) for held in sets]) + rest)
            words = np.append(words, np.log([usual[names] for names in others]))
        score = shares(words)
        best = [int(i) for i in np.argsort(-score, kind="stable")[: self.top]]
        rows = [i if i < len(sets) else None for i in best]
        chosen = {
            tuple(p.phase.formula for p in found.set_of(i)) if i < len(sets) else others[i - len(sets)]: float(score[i])
            for i in best
        }
        routes = []
        for row, route in zip(rows, self._routes(formula, chosen, candidate), strict=True):
            told = {} if row is None else {"reason": reason(found, row), "numbers": numbers(found, row)}
            if odds := named.get(_keys(route.precursors)):
                told["numbers"] = {**told.get("numbers", {}), "literature_probability": round(odds, 6)}
            routes.append(route.model_copy(update=told))
        return Plan(found, routes, rows)

    def quick_routes(self, formula: str, candidate: str = "") -> list[Route]:
        """Return routes as the literature would choose them, without thermodynamics; milliseconds a target.

        Where the recommender knows nothing of a target, or there is none, the same as ``routes``.
        """
        (found,) = self.quick_batch([formula], candidate)
        if isinstance(found, DataError):
            raise found
        return found

    def quick_batch(self, targets: Sequence[str], candidate: str = "") -> list[list[Route] | DataError]:
        """Return ``quick_routes`` of each target, or why it has none; conditions of all are predicted together."""
        usual: list[dict[tuple[str, ...], float] | DataError] = []
        for formula in targets:
            try:
                usual.append(self._recommended(formula, self.top))
            except DataError as error:
                usual.append(error)
        pairs = [(f, names) for f, sets in zip(targets, usual, strict=True) if isinstance(sets, dict) for names in sets]
        firings = iter(self._firings(pairs))
        out: list[list[Route] | DataError] = []
        for formula, sets in zip(targets, usual, strict=True):
            try:
                if isinstance(sets, DataError):
                    raise sets
                own = [next(firings) for _ in sets]
                out.append(self._built(formula, sets, own, candidate) if sets else self.routes(formula, candidate))
            except DataError as error:
                out.append(error)
        return out

    def landscape(self, formula: str, usual: Mapping[tuple[str, ...], float] | None = None) -> Landscape:
        """Return all reactions to a formula with their numbers, at the conditions of the most usual precursors.

        Raises:
            DataError: like ``routes``.
        """
        (firing,) = self._firings([(formula, next(iter(usual)) if usual else ())])
        found = survey(formula, firing.temperature_C.value, firing.atmosphere)
        if not len(found.reactions) and not usual:
            held = ", ".join(sorted({p.phase.formula for p in found.precursors})) or "none"
            raise DataError(
                f"no set of available precursors makes {formula}; known powders of its elements: {held}. Choose a "
                "target whose elements all have one"
            )
        return found

    def _recommended(self, formula: str, top: int = _ASKED) -> dict[tuple[str, ...], float]:
        if self.recommender is None:
            return {}
        own = formulas.key(formula)
        try:
            named = self.recommender.recommend(formula, top + 2)
        except ModelError:
            return {}
        sets = {tuple(map(formulas.reduced, found.precursors)): float(found.score) for found in named}
        kept = [(names, odds) for names, odds in sets.items() if own not in _keys(names)]
        return dict(kept[:top])

    def _firings(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> list[Firing]:
        out = []
        for found in self.conditions.predict_all([f for f, _ in pairs], [names for _, names in pairs]) if pairs else ():
            T = found.temperature_C
            if self.temperature_C is not None:
                T = Interval(value=self.temperature_C, low=self.temperature_C, high=self.temperature_C)
            out.append(Firing(T, found.hours, self.atmosphere or found.atmosphere or "air"))
        return out

    def _routes(self, formula: str, chosen: Mapping[tuple[str, ...], float], candidate: str) -> list[Route]:
        return self._built(formula, chosen, self._firings([(formula, names) for names in chosen]), candidate)

    def _built(
        self, formula: str, chosen: Mapping[tuple[str, ...], float], firings: Sequence[Firing], candidate: str
    ) -> list[Route]:
        """Return a route for each set of precursors, with its score, conditions and masses."""
        target, atoms = formulas.reduced(formula), formulas.atoms(formula)
        units = self.sample_mass_g / _mass_g_per_mol(atoms)
        out = []
        for (names, score), firing in zip(chosen.items(), firings, strict=True):
            amounts = balance(formula, names)
            masses = {name: units * x * _mass_g_per_mol(formulas.atoms(name)) for name, x in amounts.items()}
            parameters = {
                "precursors_g": masses,
                "sample_mass_g": self.sample_mass_g,
                "temperature_C": firing.temperature_C.value,
                "hours": firing.hours.value,
                "atmosphere": firing.atmosphere,
            }
            quantities = ("sample_mass_g", "mass_loss_pct")
            out.append(
                Route(
                    candidate=candidate or formula,
                    precursors_g=masses,
                    operations=(Operation(capability="sinter", parameters=parameters, quantities=quantities),),
                    reason=f"the literature makes such compounds from {' + '.join(names)} ({score:.0%} of the odds)",
                    score=score,
                    target=target,
                    precursors=tuple(sorted(names)),
                    temperature_C=firing.temperature_C,
                    hours=firing.hours,
                    atmosphere=firing.atmosphere,
                )
            )
        return out


def with_recipe(route: Route, sample_mass_g: float) -> Route:
    """Return a route with the operations of a recipe, or as it is where no recipe can be written, with the reason."""
    try:
        return write_recipe(route, sample_mass_g=sample_mass_g)
    except ModelError as error:
        return route.model_copy(update={"reason": f"{route.reason}; no recipe: {error}"})


def balance(formula: str, names: Sequence[str]) -> dict[str, float]:
    """Return how many units of each precursor make one of a target; empty where none do, or many ways would."""
    try:
        found = enumerate_reactions(formulas.atoms(formula), [formulas.atoms(name) for name in names])
    except ModelError:
        return {}
    whole = [row for row in range(len(found)) if (found.sets[row] >= 0).sum() == len(names)]
    if not whole:
        return {}
    row = whole[0]
    return {str(names[i]): float(x) for i, x in zip(found.sets[row], found.coefficients[row], strict=True) if i >= 0}


def _keys(names: Sequence[str]) -> frozenset[formulas.Key]:
    return frozenset(map(formulas.key, names))


def _mass_g_per_mol(atoms: Mapping[str, float]) -> float:
    return float(
        sum(n * m for n, m in zip(atoms.values(), elements.values("mass_g_per_mol", list(atoms)), strict=True))
    )
