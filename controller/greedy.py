"""Greedy schedules: a start for the solver, and the answer where it finds none in its time."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from controller.problem import Job, ScheduleProblem, Work

PATIENCE = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Shares of an act's own length that it waits for a fuller batch; the best of them is taken."""
CHANGES, MUCH = 150, 60
"""Changes tried where there are so many works. One costs 20 ms of a core with 40 samples; more gain ever less."""


@dataclass(frozen=True)
class Planned:
    """An act: which (experiment, step) together, and when it begins in seconds from now."""

    instrument: str
    works: tuple[tuple[str, int], ...]
    start_s: float


def best_greedy(problem: ScheduleProblem) -> list[Planned]:
    """The best of some greedy schedules. Each has every work of the problem. The same problem gives the same one.

    They differ in patience and in who is first among equals: who was chosen first, or those together that can share
    acts later, the longest or the shortest of them first. Where there is much to do, more than the solver sees through
    in its time, the best of these is changed a little many times, and a change that does no harm is kept.
    """
    orders = [list(problem.jobs), sorted(problem.jobs, key=_shared), sorted(problem.jobs, key=_shared, reverse=True)]
    tried = [(order, share, _Greedy(problem, order, share).plan()) for order in orders for share in PATIENCE]
    order, share, best = min(tried, key=lambda found: rank(problem, found[2]))
    dice, worth = random.Random(0), rank(problem, best)
    much = len(order) > 1 and sum(len(job.works) for job in order) >= MUCH
    for _ in range(CHANGES if much else 0):
        changed, patience = _changed(order, dice), dice.choice(PATIENCE) if dice.random() < 0.1 else share
        plan = _Greedy(problem, changed, patience).plan()
        if (found := rank(problem, plan)) <= worth:
            order, share, best, worth = changed, patience, plan, found
    return best


def _changed(order: list[Job], dice: random.Random) -> list[Job]:
    """Two jobs change places, or one goes elsewhere."""
    here, there = dice.sample(range(len(order)), 2)
    changed = list(order)
    if dice.random() < 0.5:
        changed[here], changed[there] = changed[there], changed[here]
    else:
        changed.insert(there, changed.pop(here))
    return changed


def _shared(job: Job) -> list[tuple[float, str]]:
    return [(work.duration_s, work.kind) for work in job.works if any(room > 1 for _, room in work.options)]


def rank(problem: ScheduleProblem, plan: list[Planned]) -> tuple[int, float]:
    """How bad a plan is: broken holding times, then the makespan with the mean of all ends."""
    begin_s = {work: act.start_s for act in plan for work in act.works}
    late, ends_s = 0, []
    for job in problem.jobs:
        latest_s = math.inf if job.due_s is None else max(job.due_s, job.ready_s)
        for work in job.works:
            start_s = begin_s[job.experiment, work.step]
            late += start_s > latest_s + 2.0
            latest_s = math.inf if work.hold_s is None else start_s + work.duration_s + work.hold_s
        ends_s.append(begin_s[job.experiment, job.works[-1].step] + job.works[-1].duration_s)
    return late, max(ends_s) + sum(ends_s) / len(ends_s)


@dataclass
class _Runner:
    """A job on its way: its next work, from when, until when, and whether it has a home."""

    job: Job
    ready_s: float
    due_s: float
    inside: bool
    place: int = 0

    @property
    def work(self) -> Work:
        return self.job.works[self.place]

    def earliest_s(self, free_s: dict[str, float]) -> float:
        """When the next work may begin: late enough that, after it, the sample need not wait longer than it may."""
        if self.work.hold_s is None:
            return self.ready_s
        next_s = min(free_s[name] for name, _ in self.job.works[self.place + 1].options)
        return max(self.ready_s, next_s - self.work.hold_s - self.work.duration_s)


@dataclass
class _Act:
    """What could be done next; ``decided_s`` is when one would know that nobody else comes."""

    decided_s: float
    start_s: float
    due_s: float
    instrument: str
    members: list[_Runner]


class _Greedy:
    """Time goes forward; always the act that can be decided on first."""

    def __init__(self, problem: ScheduleProblem, jobs: list[Job], patience: float) -> None:
        self._patience, self._free_s = patience, dict(problem.free_s)
        self._runners = [
            _Runner(job, job.ready_s, math.inf if job.due_s is None else job.due_s, job.begun) for job in jobs
        ]
        begun = sum(one.inside for one in self._runners)
        self._homes, self._freed_s = (math.inf if problem.storage is None else problem.storage - begun), 0.0

    def plan(self) -> list[Planned]:
        acts: list[Planned] = []
        while self._runners:
            act = min(self._options(), key=lambda act: (act.decided_s, act.start_s, act.due_s, act.instrument))
            acts.append(
                Planned(act.instrument, tuple((m.job.experiment, m.work.step) for m in act.members), act.start_s)
            )
            self._do(act)
        return acts

    def _options(self) -> Iterator[_Act]:
        groups: dict[tuple[str, tuple[tuple[str, int], ...]], list[tuple[float, float, int, _Runner]]] = {}
        for place, one in enumerate(self._runners):
            if one.inside or self._homes > 0:
                ready_s = (
                    one.earliest_s(self._free_s) if one.inside else max(one.earliest_s(self._free_s), self._freed_s)
                )
                groups.setdefault((one.work.kind, one.work.options), []).append((ready_s, one.due_s, place, one))
        for (_, options), group in groups.items():
            for name, room in options:
                yield self._act(name, room, group)

    def _act(self, name: str, room: int, group: list[tuple[float, float, int, _Runner]]) -> _Act:
        free_s = self._free_s[name]
        queue = sorted((max(ready_s, free_s), due_s, place, one) for ready_s, due_s, place, one in group)
        start_s, due_s, _, first = queue[0]
        if room == 1:
            return _Act(start_s, start_s, due_s, name, [first])
        until_s, members = start_s + self._patience * first.work.duration_s, list[_Runner]()
        for ready_s, due, _, one in queue:
            new = sum(not member.inside for member in [*members, one])
            if len(members) < room and ready_s <= until_s and new <= self._homes:
                members.append(one)
                start_s, until_s = max(start_s, ready_s), max(start_s, min(until_s, due))
        decided_s = start_s if len(members) == room else max(start_s, until_s)
        return _Act(decided_s, start_s, due_s, name, members)

    def _do(self, act: _Act) -> None:
        end_s = self._free_s[act.instrument] = act.start_s + act.members[0].work.duration_s
        for one in act.members:
            self._homes -= not one.inside
            hold_s, one.inside, one.ready_s = one.work.hold_s, True, end_s
            one.due_s, one.place = (math.inf if hold_s is None else end_s + hold_s), one.place + 1
            if one.place == len(one.job.works):
                self._runners.remove(one)
                self._homes, self._freed_s = self._homes + 1, max(self._freed_s, end_s)
