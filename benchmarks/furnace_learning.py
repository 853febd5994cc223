"""How many experiments until an oxide is at least 90 % pure: the planner that learns, fixed rankings, random order.

    ATHANOR_DATA=... python -m benchmarks.furnace_learning [--targets N] [--most N] [--random N] [--json FILE]

All planners choose among the same routes of the reaction planner (public thermochemistry) and the same temperatures,
for the same furnace (``instruments/simulated/reactions.py``, whose thermodynamics is another). What comes of a way is
the same whoever tries it: its noise is seeded by the target and the way. Purities are the true weight fractions, as a
perfect diffractometer would tell them. A target that is not made within ``--most`` experiments counts as ``most`` + 1.

Orders: *learning* (``ArrowsPlanner``), told of its own earlier experiments on the same target alone, or, *learning
across*, on all targets before it; *fixed, hotter first*: the best route at rising temperatures, then the next; *fixed,
routes first*: every route at the planner's temperature, then a step hotter; *random*: any way, mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from instruments.simulated.oxides import load
from instruments.simulated.reactions import KELVIN, Firing, fire
from instruments.simulated.solid_state import ASSAY, g_per_mol
from models import elements
from models.candidate import Candidate
from models.errors import SpaceError
from models.route import Route
from models.synthesis.arrows import ArrowsPlanner, Option
from models.synthesis.hazards import key_of
from models.synthesis.pair_knowledge import Way
from models.synthesis.recipe import write_recipe
from models.synthesis.trial import Trial

TARGETS = (
    "BaTiO3 Ba3MgNb2O9 LaAlO3 LiMn2O4 Li2MgSiO4 NaNbO3 MgAl2O4 YMnO3 Ba2YNbO6 SrZrO3 LiNbO3 CaTiSiO5 ZnFe2O4 LiAlSiO4 "
    "CaSnO3 SrAl2O4 Li2CaSiO4 LaFeO3 MgTiO3 Sr2YTaO6 KNbO3 Li4SiO4 BaZrO3 YFeO3 La2MnNiO6 MgNb2O6 CaFe2O4 Li2CaGeO4 "
    "Ba2YTaO6 LiAlO2"
)
GOAL = 0.9
OXIDES = load()


class Bench:
    """The furnace: what comes of a way, kept, since several planners ask."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, Way], dict[str, float]] = {}
        self.experiments = 0

    def readings(self, target: str, way: Way, route: Route) -> dict[str, float]:
        """Weight fractions as an experiment would report them."""
        if (target, way) not in self._kept:
            self._kept[target, way] = _made(target, way, route)
        return self._kept[target, way]


def _made(target: str, way: Way, route: Route) -> dict[str, float]:
    rng = random.Random(f"{target}/{way}")
    moles: dict[str, float] = {}
    for op in route.operations:
        for name, grams in {**op.parameters.get("precursors_g", {}), **op.parameters.get("add_g", {})}.items():
            moles[name] = moles.get(name, 0.0) + grams * ASSAY / g_per_mol(OXIDES, name)
        if op.capability == "fire":
            told = op.parameters
            firing = Firing(told["temperature_C"] + KELVIN, told["hours"], told["ramp_K_per_min"], told["atmosphere"])
            moles = fire(OXIDES, moles, firing, speed=math.exp(rng.gauss(0, 0.15)))
    grams = {name: n * g_per_mol(OXIDES, name) for name, n in moles.items()}
    whole = sum(grams.values())
    readings = {f"weight_fraction_{name}": g / whole for name, g in grams.items() if g > 0.005 * whole}
    pure = sum(g for name, g in grams.items() if key_of(name) == key_of(target))
    return {**readings, "phase_fraction": pure / whole}


Next = Callable[[Candidate, list[Trial]], Route | None]


def learning(planner: ArrowsPlanner, before: list[Trial]) -> Next:
    """Plan with what the trials say; ``before`` are those on other targets."""

    def choose(candidate: Candidate, trials: list[Trial]) -> Route | None:
        planner.learn([*before, *trials])
        return next(iter(planner.plan(candidate)), None)

    return choose


def in_order(options: Sequence[Option]) -> Next:
    """One way after another, whatever comes of it."""
    left = list(options)

    def choose(candidate: Candidate, trials: list[Trial]) -> Route | None:
        while left:
            option = left.pop(0)
            try:
                route = write_recipe(option.route, first=option.way.first)
            except SpaceError:
                continue
            return route
        return None

    return choose


