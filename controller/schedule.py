"""Following a schedule: when one is asked for, what the scheduler is told, when its answer is obeyed and when dropped.

A schedule is a fact from outside, like a choice: ``decide`` never computes one. It says in which order the acts come on
each instrument and who shares them; an act begins as soon as its samples and its instrument are there. What
contradicts it (a failed step, a lost instrument, an order by the plain rule, a long delay) drops it.
"""

from __future__ import annotations

import math

from actors.orders import Recipe
from controller import events as ev
from controller.durations import expected_s, kind_of
from controller.holding import free_at_s
from controller.ordering import Turn
from controller.plain import order_plainly
from controller.problem import Job, ScheduleProblem, Work
from controller.records import Experiment, Schedule, State
from controller.samples import slots

LATE_S, LATE_SHARE = 7200.0, 1.0
"""An act that has not begun so long after its time (and so much of its own length) is not waited for."""


def order_schedule(state: State) -> list[ev.AnyDecision]:
    """Ask for a schedule where one pays and something has happened since the last one."""
    if state.require().lab.scheduler == "plain" or state.scheduling is not None:
        return []
    late = state.schedule is not None and _is_late(state, state.schedule)
    if not (state.news or late) or not _pays(state):
        return []
    return [ev.ScheduleOrdered(schedule=state.schedules + 1)]


def order_by_schedule(state: State, turn: Turn) -> None:
    """Give the orders that follow from the schedule, and by the plain rule those of which it does not speak."""
    schedule = state.schedule
    if schedule is None or _is_late(state, schedule):
        order_plainly(state, turn)
        return
    turn.spoken_for.update(schedule.acts)
    turn.spoken_for.update(name for name, step in schedule.of if _waits_for(state, name, step))
    for name in sorted(schedule.acts):
        instrument = state.instruments[name]
        if instrument.in_service and not instrument.running:
            _begin(state, turn, schedule.acts[name][0])
    order_plainly(state, turn)
    if not turn.events and state.filing.quiet:  # nothing would ever happen again
        turn.spoken_for.clear()
        order_plainly(state, turn)


def _begin(state: State, turn: Turn, act: ev.Act) -> None:
    members = [state.experiments[name] for name, _ in act.works]
    if not all(_waits_for(state, name, step) for name, step in act.works) or not turn.may_begin(members):
        return
    for one in members:
        step = one.next_step
        if step is None or not state.may_take(act.instrument, step) or turn.refuse_unsafe(one, step):
            return
    # At its planned time the plan has seen further than the estimate of a turn; before, the estimate decides.
    if state.now_s >= act.start_s or turn.in_time(members, act.instrument):
        turn.order(members, act.instrument)


def _waits_for(state: State, name: str, step: int) -> bool:
    """True where a sample waits for just this step."""
    one = state.experiments[name]
    return one.filed is not None and one.step == step


def _is_late(state: State, schedule: Schedule) -> bool:
    for name, (act, *_) in schedule.acts.items():
        experiment, number = act.works[0]
        recipe = state.experiments[experiment].recipe
        if recipe is None or state.instruments[name].running:
            continue
        if state.now_s > act.start_s + max(LATE_S, LATE_SHARE * expected_s(state, recipe.steps[number])):
            return True
    return False


def _pays(state: State) -> bool:
    if state.require().lab.scheduler == "optimal":
        return True
    shared = [name for name, offer in state.filing.offered.items() if offer.batch > 1]
    wanted = dict.fromkeys(shared, 0)
    for one in state.active.values() if shared else ():
        for step in one.recipe.steps[one.step :] if one.recipe else ():
            if step.capability in wanted:
                wanted[step.capability] += 1
    return any(count > 1 for count in wanted.values())


# What the fold does about schedules


