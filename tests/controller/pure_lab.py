"""A lab without hands: the real ``decide`` and ``evolve``, every outcome given by the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import yaml

from actors.orders import Offer, Recipe, Step
from controller import events as ev
from controller.state import State, decide, evolve
from models.candidate import Candidate
from models.observation import Choice


def offer(capability: str, batch: int = 1, programme: Sequence[str] = (), idempotent: bool = False) -> Offer:
    return Offer(capability=capability, batch=batch, programme=tuple(programme), idempotent=idempotent)


def step(capability: str, max_wait_h: float | None = None, **parameters: Any) -> Step:
    return Step(capability=capability, parameters=parameters, quantities=(), max_wait_h=max_wait_h)


class PureLab:
    """A campaign whose recipes are given: ``recipes[k]`` is that of the k-th experiment.

    Attributes:
        state: the fold of ``events``.
        checks: called with each event before it is folded.
    """

    def __init__(
        self,
        recipes: Sequence[Sequence[Step]],
        instruments: dict[str, Sequence[Offer]],
        *,
        clock: str = "wall",
        slots: dict[str, int] | None = None,
        check: Callable[[State, ev.Event], None] = lambda state, event: None,
        **lab: Any,
    ) -> None:
        self.recipes, self.state, self.events, self.check = recipes, State(), list[ev.Event](), check
        campaign = {
            "name": "pure",
            "budget": {"experiments": len(recipes)},
            "space": {"kind": "parameters", "parameters": {"x": {"low": 0, "high": 1}}},
            "objectives": [{"name": "y"}],
            "batch": len(recipes),
            "lab": {
                "clock": clock,
                "scheduler": "plain",
                "queue": len(recipes),
                "instruments": {
                    name: {"driver": "none", **({"slots": slots[name]} if slots and name in slots else {})}
                    for name in instruments
                },
                **lab,
            },
        }
        text = yaml.safe_dump(campaign)
        self.tell(
            ev.CampaignStarted(run_id="r", text=text, base_dir="/", seed=0, budget=len(recipes), version="0"),
            ev.ControllerStarted(epoch=1, pid=1, host="here"),
            *(ev.InstrumentAnnounced(instrument=n, driver="none", offers=tuple(o)) for n, o in instruments.items()),
        )

    def tell(self, *events: ev.Event) -> None:
        for event in events:
            self.check(self.state, event)
            self.events.append(event)
            self.state = evolve(self.state, event)

    def settle(self, most: int = 10_000) -> list[ev.Event]:
        """Everything that follows, with choices and plans answered at once."""
        begun = len(self.events)
        for _ in range(most):
            plan = decide(self.state)
            if plan.events:
                self.tell(*plan.events)
            elif self.state.choosing is not None:
                names = [f"c{k}" for k in range(self.state.choosing.q)]
                first = len(self.state.experiments)
                candidates = [Candidate(id=f"{n}-{first}", parameters={"x": 0.5}) for n in names]
                choices = tuple(Choice(candidate=c, value=0.0, method="given", data_hash="") for c in candidates)
                self.tell(ev.ChoiceMade(decision=self.state.choosing.decision, choices=choices))
            elif self.state.filing.unplanned:
                for name in list(self.state.filing.unplanned):
                    recipe = Recipe(steps=tuple(self.recipes[self.state.experiments[name].number - 1]))
                    self.tell(ev.RecipePlanned(experiment=name, recipe=recipe))
            else:
                return self.events[begun:]
        raise AssertionError("it does not come to rest")

    def report(self, command_id: str, status: Any = "ok", **given: Any) -> None:
        self.tell(ev.CommandReported(command_id=command_id, status=status, **given))

    def pass_time(self, hours: float) -> None:
        self.tell(ev.ClockRead(now_s=self.state.now_s + 3600 * hours))

    def running(self, experiment: str = "", instrument: str = "") -> list[str]:
        """Ids of commands that are under way."""
        orders = [self.state.commands[name].order for name in self.state.filing.under_way]
        return [
            o.command_id
            for o in orders
            if (not experiment or o.experiment == experiment) and (not instrument or o.instrument == instrument)
        ]

    def orders(self) -> list[ev.CommandOrdered]:
        return [event for event in self.events if isinstance(event, ev.CommandOrdered)]

    def outcomes(self) -> dict[str, str]:
        return {name: one.outcome for name, one in self.state.experiments.items()}
