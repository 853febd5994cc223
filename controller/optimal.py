"""The optimal schedule: OR-Tools CP-SAT on a flexible job shop with batches, holding times and storage.

L. Perron and V. Furnon, OR-Tools (Google). Deterministic: one worker, a fixed seed, a limit in deterministic time, so
that a replay with the same version gives the same schedule. The search begins at the best of a few greedy schedules.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from controller import events as ev
from controller.greedy import Planned, best_greedy, rank
from controller.problem import Job, ScheduleProblem, Work

NOT_INSTALLED = "OR-Tools is not installed: pip install 'athanor[lab]', or pip install ortools"
EFFORT_PER_WORK, MOST_EFFORT = 0.01, 0.5
"""Deterministic time of the solver, a unit of which is several seconds on one core."""


def solver_version() -> str:
    """The solver and its version; empty where it is not installed."""
    try:
        from ortools import __version__
    except ImportError:
        return ""
    return f"ortools {__version__}"


def make_schedule(problem: ScheduleProblem) -> ev.ScheduleMade:
    """Answer a schedule order; without a solver, or without work, an answer without acts says why."""
    solver = solver_version()
    if not solver:
        return ev.ScheduleMade(schedule=problem.number, acts=(), reason=NOT_INSTALLED)
    if not problem.jobs:
        return ev.ScheduleMade(schedule=problem.number, acts=(), solver=solver, reason="no sample waits")
    greedy = best_greedy(problem)
    solved = _solve(problem, greedy)
    best = solved if solved is not None and rank(problem, solved) < rank(problem, greedy) else greedy
    acts = tuple(
        ev.Act(
            instrument=act.instrument,
            works=act.works,
            start_s=round(problem.now_s + act.start_s, 3),
        )
        for act in sorted(best, key=lambda act: (act.start_s, act.instrument))
    )
    return ev.ScheduleMade(schedule=problem.number, acts=acts, solver=solver)


@dataclass
class _Seat:
    """A way to do a work: alone on an instrument, or in one of its batches."""

    instrument: str
    chosen: Any
    start: Any
    number: int | None = None


class _Model:
    """The constraint model, in whole seconds."""

    def __init__(self, problem: ScheduleProblem, start: list[Planned], horizon_s: float) -> None:
        from ortools.sat.python import cp_model

        self.problem, self.model = problem, cp_model.CpModel()
        self.horizon = _whole(horizon_s)
        self.free = {name: _whole(free_s) for name, free_s in problem.free_s}
        self.starts: dict[tuple[str, int], Any] = {}
        self.seats: dict[tuple[str, int], list[_Seat]] = {}
        self.late: list[Any] = []
        self._intervals: dict[str, list[Any]] = {name: [] for name in self.free}
        self._crowds: dict[tuple[str, str], list[tuple[str, Work, int]]] = {}
        self._batches: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
        self.kinds = {(job.experiment, work.step): work.kind for job in problem.jobs for work in job.works}
        self.ends = [self._add_job(job) for job in problem.jobs]
        used = Counter((act.instrument, self.kinds[act.works[0]]) for act in start)
        for key, crowd in sorted(self._crowds.items()):
            self._batches[key] = self._add_batches(key[0], crowd, used[key])
        for key, seats in self.seats.items():
            self.model.add_exactly_one(seat.chosen for seat in seats)
            for seat in seats:
                if seat.start is not self.starts[key]:
                    self.model.add(self.starts[key] == seat.start).only_enforce_if(seat.chosen)
        for intervals in self._intervals.values():
            self.model.add_no_overlap(intervals)
        self._add_storage()
        self.makespan = self._time("makespan")
        self.model.add_max_equality(self.makespan, self.ends)
        n = len(problem.jobs)
        # Every sample's end counts as well: what need not wait should not, even where the last one is not affected.
        self.model.minimize(2 * n * self.horizon * sum(self.late) + n * self.makespan + sum(self.ends))
        self._hint(start)

    def _time(self, name: str) -> Any:
        return self.model.new_int_var(0, self.horizon, name)

    def _add_job(self, job: Job) -> Any:
        model, before, hold_s, end = self.model, _whole(job.ready_s), None, None
        if job.due_s is not None:  # the time of the first work runs from before it was ready
            hold_s = max(0.0, job.due_s - job.ready_s)
        for work in job.works:
            key, duration = (job.experiment, work.step), max(1, _whole(work.duration_s))
            start = self.starts[key] = self._time(f"start {key}")
            model.add(start >= before)
            if hold_s is not None:
                late = model.new_bool_var(f"late {key}")
                model.add(start <= before + int(hold_s)).only_enforce_if(~late)
                self.late.append(late)
            self.seats[key] = []
            for instrument, room in work.options:
                if room > 1:
                    self._crowds.setdefault((instrument, work.kind), []).append((job.experiment, work, room))
                    continue
                chosen = model.new_bool_var(f"{key} on {instrument}")
                interval = model.new_optional_interval_var(start, duration, start + duration, chosen, f"{key}")
                self._intervals[instrument].append(interval)
                model.add(start >= self.free[instrument]).only_enforce_if(chosen)
                self.seats[key].append(_Seat(instrument, chosen, start))
            before, hold_s = start + duration, work.hold_s
        end = self._time(f"end {job.experiment}")
        model.add(end == before)
        return end

    def _add_batches(self, instrument: str, crowd: list[tuple[str, Work, int]], least: int) -> list[tuple[Any, Any]]:
        """As many batches as the crowd can need, or ``least``; later ones only where earlier ones are used."""
        model, room = self.model, max(room for _, _, room in crowd)
        duration = max(max(1, _whole(work.duration_s)) for _, work, _ in crowd)
        batches: list[tuple[Any, Any]] = []
        for number in range(min(len(crowd), max(least, math.ceil(len(crowd) / room)) + 1)):
            used, start = model.new_bool_var("used"), self._time("batch")
            interval = model.new_optional_interval_var(start, duration, start + duration, used, "batch")
            self._intervals[instrument].append(interval)
            model.add(start >= self.free[instrument])
            if batches:
                model.add_implication(used, batches[-1][0])
                model.add(start >= batches[-1][1] + duration).only_enforce_if(used)
            members = []
            for experiment, work, _ in crowd:
                chosen = model.new_bool_var(f"{experiment} {work.step} in {instrument} {number}")
                self.seats[experiment, work.step].append(_Seat(instrument, chosen, start, number))
                model.add_implication(chosen, used)
                members.append(chosen)
            model.add(sum(members) <= room)
            model.add_bool_or([*members, ~used])
            batches.append((used, start))
        return batches

    def _add_storage(self) -> None:
        storage, jobs = self.problem.storage, self.problem.jobs
        if storage is None or len(jobs) <= storage:
            return
        stays = []
        for job, end in zip(jobs, self.ends, strict=True):
            begin = 0 if job.begun else self.starts[job.experiment, job.works[0].step]
            size = self._time(f"stay {job.experiment}")
            stays.append(self.model.new_interval_var(begin, size, end, f"stay {job.experiment}"))
        self.model.add_cumulative(stays, [1] * len(stays), storage)

    def _hint(self, plan: list[Planned]) -> None:
        """Begin the search from a plan."""
        turn: dict[tuple[str, str], int] = {}
        for act in sorted(plan, key=lambda act: act.start_s):
            kind = self.kinds[act.works[0]]
            number = turn[act.instrument, kind] = turn.get((act.instrument, kind), -1) + 1
            batches = self._batches.get((act.instrument, kind), ())
            if number < len(batches):
                self.model.add_hint(batches[number][0], 1)
                self.model.add_hint(batches[number][1], _whole(act.start_s))
            for work in act.works:
                self.model.add_hint(self.starts[work], _whole(act.start_s))
                for seat in self.seats[work]:
                    here = seat.instrument == act.instrument and seat.number in (None, number)
                    self.model.add_hint(seat.chosen, int(here))

    def plan(self, solver: Any) -> list[Planned]:
        """What the solver has found."""
        found: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for key, seats in self.seats.items():
            seat = next(seat for seat in seats if solver.boolean_value(seat.chosen))
            found.setdefault((seat.instrument, solver.value(self.starts[key])), []).append(key)
        return [Planned(name, tuple(works), float(start)) for (name, start), works in found.items()]


def _whole(seconds: float) -> int:
    return math.ceil(max(0.0, seconds))


def _solve(problem: ScheduleProblem, greedy: list[Planned]) -> list[Planned] | None:
    """The best plan that CP-SAT finds in its time; ``None`` where it finds none."""
    from ortools.sat.python import cp_model

    longest_s = max(work.duration_s for job in problem.jobs for work in job.works)
    model = _Model(problem, greedy, 1.2 * max(act.start_s for act in greedy) + 2 * longest_s)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.interleave_search = True  # all strategies of the solver in turn, on one core
    effort = EFFORT_PER_WORK * sum(len(job.works) for job in problem.jobs)
    solver.parameters.max_deterministic_time = min(MOST_EFFORT, effort)
    status = solver.solve(model.model)
    return model.plan(solver) if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else None