def until_pure(bench: Bench, target: str, choose: Next, most: int) -> tuple[int, float, list[Trial]]:
    """Return experiments until the target is pure (``most`` + 1: never), the best purity, and all trials."""
    candidate = Candidate(id=target, composition=elements.parse_formula(target))
    trials: list[Trial] = []
    best = 0.0
    for number in range(1, most + 1):
        route = choose(candidate, trials)
        if route is None:
            break
        readings = bench.readings(route.target, _way_of(route), route)
        best = max(best, readings["phase_fraction"])
        trials.append(
            Trial(
                experiment=f"{target}-{number}",
                candidate=candidate,
                precursors_g=route.precursors_g,
                operations=route.operations,
                readings=readings,
                outcome="measured" if readings["phase_fraction"] >= GOAL else "failed_synthesis",
            )
        )
        if readings["phase_fraction"] >= GOAL:
            return number, best, trials
    return most + 1, best, trials


def _way_of(route: Route) -> Way:
    staged = any("add_g" in op.parameters for op in route.operations)
    first = tuple(sorted(route.operations[0].parameters["precursors_g"])) if staged else ()
    hottest = max(op.parameters["temperature_C"] for op in route.operations if op.capability == "fire")
    return Way(tuple(sorted(route.precursors_g)), first, hottest)


def run(targets: Sequence[str], most: int, seeds: int, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """Return {"targets": ..., order: experiments a target}, with means and paired differences under "summary"."""
    bench, planner = Bench(), ArrowsPlanner(top=1)
    counts: dict[str, list[float]] = {name: [] for name in ("learning", "across", "hotter", "routes", "random")}
    history: list[Trial] = []
    made: list[str] = []
    for target in targets:
        begin = time.process_time()
        candidate = Candidate(id=target, composition=elements.parse_formula(target))
        planner.learn([])
        ways = planner.everything(candidate)
        if not ways:
            tell(f"{target}: no route")
            continue
        made.append(target)
        start = {option.route.precursors: planner._start_C(planner.planner.plan(candidate)[0]) for option in ways}
        upward = [o for o in ways if o.way.temperature_C >= start[o.route.precursors]]
        hotter = sorted(upward, key=lambda o: bool(o.way.first))  # stable: in stages when all else is tried
        routes = sorted(upward, key=lambda o: (bool(o.way.first), o.way.temperature_C))
        counts["learning"].append(until_pure(bench, target, learning(planner, []), most)[0])
        n, best, trials = until_pure(bench, target, learning(planner, history), most)
        counts["across"].append(n)
        history += trials
        counts["hotter"].append(until_pure(bench, target, in_order(hotter), most)[0])
        counts["routes"].append(until_pure(bench, target, in_order(routes), most)[0])
        drawn = []
        for seed in range(seeds):
            shuffled = random.Random(f"{target}/{seed}").sample(ways, len(ways))
            drawn.append(until_pure(bench, target, in_order(shuffled), most)[0])
        counts["random"].append(sum(drawn) / len(drawn))
        shown = ", ".join(f"{name} {counts[name][-1]:.3g}" for name in counts)
        tell(f"{target}: {shown}; best {best:.2f}; {len(ways)} ways, {time.process_time() - begin:.0f} CPU s")
    return {"targets": made, **counts, "summary": summary(counts, most)}


def summary(counts: dict[str, list[float]], most: int) -> dict[str, Any]:
    """Means, how many were made, and the paired difference to the planner that learns with a bootstrap interval."""
    rng = np.random.default_rng(0)
    base = np.array(counts["learning"])
    found: dict[str, Any] = {}
    for name, values in counts.items():
        given = np.array(values, dtype=float)
        rows = rng.integers(0, len(given), (10000, len(given)))
        low, high = np.percentile((given - base)[rows].mean(axis=1), [2.5, 97.5])
        found[name] = {
            "mean": float(given.mean()),
            "made": float((given <= most).mean()),
            "first": float((given == 1).mean()),
            "more_than_learning": [float((given - base).mean()), float(low), float(high)],
        }
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", type=int, default=30)
    parser.add_argument("--most", type=int, default=10)
    parser.add_argument("--random", type=int, default=3, help="seeds of the random order")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    result = run(TARGETS.split()[: given.targets], given.most, given.random, lambda line: print(line, flush=True))
    names = {
        "learning": "learning",
        "across": "learning across targets",
        "hotter": "fixed, hotter first",
        "routes": "fixed, routes first",
        "random": "random order",
    }
    print(f"\n{len(result['targets'])} targets, at most {given.most} experiments each")
    print("order                    mean  made  at the first  more than learning (95 %)")
    for name, words in names.items():
        row = result["summary"][name]
        more, low, high = row["more_than_learning"]
        interval = f"{more:+.2f} ({low:+.2f} .. {high:+.2f})"
        print(f"{words:24s} {row['mean']:5.2f} {row['made']:5.0%} {row['first']:8.0%}       {interval}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
