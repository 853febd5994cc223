"""Where samples are: homes in the storage, slots in the instruments.

A sample is begun only when a *home* can be reserved for its whole way through the lab. An instrument and a slot in it
are taken together, at once, when a step is ordered. So a sample in an instrument can always be set down, nobody holds
an instrument while waiting for something, and no circle of samples can wait for each other: ``docs/scheduling.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

from controller.records import Experiment, InstrumentState, Placement, State


def free_homes(state: State) -> float:
    """How many more samples may be begun."""
    storage = state.require().lab.storage
    return math.inf if storage is None else storage - len(state.homes)


def slots(state: State, instrument: InstrumentState) -> int:
    """How many samples may lie in an instrument."""
    given = state.require().lab.instruments.get(instrument.name)
    if given is not None and given.slots is not None:
        return given.slots
    return max((offer.batch for offer in instrument.offers.values()), default=1)


def positions(state: State, instrument: InstrumentState, members: Sequence[Experiment]) -> list[str]:
    """A slot for each member: where it lies already, else an empty one, else one of a sample that can go home."""
    names = {member.id for member in members}
    stay = {who: slot for slot, who in instrument.lying.items() if who in names}
    others = [slot for slot in range(1, slots(state, instrument) + 1) if slot not in stay.values()]
    others.sort(key=lambda slot: slot in instrument.lying)
    free = iter(others)
    return [f"{instrument.name}/{stay[m.id] if m.id in stay else next(free)}" for m in members]


def place(state: State, sample: Experiment, position: str, why: str) -> None:
    """Put a sample into an instrument; who lies there goes home. A sample that has no home gets one."""
    if not sample.home:
        sample.home = next(number for number in count(1) if number not in state.homes)
        state.homes[sample.home] = sample.id
    if not position or sample.position == position:
        return
    name, _, number = position.rpartition("/")
    instrument, slot = state.instruments[name], int(number)
    other = instrument.lying.get(slot)
    if other is not None:
        _move(state, state.experiments[other], f"storage/{state.experiments[other].home}", f"{position} was needed")
    _move(state, sample, position, why)
    instrument.lying[slot] = sample.id


def leave(state: State, sample: Experiment, why: str) -> None:
    """Take a sample out of the lab and give up its home."""
    state.homes.pop(sample.home, None)
    sample.home = 0
    if sample.position:
        _move(state, sample, "", why)


def _move(state: State, sample: Experiment, position: str, why: str) -> None:
    name, _, slot = sample.position.rpartition("/")
    instrument = state.instruments.get(name)
    if instrument is not None and instrument.lying.get(int(slot)) == sample.id:
        del instrument.lying[int(slot)]
    sample.position = position
    sample.history.append(Placement(position, state.now_s, why))
