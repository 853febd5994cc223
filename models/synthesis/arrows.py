"""The planner that learns from the furnace: other precursors where it is trapped, more heat where it is slow."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.candidate import Candidate
from models.errors import SpaceError
from models.registry import resolve
from models.route import Interval, Route
from models.synthesis.pair_knowledge import (
    MATTERS,
    Beliefs,
    PairReaction,
    Result,
    Way,
    metals_of,
    pair_reactions,
    result_of,
)
from models.synthesis.recipe import balance, write_recipe
from models.synthesis.trial import Trial

TRAPPED_EV = 0.05
"""Less driving force than this, in eV a metal atom, and a mixture is trapped rather than slow."""
SPENT = 2
"""Attempts without a look at the product (a fault, a refusal) after which a way is not tried again."""


@dataclass(frozen=True)
class Option:
    """A way to the target, how promising it is, and why."""

    route: Route
    way: Way
    value: float
    why: str


class ArrowsPlanner:
    """Plans with another planner's routes, and learns which of them lead somewhere.

    An option is a set of precursors (all together, or for three of them two fired first) and a temperature. The first
    attempt is the other planner's best. Then, as in ARROWS3: what was found besides the target says which pairs of
    precursors react to what; where the phases that formed have little driving force left towards the target, the
    mixture is trapped, and every set that holds the pair is expected to fall into the same trap, whatever its target.
    Where much is left, or precursors have not reacted, it is slow, and is fired hotter.

    Args:
        routes: the other planner, ``name`` and its settings; by default ``reactions`` with a dozen routes.
        goal: weight fraction of the target that is wanted.
        step_C: how much hotter a slow mixture is fired.
        max_temperature_C: never hotter than this.
        top: options that are handed on, best first.
        learns: False keeps the order that the routes came in: routes one after the other, each at rising temperatures.
        recipe: settings of ``write_recipe``.
    """

    citation = (
        "Szymanski et al., Nat. Commun. 14, 6956 (2023), doi:10.1038/s41467-023-42329-9; "
        "Szymanski et al., Nature 624, 86 (2023), doi:10.1038/s41586-023-06734-w"
    )

    def __init__(
        self,
        *,
        routes: Mapping[str, Any] | None = None,
        goal: float = 0.9,
        step_C: float = 100.0,
        max_temperature_C: float = 1500.0,
        top: int = 8,
        learns: bool = True,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(routes or {"name": "reactions", "top": 12, "literature": False})
        self.planner = resolve("planners", str(given.pop("name", "reactions")))(**given)
        self.goal, self.step_C, self.max_temperature_C = goal, step_C, max_temperature_C
        self.top, self.learns, self.recipe = top, learns, dict(recipe or {})
        self.beliefs = Beliefs()
        self._results: list[Result] = []
        self._blind: list[tuple[str, Way]] = []
        self._routes: dict[str, list[Route]] = {}

    def learn(self, trials: Sequence[Trial]) -> None:
        """Take in everything that is known; what was told before is forgotten."""
        read = [(trial, result_of(trial)) for trial in trials]
        self._results = [result for _, result in read if result is not None]
        self._blind = [
            (trial.candidate.formula, way) for trial, result in read if result is None and (way := _way(trial))
        ]

    def plan(self, candidate: Candidate) -> list[Route]:
        """Return the most promising untried options, best first, each with its recipe.

        What a person must approve comes after what needs nobody.

        Raises:
            DataError: the public data that the routes are planned with are missing; says how to get them.
        """
        found: list[Route] = []
        for option in self.options(candidate)[:64]:
            if len(found) >= self.top:
                break
            route = option.route.model_copy(
                update={
                    "candidate": candidate.id,
                    "score": option.value,
                    "reason": f"{option.why} {option.route.reason}".strip(),
                }
            )
            try:
                found.append(write_recipe(route, first=option.way.first, **self.recipe))
            except SpaceError:
                continue  # no crucible bears it, or the powders do not add up
        return sorted(found, key=lambda route: any(hazard.verdict == "ask" for hazard in route.hazards))

    def options(self, candidate: Candidate) -> list[Option]:
        """Return all ways that were not tried, the most promising first."""
        routes = self._routes_to(candidate)
        mine = [result for result in self._results if result.target == (routes[0].target if routes else "")]
        tried = {result.way for result in mine}
        spent = [way for formula, way in self._blind if formula == candidate.formula]
        tried |= {way for way in spent if spent.count(way) >= SPENT}
        learnt = pair_reactions(self._results)
        traps = [r for r in learnt if any(self._is_trap(result, r) for result in self._results)]
        best = max((route.score for route in routes), default=1.0) or 1.0
        options: list[Option] = []
        for place, route in enumerate(routes):
            for first in self._stages(route):
                options += self._ways(route, first, route.score / best, place, mine, traps)
        fresh = [option for option in options if option.way not in tried and option.value > 0]
        return sorted(fresh, key=lambda o: (-o.value, o.way.precursors, o.way.first, o.way.temperature_C))

    def everything(self, candidate: Candidate) -> list[Option]:
        """Return every way there is, also those in stages, in the order of the routes and at rising temperatures."""
        found = []
        for place, route in enumerate(self._routes_to(candidate)):
            start = self._start_C(route)
            for first in self._stages(route):
                found += [
                    self._option(route, Way(tuple(sorted(route.precursors)), first, T), 1.0 / (1 + place), "")
                    for T in self._heats(route, start)
                ]
        return found

    def _heats(self, route: Route, start: float) -> list[float]:
        """Temperatures of a route: a step below what its planner says, and up to its highest."""
        steps = (start + k * self.step_C for k in range(-1, 6))
        return [T for T in steps if 300 <= T <= self._ceiling_C(route, start)]

    def _routes_to(self, candidate: Candidate) -> list[Route]:
        if candidate.formula not in self._routes:
            routes = [route for route in self.planner.plan(candidate) if route.target and route.precursors]
            if not routes:
                from models.thermo.entries import thermo_folder

                thermo_folder()  # says what is missing, where it is the data
            self._routes[candidate.formula] = routes
        return self._routes[candidate.formula]

    def _stages(self, route: Route) -> list[tuple[str, ...]]:
        """All together, and where three powders bring different metals, each pair of them first."""
        names = tuple(sorted(route.precursors))
        if len(names) != 3 or not self.learns:
            return [()]
        try:
            moles = balance(route.target, names)
        except SpaceError:
            return [()]
        pairs = [pair for pair in itertools.combinations(names, 2) if set(pair) <= set(moles)]
        return [(), *(pair for pair in pairs if self._combine(pair, route))]

    def _combine(self, pair: tuple[str, ...], route: Route) -> bool:
        """True where two powders form something by themselves, as far as is known."""
        temperature_C = route.temperature_C.value if route.temperature_C else 900.0
        gain = self.beliefs.combined_eV(pair[0], pair[1], temperature_C, route.atmosphere or "air")
        return gain is not None and gain > TRAPPED_EV / 2

    def _ways(
        self,
        route: Route,
        first: tuple[str, ...],
        prior: float,
        place: int,
        mine: Sequence[Result],
        traps: Sequence[PairReaction],
    ) -> list[Option]:
        """Every temperature of one mixture that is worth a thought, with its promise."""
        precursors = tuple(sorted(route.precursors))
        start = self._start_C(route)
        heats = self._heats(route, start)
        if not self.learns:
            order = [T for T in heats if start <= T]
            return [
                self._option(route, Way(precursors, first, T), 1.0 / (2 + place + 0.01 * k), "")
                for k, T in enumerate(order)
            ]
        seen = sorted((r for r in mine if r.way.mixture == (precursors, first)), key=lambda r: r.way.temperature_C)
        if seen:
            return self._further(route, Way(precursors, first, 0.0), seen, heats)
        trap, words = self._trap(precursors, first, traps)
        value = 0.75 * (prior if not first else 0.3 * prior)
        if first and any(not r.way.first and r.way.precursors == precursors and r.purity < 0.5 for r in mine):
            _, before = self._trap(precursors, (), traps)
            value, words = (
                0.6 * prior,
                f"All together they were trapped ({before.rstrip('.')}): {' + '.join(first)} first.",
            )
        slow = [r.way.temperature_C for r in mine if r.unreacted > 0.3 and _shares_slow(r, precursors)]
        at = (
            min([T for T in heats if max([start, *(T + 1 for T in slow)]) <= T] or [heats[-1]], key=abs) if heats else 0
        )
        if not heats:
            return []
        if slow and at > start:
            words += f" Hotter than the rule says: at {max(slow):.0f} C its powders had not reacted."
        return [self._option(route, Way(precursors, first, at), value * trap, words.strip())]

    def _further(self, route: Route, way: Way, seen: Sequence[Result], heats: Sequence[float]) -> list[Option]:
        """What to do with a mixture that was fired already: hotter, between two temperatures, or nothing."""
        last, best = seen[-1], max(seen, key=lambda r: r.purity)
        hotter = [T for T in heats if last.way.temperature_C < T]
        if best is not last and best.purity - last.purity > 0.02:
            between = 10 * round((best.way.temperature_C + last.way.temperature_C) / 20)
            if abs(between - best.way.temperature_C) < 30:
                return []
            why = f"{best.purity:.0%} at {best.way.temperature_C:.0f} C, less when hotter: between."
            return [self._option(route, Way(way.precursors, way.first, float(between)), 0.2 + 0.6 * best.purity, why)]
        left = self.beliefs.left_eV(last, route.atmosphere or "air")
        stuck = len(seen) > 1 and last.purity - seen[-2].purity < 0.05
        trapped = last.unreacted < 0.3 and left is not None and left < TRAPPED_EV
        if not hotter or (stuck and last.purity < 0.6) or (trapped and last.purity < 0.6):
            return []
        words = f"{last.purity:.0%} at {last.way.temperature_C:.0f} C"
        words += f", {last.unreacted:.0%} not reacted" if last.unreacted >= MATTERS else ""
        words += f", {1000 * left:.0f} meV a metal atom left" if left is not None else ""
        value = 0.35 + 0.55 * last.purity + (0.1 if len(seen) > 1 else 0.0)
        return [self._option(route, Way(way.precursors, way.first, hotter[0]), value, f"{words}: hotter.")]

    def _trap(
        self, precursors: Sequence[str], first: Sequence[str], traps: Sequence[PairReaction]
    ) -> tuple[float, str]:
        """(factor on the promise, why): the pair that was trapped before, or one that brings the same metals."""
        factor, words = 1.0, ""
        together = set(first) if first else set(precursors)
        kinds = {metals_of(name) for name in together}
        for trap in traps:
            said = f"{' + '.join(sorted(trap.pair))} gave {trap.product}, and there it stayed."
            if trap.pair <= together:
                factor, words = min(factor, 0.1), said
            elif {metals_of(name) for name in trap.pair} <= kinds and factor > 0.4:
                factor, words = 0.4, said
        return factor, words

    def _is_trap(self, result: Result, reaction: PairReaction) -> bool:
        """True where a failed synthesis had used up its powders and kept what the pair had made."""
        if result.purity >= 0.6 or result.phases.get(reaction.product, 0.0) < 0.2 or len(result.way.precursors) < 3:
            return False
        if not reaction.pair <= set(result.way.first or result.way.precursors):
            return False
        left = self.beliefs.left_eV(result)
        return left is None or left < 3 * TRAPPED_EV

    def _start_C(self, route: Route) -> float:
        given = route.temperature_C.value if route.temperature_C else 900.0
        return float(min(self.max_temperature_C, 50 * round(given / 50)))

    def _ceiling_C(self, route: Route, start: float) -> float:
        high = route.temperature_C.high if route.temperature_C else start + 300
        return min(self.max_temperature_C, max(high, start))

    def _option(self, route: Route, way: Way, value: float, why: str) -> Option:
        low, high = way.temperature_C - self.step_C / 2, way.temperature_C + self.step_C / 2
        interval = Interval(value=way.temperature_C, low=low, high=high)
        return Option(route.model_copy(update={"temperature_C": interval}), way, value, why)


def _shares_slow(result: Result, precursors: Sequence[str]) -> bool:
    """True where a powder that had not reacted, or one of the same metal, is among the precursors."""
    slow = {metals_of(name) for name, x in result.phases.items() if x >= 0.1}
    return any(metals_of(name) in slow for name in precursors)


def _way(trial: Trial) -> Way | None:
    fired = [op.parameters for op in trial.operations if op.capability == "fire"]
    if not fired or not trial.precursors_g:
        return None
    mixed = [op.parameters for op in trial.operations if op.capability == "weigh_mix"]
    staged = any(op.parameters.get("add_g") for op in trial.operations)
    first = tuple(sorted(mixed[0].get("precursors_g", {}))) if staged and mixed else ()
    return Way(tuple(sorted(trial.precursors_g)), first, max(float(p["temperature_C"]) for p in fired))
