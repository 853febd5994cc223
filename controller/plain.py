"""The plain rule: every free instrument takes the most urgent sample that needs it, and those that can share the act.

Most urgent is whose holding time runs out first, then who was chosen first.
"""

from __future__ import annotations

import heapq

from controller.ordering import Turn, company
from controller.records import Experiment, State


def order_plainly(state: State, turn: Turn) -> None:
    """Give the orders of the plain rule to the turn."""
    waiting, idle = state.filing.waiting, state.filing.idle
    heads = [(waiting[capability][0], capability, 0) for capability in waiting.keys() & idle.keys()]
    heapq.heapify(heads)  # keys are unique, so that the order does not depend on that of a set
    while heads:
        (_, _, name), capability, place = heapq.heappop(heads)
        if turn.is_open(name):
            _serve(state, turn, state.experiments[name])
        if place + 1 < len(waiting[capability]) and any(turn.is_free(instrument) for instrument in idle[capability]):
            heapq.heappush(heads, (waiting[capability][place + 1], capability, place + 1))


def _serve(state: State, turn: Turn, one: Experiment) -> None:
    step = one.next_step
    if step is None or turn.refuse_unsafe(one, step) or not turn.may_begin([one]):
        return
    if not turn.shares(step):
        for instrument in turn.idle(step):
            if turn.in_time([one], instrument):
                turn.order([one], instrument)
                return
        return
    offers = []
    for instrument in turn.idle(step):
        members = company(turn, one, step, instrument)
        offers.append((-len(members), turn.room(instrument, step), instrument, members))
    for _, room, instrument, members in sorted(offers, key=lambda offer: offer[:3]):
        if len(members) < room and state.filing.unplanned:
            continue  # recipes are being written that may agree: a matter of moments
        if turn.in_time(members, instrument):
            turn.order(members, instrument)
            return
