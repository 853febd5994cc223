"""Greedy schedules: a start for the solver, and the answer where it finds none in its time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from controller.problem import Job, ScheduleProblem, Work

PATIENCE = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Shares of an act's own length that it waits for a fuller batch; the best of them is taken."""


@dataclass(frozen=True)
class Planned:
    """An act: its samples, their step, when it begins in seconds from now."""

    instrument: str
    step: int
    experiments: tuple[str, ...]
    start_s: float

    def end_s(self, problem: ScheduleProblem) -> float:
        """When it is expected to end."""
        return self.start_s + max(_work(problem, name, self.step).duration_s for name in self.experiments)


def best_greedy(problem: ScheduleProblem) -> list[Planned]:
    """The best of a few greedy schedules. Each has every work of the problem."""
    return min((_greedy(problem, share) for share in PATIENCE), key=lambda plan: rank(problem, plan))


def rank(problem: ScheduleProblem, plan: list[Planned]) -> tuple[int, float]:
    """How bad a plan is: broken holding times, then the makespan with the mean of all ends."""
    begin_s = {(name, act.step): act.start_s for act in plan for name in act.experiments}
    late, ends_s = 0, []
    for job in problem.jobs:
        latest_s = math.inf if job.due_s is None else max(job.due_s, job.ready_s)
        for work in job.works:
            start_s = begin_s[job.experiment, work.step]
            late += start_s > latest_s + 2.0
            latest_s = math.inf if work.hold_s is None else start_s + work.duration_s + work.hold_s
        ends_s.append(begin_s[job.experiment, job.works[-1].step] + job.works[-1].duration_s)
    return late, max(ends_s) + sum(ends_s) / len(ends_s)


def _work(problem: ScheduleProblem, experiment: str, step: int) -> Work:
    job = next(job for job in problem.jobs if job.experiment == experiment)
    return next(work for work in job.works if work.step == step)


@dataclass
class _Runner:
    """A job on its way: its next work, from when, until when."""

    job: Job
    place: int
    ready_s: float
    due_s: float
    inside: bool

    @property
    def work(self) -> Work:
        return self.job.works[self.place]


def _greedy(problem: ScheduleProblem, patience: float) -> list[Planned]:
    free_s = dict(problem.free_s)
    runners = [
        _Runner(job, 0, job.ready_s, math.inf if job.due_s is None else job.due_s, job.begun) for job in problem.jobs
    ]
    homes = math.inf if problem.storage is None else problem.storage - sum(one.inside for one in runners)
    freed_s, plan = 0.0, list[Planned]()
    while runners:
        open_ = [one for one in runners if one.inside or homes > 0]
        options = [
            (max(one.ready_s, free_s[name], 0.0 if one.inside else freed_s), one.due_s, place, name, room)
            for place, one in enumerate(open_)
            for name, room in one.work.options
        ]
        start_s, _, place, name, room = min(options)
        first = open_[place]
        mates = [one for one in open_ if one is not first and one.work.kind == first.work.kind]
        mates = [one for one in mates if one.work.step == first.work.step and (name, room) in one.work.options]
        wait_until_s = start_s + patience * first.work.duration_s
        mates = sorted((one for one in mates if one.ready_s <= wait_until_s), key=lambda one: one.ready_s)
        members = [first]
        for one in mates[: room - 1]:
            new = sum(not member.inside for member in [*members, one])
            if new <= homes:
                members.append(one)
        start_s = max(start_s, *(one.ready_s for one in members)) if len(members) > 1 else start_s
        plan.append(Planned(name, first.work.step, tuple(one.job.experiment for one in members), start_s))
        end_s = free_s[name] = start_s + first.work.duration_s
        for one in members:
            homes -= not one.inside
            hold_s, one.inside, one.ready_s = one.work.hold_s, True, end_s
            one.due_s, one.place = (math.inf if hold_s is None else end_s + hold_s), one.place + 1
            if one.place == len(one.job.works):
                runners.remove(one)
                homes, freed_s = homes + 1, max(freed_s, end_s)
    return plan
