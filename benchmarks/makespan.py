"""Makespan of 40 samples on 6 instruments: first in first out, the plain rule, CP-SAT.

``python -m benchmarks.makespan [--seeds 5] [--samples 40]``. Pure ``decide`` and ``evolve`` in simulated time with
made-up durations: three firing programmes of 6 to 12 hours in two furnaces (6 and 4 crucibles), a mixer, a press, a
diffractometer, a magnetometer; what is mixed must be fired within hours. The scheduler plans with expected durations,
the lab takes up to 15 % more or less.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from itertools import count

import yaml

from actors.orders import Offer, Recipe, Step
from controller import events as ev
from controller.optimal import make_schedule
from controller.state import State, decide, evolve
from models.candidate import Candidate
from models.observation import Choice

PROGRAMMES = ((900, 8.0), (1100, 12.0), (1300, 6.0))
INSTRUMENTS = {
    "furnace-1": Offer(capability="fire", batch=6, programme=("temperature_C", "hours")),
    "furnace-2": Offer(capability="fire", batch=4, programme=("temperature_C", "hours")),
    "mixer": Offer(capability="mix"),
    "press": Offer(capability="press"),
    "diffractometer": Offer(capability="diffract"),
    "magnetometer": Offer(capability="magnetometry"),
}
RULES = ("first in first out", "plain", "CP-SAT")


def recipe(dice: random.Random) -> Recipe:
    """Mix, press (some), fire, diffract, magnetometry (some); what is mixed keeps 12 hours or longer."""
    temperature_C, hours = dice.choice(PROGRAMMES)
    hold_h = dice.choice([None, 12.0, 24.0])
    press = dice.random() < 0.5
    steps = [Step(capability="mix", parameters={"minutes": 30}, quantities=(), max_wait_h=hold_h)]
    if press:
        steps.append(Step(capability="press", parameters={"minutes": 15}, quantities=(), max_wait_h=hold_h))
    steps.append(Step(capability="fire", parameters={"temperature_C": temperature_C, "hours": hours}, quantities=()))
    steps.append(Step(capability="diffract", parameters={"minutes": dice.choice([20, 60])}, quantities=()))
    if dice.random() < 0.7:
        steps.append(Step(capability="magnetometry", parameters={"minutes": 45}, quantities=()))
    return Recipe(steps=tuple(steps))


def begin(rule: str, samples: int, seed: int) -> State:
    campaign = {
        "name": "makespan",
        "seed": seed,
        "budget": {"experiments": samples},
        "space": {"kind": "parameters", "parameters": {"x": {"low": 0, "high": 1}}},
        "objectives": [{"name": "y"}],
        "batch": samples,
        "lab": {
            "clock": "simulated",
            "queue": samples,
            "scheduler": "optimal" if rule == "CP-SAT" else "plain",
            "instruments": {name: {"driver": "none"} for name in INSTRUMENTS},
        },
    }
    text, state = yaml.safe_dump(campaign), State()
    state = evolve(
        state, ev.CampaignStarted(run_id="r", text=text, base_dir="/", seed=seed, budget=samples, version="0")
    )
    for name, offer in INSTRUMENTS.items():
        state = evolve(state, ev.InstrumentAnnounced(instrument=name, driver="none", offers=(offer,)))
    return state


def run(rule: str, samples: int, seed: int) -> tuple[float, int, float]:
    """One campaign. Returns (makespan in h, samples whose holding time ran out, seconds spent in the solver)."""
    dice, solver_s = random.Random(seed), 0.0
    recipes = [recipe(dice) for _ in range(samples)]
    if rule == "first in first out":  # knows nothing of holding times: whoever waits longest is next
        recipes = [r.model_copy(update={"steps": tuple(_forgetful(s) for s in r.steps)}) for r in recipes]
    stretch = {(n, k): dice.uniform(0.85, 1.15) for n in range(1, samples + 1) for k in range(9)}
    state = begin(rule, samples, seed)
    for _ in count():
        plan = decide(state)
        for event in plan.events:
            state = evolve(state, event)
        if plan.events:
            continue
        if state.finished:
            break
        if state.choosing is not None:
            chosen = [Candidate(id=f"c{k}", parameters={"x": 0.5}) for k in range(state.choosing.q)]
            choices = tuple(Choice(candidate=c, value=0.0, method="given", data_hash="") for c in chosen)
            state = evolve(state, ev.ChoiceMade(decision=1, choices=choices))
        for name in list(state.filing.unplanned):
            number = state.experiments[name].number
            state = evolve(state, ev.RecipePlanned(experiment=name, recipe=recipes[number - 1]))
        if state.scheduling is not None:
            begun = time.perf_counter()
            made = make_schedule(state.scheduling)
            solver_s += time.perf_counter() - begun
            state = evolve(state, made)
        for command_id in list(state.filing.under_way):
            order = state.commands[command_id].order
            first = state.commands[order.batch[0] if order.batch else command_id].order.experiment
            one = state.experiments[order.experiment]
            step = one.next_step
            assert step is not None
            hours = step.parameters.get("hours") or step.parameters["minutes"] / 60
            took_s = 3600 * hours * stretch[state.experiments[first].number, order.step]
            report = ev.CommandReported(command_id=command_id, status="ok", duration_s=took_s)
            state = evolve(state, report)
    broken = sum("expired" in one.reason for one in state.experiments.values())
    if rule == "first in first out":
        broken = sum(_waited_too_long(state, recipe_of) for recipe_of in zip(range(samples), _recipes(samples, seed)))
    return state.now_s / 3600, broken, solver_s


def _forgetful(step: Step) -> Step:
    return step.model_copy(update={"max_wait_h": None})


def _recipes(samples: int, seed: int) -> list[Recipe]:
    dice = random.Random(seed)
    return [recipe(dice) for _ in range(samples)]


def _waited_too_long(state: State, numbered: tuple[int, Recipe]) -> bool:
    number, wanted = numbered
    records = state.experiments[f"E{number + 1:04d}"].records
    return any(
        step.max_wait_h is not None and after.start_s - before.finish_s > 3600 * step.max_wait_h
        for step, before, after in zip(wanted.steps, records, records[1:])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=40)
    given = parser.parse_args()
    print(f"{given.samples} samples, {len(INSTRUMENTS)} instruments; makespan in hours (samples kept too long)\n")
    print("| seed | " + " | ".join(RULES) + " | solver s |\n|---|" + "---|" * (len(RULES) + 1))
    found: dict[str, list[float]] = {rule: [] for rule in RULES}
    for seed in range(given.seeds):
        row = {rule: run(rule, given.samples, seed) for rule in RULES}
        for rule in RULES:
            found[rule].append(row[rule][0])
        cells = [f"{row[rule][0]:.1f} ({row[rule][1]})" for rule in RULES]
        print(f"| {seed} | " + " | ".join(cells) + f" | {row['CP-SAT'][2]:.0f} |", flush=True)
    means = [f"**{statistics.mean(found[rule]):.1f}**" for rule in RULES]
    print("| mean | " + " | ".join(means) + " | |")


if __name__ == "__main__":
    main()
