"""What ``athanor plan`` prints: the target, its routes with their numbers, the recipe of the best, what competes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from actors.orders import Recipe
from models.route import Route
from models.synthesis.landscape import Landscape
from models.synthesis.precursor_list import spelled

_RIVALS = 8
_NUMBERS = (
    ("driven_above_C", "driven above {:.0f} C"),
    ("competing_phases_expected", "{:.1f} competing phases expected"),
    ("literature_probability", "{:.0%} of the odds of the literature"),
)
"""What a route's reason does not say already."""
_VERDICTS = {"refuse": "not to be made", "ask": "only with a person's approval", "note": "mind"}


def target_lines(formula: str, found: Landscape) -> Iterator[str]:
    """Say whether a target can be made: hull, decomposition, how sure that is."""
    s = found.stability
    into = " + ".join(f"{share:.0%} {spelled(name)}" for name, share in s.decomposition.items())
    if math.isnan(s.e_above_hull_eV_per_atom):
        yield f"{formula}: no table has its energy; taken to lie on the hull, between {into} (shares of the atoms)"
        return
    height = s.decomposition_energy_eV_per_atom
    where = (
        f"{1000 * height:.0f} meV an atom above"
        if height > 0
        else f"on the hull, {-1000 * height:.0f} meV an atom below"
    )
    chance = ", ".join(f"{p:.0%} within {x} meV" for x, p in s.probability.items() if x)
    yield f"{formula}: {where} {into or 'its elements'} at 0 K; {chance} of the hull"


def route_lines(n: int, route: Route) -> Iterator[str]:
    """Say a route with its numbers."""
    yield f"{n}. {' + '.join(map(spelled, route.precursors))}   score {route.score:.3f}"
    yield f"   {route.reason}"
    if told := [form.format(route.numbers[name]) for name, form in _NUMBERS if name in route.numbers]:
        yield f"   {'; '.join(told)}"
    T, h = route.temperature_C, route.hours
    if T is not None:
        hours = "" if h is None else f", {h.value:.3g} h ({h.low:.2g} to {h.high:.2g})"
        gas = f", {route.atmosphere}" if route.atmosphere else ""
        yield f"   fire at {T.value:.0f} C ({T.low:.0f} to {T.high:.0f}){hours}{gas}"


def recipe_lines(route: Route | Recipe) -> Iterator[str]:
    """Say what to weigh and to do: of a route, or of the recipe that was compiled from it for a lab."""
    if route.precursors_g:  # a paper may name what is weighed without saying how much
        yield "weigh " + ", ".join(f"{grams:.4f} g {spelled(name)}" for name, grams in route.precursors_g.items())
    for operation in route.operations if isinstance(route, Route) else route.steps:
        told = ", ".join(
            f"{name} {_value(x)}" for name, x in operation.parameters.items() if not isinstance(x, dict | list | tuple)
        )
        yield f"{operation.capability}: {told}" if told else operation.capability
    for hazard in getattr(route, "hazards", ()):
        codes = f" ({' '.join(hazard.codes)})" if hazard.codes else ""
        yield f"{_VERDICTS.get(hazard.verdict, hazard.verdict)}: {hazard.material}: {hazard.words}{codes}"


def rival_lines(found: Landscape, rows: Sequence[int]) -> Iterator[str]:
    """Say which phases compete with each of some reactions, the strongest first."""
    for n, row in enumerate(rows, 1):
        energies = found.competition.energies_eV_per_atom[row]
        order = [int(i) for i in np.argsort(np.nan_to_num(energies, nan=np.inf)) if energies[i] < 0]
        own = found.energy_eV_per_atom[row]
        yield f"route {n}: the target {own:+.3f} eV an atom" + ("" if order else "; nothing competes")
        for i in order[:_RIVALS]:
            mark = "  stronger than the target" if energies[i] < own else ""
            yield f"   {spelled(found.competitors[i].formula):<16} {energies[i]:+.3f}{mark}"
        if len(order) > _RIVALS:
            yield f"   and {len(order) - _RIVALS} more"


def _value(x: Any) -> str:
    return f"{x:.4g}" if isinstance(x, float) else str(x)