def pose(state: State, number: int) -> ScheduleProblem:
    """The problem as it is now: every sample whose way is clear, every instrument in service."""
    now_s = state.now_s
    jobs = []
    for one in state.active.values():
        recipe = one.recipe
        if recipe is None or one.ended or one.waits_for_people:
            continue
        first, ready_s, due_s = one.step, 0.0, one.due_s - now_s
        if one.command_id:
            if not state.filing.runs(one.command_id):
                continue  # quarantined, or on an instrument that is out of service
            step, order = recipe.steps[one.step], state.commands[one.command_id].order
            ready_s = _whole(order.start_s + expected_s(state, step) - now_s)
            first, due_s = one.step + 1, ready_s + (math.inf if one.hold_s is None else one.hold_s)
        works = [_work(state, one, recipe, place) for place in range(first, len(recipe.steps))]
        if works and all(work.options for work in works):
            due = due_s if due_s < math.inf else None
            jobs.append(Job(one.id, ready_s, due, one.home > 0, tuple(works)))
    free_s = [
        (name, _whole(free_at_s(state, name) - now_s)) for name, i in sorted(state.instruments.items()) if i.in_service
    ]
    storage = state.require().lab.storage
    if storage is not None:  # quarantined samples keep their homes
        storage -= len(state.homes) - sum(job.begun for job in jobs)
    return ScheduleProblem(number, now_s, tuple(jobs), tuple(free_s), storage)


def _whole(seconds: float) -> float:
    return float(math.ceil(max(0.0, seconds)))


def _work(state: State, one: Experiment, recipe: Recipe, number: int) -> Work:
    step, options = recipe.steps[number], []
    for name, instrument in sorted(state.instruments.items()):
        if instrument.in_service and state.may_take(name, step):
            room = min(instrument.offers[step.capability].batch, slots(state, instrument))
            options.append((name, 1 if one.alone else room))
    keeps = step.max_wait_h is None or number + 1 == len(recipe.steps)
    hold_s = None if keeps else 3600 * (step.max_wait_h or 0.0)
    return Work(number, kind_of(state, step), _whole(expected_s(state, step)), hold_s, tuple(options))


def adopt(state: State, made: ev.ScheduleMade) -> None:
    """Take a schedule; what has been ordered meanwhile may contradict it, and then it is dropped at once."""
    if state.scheduling is None or made.schedule != state.scheduling.number:
        return
    state.scheduling, state.schedule = None, None
    schedule = Schedule(made.schedule, {}, {})
    for act in sorted(made.acts, key=lambda act: act.start_s):
        left = [work for work in act.works if _still_to_do(state, *work)]
        if not left:
            continue
        if len(left) < len(act.works) or not state.instruments[act.instrument].in_service:
            drop(state)
            return
        schedule.acts.setdefault(act.instrument, []).append(act)
        schedule.of.update(dict.fromkeys(act.works, act))
    state.schedule = schedule if schedule.acts else None


def _still_to_do(state: State, name: str, step: int) -> bool:
    one = state.experiments[name]
    ahead = one.step if not one.command_id else one.step + 1
    return name in state.active and not one.ended and step >= ahead


def note_order(state: State, order: ev.CommandOrdered) -> None:
    """An order that a schedule foresaw takes its act off it; another one about the same sample drops the schedule."""
    schedule = state.schedule
    act = schedule.of.pop((order.experiment, order.step), None) if schedule else None
    if schedule is None or act is None:
        return
    acts = schedule.acts.get(order.instrument, [])
    if act.instrument != order.instrument or (len(order.batch) or 1) != len(act.works):
        drop(state)
        return
    if not any(work in schedule.of for work in act.works):
        acts.remove(act)
        if not acts:
            del schedule.acts[order.instrument]


def foresees(state: State, one: Experiment) -> bool:
    """True where the schedule has something to do for a sample still."""
    steps = len(one.recipe.steps) if one.recipe else 0
    return state.schedule is not None and any((one.id, step) in state.schedule.of for step in range(steps))


def drop(state: State) -> None:
    """The schedule no longer fits: forget it and ask for another."""
    state.schedule, state.news = None, True
