"""Maximum holding times: which samples must get an instrument by when, and which orders leave them one in time.

An estimate from expected durations, so no promise: a sample that waits too long all the same is not processed further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.orders import Step
from controller.durations import expected_s, kind_of
from controller.records import Experiment, State


@dataclass(frozen=True, order=True)
class _Claim:
    """A sample that must begin its step by ``latest_s`` and is there from ``arrival_s`` on."""

    latest_s: float
    number: int
    arrival_s: float
    step: Step


class Holds:
    """Judges orders of one turn.

    Args:
        state: as it is before the turn.
        ends_s: instrument taken in this turn -> when it is expected to be free again; grows with the turn.
        given: experiments that have been dealt with in this turn; grows with the turn.
    """

    def __init__(self, state: State, ends_s: dict[str, float], given: set[str]) -> None:
        self._state, self._ends_s, self._given = state, ends_s, given

    def allow(self, members: Sequence[Experiment], instrument: str) -> bool:
        """True where no more holding times are expected to be broken with this order than without it."""
        state, step = self._state, members[0].next_step
        held = [one for one in members if one.hold_s is not None]
        if step is None or not (held or state.filing.holding):
            return True
        if not all(self._in_service(one) for one in held):
            return False
        if state.filing.quiet and not self._ends_s:
            return True  # everything is free: waiting would not make it better
        end_s = state.now_s + expected_s(state, step)
        with_order = [*self._claims({one.id for one in members}), *(self._next_claim(one, end_s) for one in held)]
        return self._broken(with_order, {instrument: end_s}) <= self._broken(self._claims(set()), {})

    def _in_service(self, one: Experiment) -> bool:
        after = _step_after(one)
        return any(i.in_service and self._state.may_take(name, after) for name, i in self._state.instruments.items())

    def _claims(self, without: set[str]) -> list[_Claim]:
        state, claims = self._state, []
        for name in state.filing.holding:
            one = state.experiments[name]
            step = one.next_step
            if name in without or name in self._given or step is None:
                continue
            if not one.command_id:
                claims.append(_Claim(one.due_s, one.number, state.now_s, step))
            elif state.filing.runs(one.command_id):
                begun_s = state.commands[one.command_id].order.start_s
                claims.append(self._next_claim(one, max(state.now_s, begun_s + expected_s(state, step))))
        return claims

    def _next_claim(self, one: Experiment, end_s: float) -> _Claim:
        return _Claim(end_s + (one.hold_s or 0.0), one.number, end_s, _step_after(one))

    def _broken(self, claims: list[_Claim], taken_s: dict[str, float]) -> int:
        """How many claims come too late where each, most urgent first, takes the instrument that is free first."""
        state, broken = self._state, 0
        free_s = self._free_s() | taken_s
        acts: dict[str, tuple[float, str, int]] = {}  # instrument -> begin, kind and room of its last act
        for claim in sorted(claims, key=lambda claim: (claim.latest_s, claim.number)):
            kind, duration_s = kind_of(state, claim.step), expected_s(state, claim.step)
            best: tuple[float, str] | None = None
            for name in free_s:
                if not state.may_take(name, claim.step):
                    continue
                begin_s, of_kind, room = acts.get(name, (0.0, "", 0))
                shared = of_kind == kind and room > 0 and begin_s >= claim.arrival_s
                start_s = begin_s if shared else max(claim.arrival_s, free_s[name])
                best = min(best, (start_s, name)) if best else (start_s, name)
            if best is None:
                broken += 1
                continue
            start_s, name = best
            broken += start_s > claim.latest_s
            begin_s, of_kind, room = acts.get(name, (0.0, "", 0))
            if of_kind == kind and room > 0 and begin_s == start_s:
                acts[name] = (begin_s, kind, room - 1)
            else:
                batch = state.instruments[name].offers[claim.step.capability].batch
                acts[name], free_s[name] = (start_s, kind, batch - 1), start_s + duration_s
        return broken

    def _free_s(self) -> dict[str, float]:
        state = self._state
        return {
            name: self._ends_s.get(name, free_at_s(state, name))
            for name, i in state.instruments.items()
            if i.in_service
        }


def free_at_s(state: State, name: str) -> float:
    """When an instrument is expected to be free, in lab seconds."""
    ends_s = [state.now_s]
    for command_id in state.instruments[name].running:
        order = state.commands[command_id].order
        step = state.experiments[order.experiment].next_step
        if step is not None:
            ends_s.append(order.start_s + expected_s(state, step))
    return max(ends_s)


def _step_after(one: Experiment) -> Step:
    if one.recipe is None:
        raise RuntimeError(f"{one.id} has no recipe")
    return one.recipe.steps[one.step + 1]
