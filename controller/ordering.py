"""One turn of giving orders: what is still free in it, and the events that take it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from actors.orders import Step
from controller import events as ev
from controller.durations import expected_s
from controller.holding import Holds
from controller.records import Experiment, State
from controller.safety import breaches
from controller.samples import free_homes, positions, slots
from instruments.messages import command_id
from models.outcome import evaluate


def derive_seed(*parts: object) -> int:
    """A 31-bit seed that depends on all parts and on nothing else."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1


class Turn:
    """Orders that are given together. Nothing in it is taken twice.

    Attributes:
        events: what has been decided so far.
        given: experiments that have been dealt with.
        ends_s: instrument taken in this turn -> when it is expected to be free again.
        spoken_for: experiments and instruments that a schedule has other plans for.
    """

    def __init__(self, state: State) -> None:
        self.state, self.events = state, list[ev.AnyDecision]()
        self.given, self.ends_s, self.spoken_for = set[str](), dict[str, float](), set[str]()
        self._homes, self._shares = free_homes(state), dict[str, bool]()
        self._holds = Holds(state, self.ends_s, self.given)

    def idle(self, step: Step) -> Iterator[str]:
        """Free instruments that may take a step, by name."""
        free = self.state.filing.idle.get(step.capability, ())
        return (name for name in sorted(filter(self.is_free, free)) if self.state.may_take(name, step))

    def shares(self, step: Step) -> bool:
        """True where an idle instrument takes more than one sample in an act of this kind."""
        free = self.state.filing.idle.get(step.capability, ())
        if (known := self._shares.get(step.capability)) is None:
            known = self._shares[step.capability] = any(self.room(name, step) > 1 for name in free)
        return known

    def is_free(self, instrument: str) -> bool:
        """True for an instrument that this turn has not taken."""
        return instrument not in self.ends_s and instrument not in self.spoken_for

    def is_open(self, experiment: str) -> bool:
        """True for a sample with which this turn has done nothing."""
        return experiment not in self.given and experiment not in self.spoken_for

    def refuse_unsafe(self, one: Experiment, step: Step) -> bool:
        """The envelope once more before a step is ordered, whatever let the recipe pass: ends what breaks it."""
        found = breaches(self.state.require().safety, step)
        if found:
            reason = f"not safe, step {one.step + 1} not sent: {'; '.join(found)}"
            self.given.add(one.id)
            self.events.append(finished(self.state, one, "failed_measurement", reason))
        return bool(found)

    def may_begin(self, members: Sequence[Experiment]) -> bool:
        """True where each member has a home or can be given one."""
        return sum(not member.home for member in members) <= self._homes

    def in_time(self, members: Sequence[Experiment], instrument: str) -> bool:
        """True where no sample's holding time is expected to run out because of this order."""
        return self._holds.allow(members, instrument)

    def room(self, instrument: str, step: Step) -> int:
        """How many samples an instrument takes in one act of a step."""
        one = self.state.instruments[instrument]
        return min(one.offers[step.capability].batch, slots(self.state, one))

    def order(self, members: Sequence[Experiment], instrument: str) -> None:
        """Have the members' next steps done in one act."""
        state, step = self.state, members[0].next_step
        if step is None:
            raise RuntimeError(f"{members[0].id} has no step")
        run_id = state.started.run_id if state.started else ""
        ids = tuple(command_id(run_id, one.id, one.step, one.attempt) for one in members)
        places = positions(state, state.instruments[instrument], members)
        for one, name, position in zip(members, ids, places, strict=True):
            self.events.append(
                ev.CommandOrdered(
                    command_id=name,
                    experiment=one.id,
                    step=one.step,
                    round=one.round,
                    attempt=one.attempt,
                    instrument=instrument,
                    start_s=state.now_s,
                    # Neither the run nor the attempt is in the seed: a repeated simulated act is the same act.
                    seed=derive_seed(state.require().seed, one.id, one.step, one.round),
                    batch=ids if len(ids) > 1 else (),
                    position=position,
                )
            )
        self._homes -= sum(not one.home for one in members)
        self.given.update(one.id for one in members)
        self.ends_s[instrument] = state.now_s + (expected_s(state, step) if state.holds else 0.0)


def company(turn: Turn, first: Experiment, step: Step, instrument: str) -> list[Experiment]:
    """The first sample and those that wait for the same programme, most urgent first, as many as there is room for."""
    state, members, room = turn.state, [first], turn.room(instrument, step)
    offer = state.instruments[instrument].offers[step.capability]
    if room < 2 or first.alone:
        return members
    programme = [step.parameters.get(name) for name in offer.programme]
    for _, _, name in state.filing.waiting[step.capability]:
        if len(members) == room:
            break
        other = state.experiments[name]
        wanted = other.next_step
        if name == first.id or not turn.is_open(name) or other.alone or wanted is None:
            continue
        agrees = [wanted.parameters.get(key) for key in offer.programme] == programme
        if (
            agrees
            and turn.may_begin([*members, other])
            and state.may_take(instrument, wanted)
            and not breaches(state.require().safety, wanted)
        ):
            members.append(other)
    return members


def order_again(state: State, orders: Sequence[ev.CommandOrdered]) -> list[ev.CommandOrdered]:
    """The same act once more, with new ids.

    Empty while nothing may begin, where its instrument cannot do it now, or where a sample has waited too long.
    """
    if state.stopping or state.latched:
        return []
    instrument, run_id = state.instruments[orders[0].instrument], state.started.run_id if state.started else ""
    steps = [state.experiments[order.experiment].next_step for order in orders]
    others = instrument.running.keys() - {order.command_id for order in orders}
    able = all(step is not None and state.may_take(instrument.name, step) for step in steps)
    in_time = all(state.now_s <= state.experiments[order.experiment].due_s for order in orders)
    if others or not instrument.in_service or not able or not in_time:
        return []
    ids = tuple(command_id(run_id, order.experiment, order.step, order.attempt + 1) for order in orders)
    return [
        order.model_copy(
            update={
                "command_id": name,
                "attempt": order.attempt + 1,
                "start_s": state.now_s,
                "batch": ids if len(ids) > 1 else (),
            }
        )
        for order, name in zip(orders, ids, strict=True)
    ]


def finished(state: State, one: Experiment, outcome: str, reason: str) -> ev.ExperimentFinished:
    """The end of an experiment, with everything that it has taught."""
    campaign = state.require()
    values = evaluate(campaign.objectives, campaign.constraints, one.candidate, one.readings)
    if outcome == "failed_synthesis":  # what was measured is a property of something else
        lost = {o.name for o in campaign.objectives if o.source != "computed"}
        values = {name: value for name, value in values.items() if name not in lost}
    if outcome == "measured":
        wanted = [f.reading for f in campaign.fidelities if f.name == one.candidate.fidelity]
        missing = [name for name in wanted or [o.name for o in campaign.objectives] if name not in values]
        if missing:
            outcome, reason = "failed_measurement", f"{', '.join(missing)} was not measured by any step"
    return ev.ExperimentFinished(experiment=one.id, outcome=outcome, values=values, reason=reason)  # type: ignore[arg-type]
