"""Hands and science in this process, for tests of the loop: deterministic, scriptable, without sockets or models."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.orders import ChoiceAnswer, ChoiceOrder, Offer, Recipe, Step
from controller import events as ev
from controller.journal import Journal
from controller.loop import Loop
from controller.state import State, evolve
from instruments.messages import Command, Report
from models.candidate import Candidate, digest
from models.observation import Choice

CAMPAIGN = """
name: fake
budget: {{experiments: {budget}}}
space: {{kind: parameters, parameters: {{x: {{low: 0, high: 1}}}}}}
objectives: [{{name: y}}]
constraints: [{{name: purity, at_least: 0.5}}]
batch: {batch}
lab:
  clock: {clock}
  queue: 1
  max_faults: 3
  instruments: {{oven: {{driver: none}}, meter: {{driver: none}}}}
compute: {{backend: local}}
"""

OFFERS = {
    "oven": Offer(capability="heat", quantities={"purity": (0.0, 1.0)}),
    "meter": Offer(capability="measure", idempotent=True, quantities={"y": (-100.0, 100.0)}),
}


class FakeScience:
    """Chooses by a hash of what it is told; plans heat, then measure."""

    def __init__(self) -> None:
        self.orders: list[ChoiceOrder] = []
        self.space = 10**9

    async def choose(self, order: ChoiceOrder) -> ChoiceAnswer:
        await asyncio.sleep(0)
        self.orders.append(order)
        taken = {o.candidate.id for o in order.observations} | {c.id for c in order.pending}
        left = max(0, self.space - len(taken))
        seen = digest(order)
        names = [f"c{digest([seen, k])}" for k in range(min(order.q, left))]
        return ChoiceAnswer(
            choices=tuple(
                Choice(
                    candidate=Candidate(id=name, parameters={"x": int(name[1:5], 16) / 65536}),
                    value=0.0,
                    method="fake",
                    data_hash=seen,
                )
                for name in names
            )
        )

    async def plan(self, candidate: Candidate, offers: tuple[Offer, ...]) -> Recipe:
        await asyncio.sleep(0)
        bounds = {name: bound for offer in offers for name, bound in offer.quantities.items()}
        return Recipe(
            steps=(
                Step(capability="heat", parameters=dict(candidate.parameters), quantities=("purity",), bounds=bounds),
                Step(
                    capability="measure",
                    parameters=dict(candidate.parameters),
                    quantities=("y",),
                    bounds=bounds,
                    idempotent=True,
                ),
            )
        )

    async def close(self) -> None:
        pass


class FakeHands:
    """Answers commands from a script, in an order that ``jitter`` shuffles; counts what it did."""

    def __init__(self, answer: Callable[[Command], dict[str, Any]] | None = None, jitter: int | None = None) -> None:
        self.answer = answer or (lambda command: {})
        self.jitter = random.Random(jitter) if jitter is not None else None
        self.executed: list[str] = []
        self.acknowledged: list[str] = []
        self.durable: Callable[[str], bool] = lambda command_id: True

    async def execute(self, instrument: str, command: Command) -> Report:
        assert self.durable(command.command_id), "a command left before its order was on disk"
        for _ in range(self.jitter.randrange(8) if self.jitter else 1):
            await asyncio.sleep(0)
        self.executed.append(command.command_id)
        x = float(command.parameters["x"])
        default = {
            "status": "ok",
            "readings": {"purity": 0.9} if command.capability == "heat" else {"y": x + (command.seed % 100) / 1000},
            "duration_s": 3600.0 if command.capability == "heat" else 600.0 + 100 * x,
        }
        given = self.answer(command)
        if isinstance(given.get("raise"), Exception):
            raise given["raise"]
        return Report(command_id=command.command_id, **{**default, **given})

    async def returned(self, instrument: str) -> None:
        await asyncio.sleep(0)

    async def acknowledge(self, instrument: str, command_id: str) -> None:
        assert self.durable(f"report {command_id}"), "acknowledged before the report was on disk"
        self.acknowledged.append(command_id)


def begin(
    path: Path, *, budget: int = 5, batch: int = 2, clock: str = "simulated", more: str = ""
) -> tuple[Journal, State]:
    """A fresh journal with a campaign and its instruments; ``more`` is added to the campaign's text."""
    journal = Journal(path, create=True)
    text = CAMPAIGN.format(budget=budget, batch=batch, clock=clock) + more
    events: list[ev.Event] = [
        ev.CampaignStarted(run_id="run", text=text, base_dir="/", seed=0, budget=budget, version="0"),
        ev.ControllerStarted(epoch=1, pid=1, host="here"),
        *(ev.InstrumentAnnounced(instrument=name, driver="fake", offers=(offer,)) for name, offer in OFFERS.items()),
    ]
    journal.stage(events)
    journal.commit()
    return journal, fold(journal)


def fold(journal: Journal) -> State:
    """The state of what is durable."""
    state = State()
    for _, _, event in journal.read():
        state = evolve(state, event)
    return state


def run(journal: Journal, state: State, hands: FakeHands, science: FakeScience | None = None) -> Loop:
    """Run the loop to its end; checks on the way that everything was durable before it was acted upon."""

    def durable(what: str) -> bool:
        on_disk = [event for _, _, event in Journal(journal.path, readonly=True).read()]
        if what.startswith("report "):
            return any(isinstance(e, ev.CommandReported) and e.command_id == what[7:] for e in on_disk)
        return any(isinstance(e, ev.CommandOrdered) and e.command_id == what for e in on_disk)

    hands.durable = durable
    loop = Loop(state, journal, science or FakeScience(), hands)
    asyncio.run(loop.run())
    return loop
