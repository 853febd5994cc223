"""Time in ``decide`` and ``evolve`` for each finished step: ``python -m benchmarks.deciding``.

128 instruments, 256 experiments in flight, on the wall clock, one report a turn (the worst case: nothing is shared).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time

import yaml

from actors.orders import Offer, Recipe, Step
from controller import events as ev
from controller.state import State, decide, evolve
from models.candidate import Candidate
from models.observation import Choice

CAPABILITIES = 4


def begin(instruments: int, experiments: int) -> State:
    names = [f"i{k:03d}" for k in range(instruments)]
    campaign = {
        "name": "deciding",
        "budget": {"experiments": 1_000_000},
        "space": {"kind": "parameters", "parameters": {"x": {"low": 0, "high": 1}}},
        "objectives": [{"name": "y"}],
        "batch": 1,
        "lab": {
            "clock": "wall",
            "queue": experiments - instruments,
            "scheduler": "plain",
            "instruments": {name: {"driver": "none"} for name in names},
        },
    }
    state, text = State(), yaml.safe_dump(campaign)
    state = evolve(
        state, ev.CampaignStarted(run_id="r", text=text, base_dir="/", seed=0, budget=1_000_000, version="0")
    )
    for k, name in enumerate(names):
        offer = Offer(capability=f"c{k % CAPABILITIES}", quantities={"y": (0.0, 1.0)})
        state = evolve(state, ev.InstrumentAnnounced(instrument=name, driver="none", offers=(offer,)))
    return state


class Bench:
    """Feeds the state; counts only the time in ``decide`` and ``evolve``."""

    def __init__(self, instruments: int, experiments: int) -> None:
        self.state, self.spent_s, self.events, self.chosen = begin(instruments, experiments), 0.0, 0, 0
        self.each_s: list[float] = []

    def tell(self, *events: ev.Event) -> None:
        begun = time.perf_counter()
        for event in events:
            self.state = evolve(self.state, event)
        self.spent_s += time.perf_counter() - begun

    def settle(self) -> None:
        while True:
            begun = time.perf_counter()
            plan = decide(self.state)
            for event in plan.events:
                self.state = evolve(self.state, event)
            self.spent_s += time.perf_counter() - begun
            self.events += len(plan.events)
            if plan.events:
                continue
            if self.state.choosing is not None:
                self.chosen += 1
                candidate = Candidate(id=f"x{self.chosen}", parameters={"x": 0.5})
                choice = Choice(candidate=candidate, value=0.0, method="given", data_hash="")
                self.tell(ev.ChoiceMade(decision=self.state.choosing.decision, choices=(choice,)))
            elif self.state.filing.unplanned:
                for name in list(self.state.filing.unplanned):
                    k = self.state.experiments[name].number
                    steps = [
                        Step(capability=f"c{(k + j) % CAPABILITIES}", parameters={"x": 0.5}, quantities=("y",))
                        for j in range(3)
                    ]
                    self.tell(ev.RecipePlanned(experiment=name, recipe=Recipe(steps=tuple(steps))))
            else:
                return

    def finish_steps(self, steps: int) -> None:
        for n in range(steps):
            self.spent_s = 0.0
            command_id = next(iter(self.state.filing.under_way))
            self.tell(
                ev.ClockRead(now_s=float(n)),
                ev.CommandReported(command_id=command_id, status="ok", readings={"y": 0.5}),
            )
            self.settle()
            self.each_s.append(self.spent_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=128)
    parser.add_argument("--experiments", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    bench = Bench(given.instruments, given.experiments)
    bench.settle()
    bench.finish_steps(200)
    bench.each_s, bench.events = [], 0
    profiler = cProfile.Profile() if given.profile else None
    if profiler:
        profiler.enable()
    bench.finish_steps(given.steps)
    if profiler:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(18)
    p50, p90 = (1e6 * statistics.quantiles(bench.each_s, n=10)[k] for k in (4, 8))
    print(
        f"{given.instruments} instruments, {len(bench.state.active)} experiments in flight, {given.steps} steps: "
        f"p50 {p50:.0f} us, p90 {p90:.0f} us a step, {bench.events / given.steps:.1f} decisions a step"
    )


if __name__ == "__main__":
    main()
