"""Commands about synthesis: ``athanor plan``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller.cli_values import positive
from controller.errors import CampaignError


def add_synthesis_commands(commands: Any, add: Callable[..., Any]) -> None:
    """Add them to the parser; ``add(commands, name, function, text, example)`` is the command line's own."""
    plan = add(
        commands, "plan", _plan, "how a compound can be made: routes, numbers, recipe", "athanor plan BaTiO3 --why"
    )
    plan.add_argument("formula", nargs="?", metavar="FORMULA", help="what is to be made, YBa2Cu3O7")
    plan.add_argument("--batch", type=Path, metavar="FILE", help="a formula a line instead; an object a line (--json)")
    plan.add_argument("--top", type=positive, default=5, metavar="N", help="routes to print (default: %(default)s)")
    plan.add_argument("--json", action="store_true", help="one object for programs")


def _plan(arguments: Any) -> int:
    if (arguments.formula is None) == (arguments.batch is None):
        raise CampaignError("give one FORMULA, or --batch FILE with a formula a line")
    from models.errors import ModelError
    from models.synthesis.reaction_planner import ReactionPlanner

    planner = ReactionPlanner(top=arguments.top)
    if arguments.batch is not None:
        return _batch(planner, arguments)
    try:
        routes = planner.routes(arguments.formula)
    except ModelError as error:
        raise CampaignError(str(error)) from error
    if arguments.json:
        print(json.dumps({"target": arguments.formula, "routes": [route.model_dump(mode="json") for route in routes]}))
        return 0
    for n, route in enumerate(routes, 1):
        print(f"{n}. {' + '.join(route.precursors)}   score {route.score:.3f}")
        print(f"   {route.reason}")
    return 0


def _batch(planner: Any, arguments: Any) -> int:
    from models.errors import ModelError

    try:
        lines = arguments.batch.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CampaignError(f"cannot read {arguments.batch}: {error}") from error
    for line in filter(None, map(str.strip, lines)):
        try:
            routes = planner.routes(line)
        except ModelError as error:
            print(json.dumps({"target": line, "error": str(error)}), flush=True)
            continue
        print(json.dumps({"target": line, "routes": [route.model_dump(mode="json") for route in routes]}), flush=True)
    return 0
