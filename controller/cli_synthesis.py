"""Commands about synthesis: ``athanor plan``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller.cli_values import positive
from controller.errors import CampaignError

_BLOCK = 32
"""Targets of a batch that are planned together."""


def add_synthesis_commands(commands: Any, add: Callable[..., Any]) -> None:
    """Add them to the parser; ``add(commands, name, function, text, example)`` is the command line's own."""
    plan = add(
        commands, "plan", _plan, "how a compound can be made: routes, numbers, recipe", "athanor plan BaTiO3 --why"
    )
    plan.add_argument("formula", nargs="?", metavar="FORMULA", help="what is to be made: YBa2Cu3O7")
    plan.add_argument("--batch", type=Path, metavar="FILE", help="a formula a line; an object a line comes out")
    plan.add_argument("--from-text", type=Path, metavar="FILE", help="the routes that a paper's text describes")
    plan.add_argument("--top", type=positive, default=5, metavar="N", help="routes (default: %(default)s)")
    plan.add_argument("--lab", type=Path, metavar="LAB", help="compile the recipe for this lab (its folder)")
    plan.add_argument("--grams", type=_grams, default=5.0, metavar="G", help="of product (default: %(default)g)")
    plan.add_argument("--temperature", type=float, metavar="C", help="of the firing, instead of the estimate")
    plan.add_argument(
        "--atmosphere", default="", metavar="GAS", help="air, O2, N2, Ar, H2/N2, vacuum; default: by the target"
    )
    plan.add_argument("--why", action="store_true", help="what competes, and a reaction diagram")
    plan.add_argument("--diagram", type=Path, metavar="FILE", help="of --why (default: FORMULA-routes.png)")
    plan.add_argument("--no-literature", action="store_true", help="thermodynamics and popularity of powders only")
    plan.add_argument("--json", action="store_true", help="objects for programs")


def _grams(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError("must be a mass in grams above 0")
    return value


def _plan(arguments: Any) -> int:
    given = [x for x in (arguments.formula, arguments.batch, arguments.from_text) if x is not None]
    if len(given) != 1:
        raise CampaignError("give one FORMULA, or --batch FILE with a formula a line, or --from-text FILE")
    from models.errors import ModelError

    try:
        if arguments.from_text is not None:
            return _from_text(arguments)
        planner = _planner(arguments)
        return _batch(planner, arguments) if arguments.batch is not None else _one(planner, arguments)
    except ModelError as error:
        raise CampaignError(str(error)) from error


def _planner(arguments: Any) -> Any:
    from models.synthesis.reaction_planner import ReactionPlanner
    from models.thermo.gibbs import ATMOSPHERES_bar

    if arguments.atmosphere and arguments.atmosphere not in ATMOSPHERES_bar:
        raise CampaignError(f"no atmosphere {arguments.atmosphere!r}; known: {', '.join(ATMOSPHERES_bar)}")
    return ReactionPlanner(
        top=arguments.top,
        atmosphere=arguments.atmosphere,
        temperature_C=arguments.temperature,
        sample_mass_g=arguments.grams,
        literature=not arguments.no_literature,
    )


def _one(planner: Any, arguments: Any) -> int:
    from controller.plan_lab import compile_for
    from controller.plan_plots import write_diagram
    from controller.plan_words import recipe_lines, rival_lines, route_lines, target_lines
    from models.synthesis.reaction_planner import with_recipe

    plan = planner.survey(arguments.formula)
    diagram = None
    rows = [row for row in plan.rows if row is not None]
    found = plan.landscape
    if arguments.why and found is not None and rows:
        name = "".join(c if c.isalnum() or c in ".-" else "_" for c in arguments.formula)
        diagram = write_diagram(found, rows, arguments.diagram or Path(f"{name}-routes.png"))
    routes = [with_recipe(route, arguments.grams) for route in plan.routes]
    compiled = compile_for(arguments.lab, routes) if arguments.lab is not None else None
    refused = "" if compiled is None or compiled.steps else f"{arguments.lab} cannot make it: {compiled.reason}"
    if arguments.json:
        said: dict[str, Any] = {"target": arguments.formula, "routes": [r.model_dump(mode="json") for r in routes]}
        if diagram is not None:
            said["diagram"] = str(diagram)
        if compiled is not None:
            said["recipe"] = {"refused": refused} if refused else compiled.model_dump(mode="json")
        print(json.dumps(said))
        return 2 if refused else 0
    if found is not None:
        print("\n".join(target_lines(arguments.formula, found)))
    for n, route in enumerate(plan.routes, 1):
        print("", *route_lines(n, route), sep="\n")
    shown, title = routes[0], "recipe of route 1"
    if compiled is not None and not refused:
        shown, title = compiled, f"recipe for {arguments.lab}"
    print(f"\n{title}", *(f"   {line}" for line in recipe_lines(shown)), sep="\n")
    if more := routes[0].reason.removeprefix(plan.routes[0].reason).strip(" ."):
        print(f"   {more}.")
    if arguments.why and found is not None:
        print("\nwhat competes", *(f"   {line}" for line in rival_lines(found, rows)), sep="\n")
    if diagram is not None:
        print(f"\n{diagram}")
    if refused:
        print(f"athanor: {refused}", file=sys.stderr)
    return 2 if refused else 0


def _batch(planner: Any, arguments: Any) -> int:
    from models.errors import ModelError

    try:
        lines = arguments.batch.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"cannot read {arguments.batch}: {error}") from error
    targets = list(filter(None, map(str.strip, lines)))
    for start in range(0, len(targets), _BLOCK):
        block = targets[start : start + _BLOCK]
        for target, found in zip(block, planner.quick_batch(block), strict=True):
            said: dict[str, Any] = {"target": target}
            if isinstance(found, ModelError):
                said["error"] = str(found)
            else:
                said["routes"] = [route.model_dump(mode="json") for route in found]
            print(json.dumps(said), flush=True)
    return 0


def _from_text(arguments: Any) -> int:
    from controller.plan_words import recipe_lines, route_lines
    from models.knowledge.recipes import extract_routes

    try:
        text = arguments.from_text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"cannot read {arguments.from_text}: {error}") from error
    routes = extract_routes(text)
    if not routes:
        print(f"athanor: no synthesis was found in {arguments.from_text}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"routes": [route.model_dump(mode="json") for route in routes]}))
        return 0
    for n, route in enumerate(routes, 1):
        print(*route_lines(n, route), *(f"   {line}" for line in recipe_lines(route)), "", sep="\n")
    return 0
