"""Who waits for what: indices over the state, so that a decision need not search every experiment and instrument.

They follow from the records and say nothing new. ``controller.fold`` files again whatever it has changed.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from actors.orders import Offer
from controller.tasks import CommandTask, PlanTask, ReturnTask

if TYPE_CHECKING:
    from controller.records import Command, Experiment, InstrumentState, State

T = TypeVar("T")
Key = tuple[float, int, str]
"""(latest begin of the next step in lab seconds, number of the experiment, its id): the order of urgency."""


@dataclass
class Filing:
    """The indices.

    Attributes:
        unplanned: experiments without a recipe.
        asking: experiments that wait for people.
        over: experiments that have nothing more to do and are not finished yet.
        unstarted: experiments of which no instrument knows.
        waiting: capability -> who waits for it, most urgent first; no empty lists.
        due: those of them whose time runs out, first to run out first.
        holding: experiments with a holding time that runs or will run: they wait, or the step before it is under way.
        under_way: commands that can be asked after and have not been reported.
        reported: commands whose report has not been judged.
        idle: capability -> instruments that are free and in service; no empty dicts.
        absent: instruments that are out of service and may come back by themselves.
        troubled: instruments with faults or losses.
        offered: capability -> the offer of it that takes the most samples at once.
    """

    unplanned: dict[str, PlanTask] = field(default_factory=dict)
    asking: dict[str, Experiment] = field(default_factory=dict)
    over: dict[str, Experiment] = field(default_factory=dict)
    unstarted: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, list[Key]] = field(default_factory=dict)
    due: list[Key] = field(default_factory=list)
    holding: dict[str, None] = field(default_factory=dict)
    under_way: dict[str, CommandTask] = field(default_factory=dict)
    reported: dict[str, Command] = field(default_factory=dict)
    idle: dict[str, dict[str, None]] = field(default_factory=dict)
    absent: dict[str, ReturnTask] = field(default_factory=dict)
    troubled: dict[str, None] = field(default_factory=dict)
    offered: dict[str, Offer] = field(default_factory=dict)

    @property
    def quiet(self) -> bool:
        """True where no command is under way that will end by itself."""
        return not self.under_way and not self.reported

    def runs(self, command_id: str) -> bool:
        """True for a command that will end by itself: told, and not quarantined or out of reach."""
        return command_id in self.under_way or command_id in self.reported

    def experiment(self, one: Experiment) -> None:
        """File an experiment where it belongs now."""
        self._unfile(one)
        step = one.next_step
        if one.waiting_to_start:
            self.unstarted[one.id] = None
        if one.outcome:
            return
        if one.command_id:
            if one.hold_s is not None:
                self.holding[one.id] = None
        elif one.ended or (one.recipe is not None and step is None):
            self.over[one.id] = one
        elif one.recipe is None or step is None:
            self.unplanned[one.id] = PlanTask(one.id)
        elif one.waits_for_people:
            self.asking[one.id] = one
        else:
            one.filed = (step.capability, (one.due_s, one.number, one.id))
            insort(self.waiting.setdefault(step.capability, []), one.filed[1])
            if one.due_s < math.inf:
                insort(self.due, one.filed[1])
                self.holding[one.id] = None

    def _unfile(self, one: Experiment) -> None:
        for index in (self.unplanned, self.asking, self.over, self.unstarted, self.holding):
            index.pop(one.id, None)
        if one.filed is not None:
            capability, key = one.filed
            queue = self.waiting[capability]
            del queue[bisect_left(queue, key)]
            if not queue:
                del self.waiting[capability]
            if key[0] < math.inf:
                del self.due[bisect_left(self.due, key)]
            one.filed = None

    def command(self, one: Command, instrument: InstrumentState) -> None:
        """File a command that has not been judged."""
        name = one.order.command_id
        if one.report is not None:
            self.under_way.pop(name, None)
            self.reported[name] = one
        elif one.unknown or instrument.absent:
            self.under_way.pop(name, None)
        elif name not in self.under_way:
            self.under_way[name] = CommandTask(name)

    def command_over(self, name: str) -> None:
        """Take a command out."""
        self.under_way.pop(name, None)
        self.reported.pop(name, None)

    def instrument(self, one: InstrumentState) -> None:
        """File an instrument: free or not, in trouble or not."""
        free = one.in_service and not one.running
        for capability in one.offers:
            names = self.idle.get(capability)
            if free:
                self.idle.setdefault(capability, {})[one.name] = None
            elif names is not None and one.name in names:
                del names[one.name]
                if not names:
                    del self.idle[capability]
        _keep(self.troubled, one.name, None, bool(one.faults or one.losses))
        _keep(self.absent, one.name, ReturnTask(one.name), bool(one.absent) and one.returns)

    def offers(self, state: State) -> None:
        """File anew what the instruments offer."""
        self.idle.clear()
        self.offered.clear()
        for name in sorted(state.instruments):
            instrument = state.instruments[name]
            self.instrument(instrument)
            for capability, offer in instrument.offers.items():
                known = self.offered.get(capability)
                if known is None or known.batch < offer.batch:
                    self.offered[capability] = offer


def _keep(index: dict[str, T], name: str, value: T, wanted: bool) -> None:
    if wanted:
        index.setdefault(name, value)
    else:
        index.pop(name, None)
