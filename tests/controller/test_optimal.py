"""Schedules of CP-SAT and of the greedy rules: possible, complete, the same every time, better than no thought."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import optimal
from controller.errors import ReplayMismatch
from controller.greedy import best_greedy
from controller.optimal import NOT_INSTALLED, make_schedule
from controller.problem import Job, ScheduleProblem, Work
from controller.replay import _compare_schedules
from controller.state import State, evolve
from tests.controller.pure_lab import PureLab, offer, step

FURNACES, SINGLE = (("f1", 3), ("f2", 2)), (("x", 1),)

works = st.lists(
    st.tuples(st.sampled_from(["fire 900", "fire 1100", "look"]), st.none() | st.integers(0, 20_000)),
    min_size=1,
    max_size=3,
)


def problem(ways, storage=None, ready=lambda k: 0.0) -> ScheduleProblem:
    length = {"fire 900": 28_800.0, "fire 1100": 43_200.0, "look": 1800.0}
    jobs = []
    for k, way in enumerate(ways):
        found = tuple(
            Work(n, kind, length[kind], None if n + 1 == len(way) else hold, SINGLE if kind == "look" else FURNACES)
            for n, (kind, hold) in enumerate(way)
        )
        jobs.append(Job(f"E{k + 1:04d}", ready(k), None, False, found))
    return ScheduleProblem(1, 100.0, tuple(jobs), (("f1", 0.0), ("f2", 600.0), ("x", 0.0)), storage)


@settings(max_examples=5, deadline=None)
@given(ways=st.lists(works, min_size=1, max_size=5), storage=st.none() | st.integers(1, 5))
def test_a_schedule_has_every_work_once_and_nothing_in_two_places_or_too_full(ways, storage):
    asked = problem(ways, storage)
    made = make_schedule(asked)
    kinds = {(job.experiment, work.step): work for job in asked.jobs for work in job.works}
    assert Counter(work for act in made.acts for work in act.works) == Counter(dict.fromkeys(kinds, 1))
    begin = {work: act.start_s - asked.now_s for act in made.acts for work in act.works}
    busy: dict[str, list[tuple[float, float]]] = {name: [(-1.0, free_s)] for name, free_s in asked.free_s}
    for act in made.acts:
        assert len({kinds[work].kind for work in act.works}) == 1
        assert all(len(act.works) <= dict(kinds[work].options)[act.instrument] for work in act.works)
        start = act.start_s - asked.now_s
        busy[act.instrument].append((start, start + kinds[act.works[0]].duration_s))
    for spans in busy.values():
        spans.sort()
        assert all(after[0] >= before[1] - 1e-3 for before, after in pairwise(spans))
    stays = []
    for job in asked.jobs:
        ends = [begin[job.experiment, w.step] + w.duration_s for w in job.works]
        assert all(begin[job.experiment, w.step] >= end - 1e-3 for w, end in zip(job.works[1:], ends, strict=False))
        stays.append((begin[job.experiment, 0], ends[-1]))
    if storage is not None:
        assert all(sum(a <= t < b for a, b in stays) <= storage for t, _ in stays)


def test_the_same_problem_has_the_same_schedule():
    asked = problem([[("fire 900", None), ("look", None)], [("look", 3600), ("fire 900", None)], [("fire 1100", None)]])
    assert make_schedule(asked) == make_schedule(asked)


def test_a_furnace_is_kept_waiting_where_a_fuller_batch_pays():
    """Two samples are there, a third of the same programme comes in half an hour: one act, not two."""
    one_furnace = (("f1", 3),)
    jobs = tuple(
        Job(f"E000{k}", ready_s, None, False, (Work(0, "fire", 36_000.0, None, one_furnace),))
        for k, ready_s in enumerate([0.0, 0.0, 1800.0], start=1)
    )
    (act,) = make_schedule(ScheduleProblem(1, 0.0, jobs, (("f1", 0.0),), None)).acts
    assert (len(act.works), act.start_s) == (3, 1800.0)


def test_a_sample_that_may_not_wait_is_begun_late_enough():
    mixed = Job(
        "E0001", 0.0, None, False, (Work(0, "mix", 600.0, 0.0, SINGLE), Work(1, "fire", 600.0, None, FURNACES[:1]))
    )
    asked = ScheduleProblem(1, 0.0, (mixed,), (("f1", 9000.0), ("x", 0.0)), None)
    assert [act.start_s for act in make_schedule(asked).acts] == [8400.0, 9000.0]
    assert [act.start_s for act in best_greedy(asked)] == [8400.0, 9000.0]


def test_without_the_solver_the_answer_says_what_to_install(monkeypatch):
    monkeypatch.setattr(optimal, "solver_version", lambda: "")
    made = make_schedule(problem([[("look", None)]]))
    assert (made.acts, made.reason) == ((), NOT_INSTALLED)


def test_a_replay_computes_schedules_again_and_finds_what_was_changed():
    lab = PureLab(
        [[step("fire", temperature_C=900)]] * 3,
        {"furnace": [offer("fire", 2, ["temperature_C"])]},
        scheduler="auto",
        clock="simulated",
    )
    lab.settle()
    asked = lab.state.scheduling
    assert asked is not None
    made, said = make_schedule(asked), []
    assert _compare_schedules(7, made, asked, said.append) == 1
    later = made.model_copy(update={"acts": tuple(a.model_copy(update={"start_s": a.start_s + 1}) for a in made.acts)})
    with pytest.raises(ReplayMismatch, match="event 7: schedule 1 is"):
        _compare_schedules(7, later, asked, said.append)
    other = later.model_copy(update={"solver": "ortools 1.0"})
    assert _compare_schedules(7, other, asked, said.append) == 0
    assert "made by ortools 1.0" in said[0]
    again = State()
    for event in lab.events:
        again = evolve(again, event)
    assert again.scheduling == asked, "the question follows from the journal alone"
