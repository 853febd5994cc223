"""Replay: derive every decision again from the events before it, and compare."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from actors.crew import LocalCrew
from actors.orders import Science, TrainingReport
from actors.pipeline import Pipeline
from controller import events as ev
from controller.errors import ReplayMismatch
from controller.journal import Journal
from controller.optimal import make_schedule, solver_version
from controller.problem import ScheduleProblem
from controller.rundir import RunDirectory
from controller.science import science_spec
from controller.state import State, choice_order, decide, evolve, training_order


def replay(
    directory: RunDirectory, tell: Callable[[str], None] = lambda line: None, science: Science | None = None
) -> int:
    """Recompute every decision of a run.

    The controller's own decisions (what to order, what to accept, when to stop) must come out as the same events; the
    acquisition's choices must be the same candidates for the same reasons, computed anew from the observations.

    Returns:
        How many decisions were compared.

    Raises:
        ReplayMismatch: at the first difference, with its sequence number.
        StorageError: the journal is damaged or was changed.
    """
    directory.require()
    journal = Journal(directory.journal, readonly=True)
    try:
        journal.verify()
        return asyncio.run(_replay(journal, tell, science))
    finally:
        journal.close()


async def _replay(journal: Journal, tell: Callable[[str], None], science: Science | None) -> int:
    state, counted = State(), 0
    expected: list[ev.AnyDecision] = []
    own = science is None
    try:
        for seq, _, event in journal.read():
            if isinstance(event, ev.CampaignStarted) and science is None:
                begun = evolve(State(), event)
                science = Pipeline(science_spec(begun.require(), Path(event.base_dir)), LocalCrew())
            if ev.is_decision(event):
                expected = expected or list(decide(state).events)
                _compare(seq, event, expected.pop(0) if expected else None)
                counted += 1
            elif expected:
                raise ReplayMismatch(f"event {seq}: {expected[0].kind} should come before {event.kind}")
            if isinstance(event, ev.ChoiceMade) and state.choosing is not None and science is not None:
                answer = await science.choose(choice_order(state, state.choosing))
                _compare_choices(seq, event, ev.ChoiceMade(decision=event.decision, choices=answer.choices))
                counted += 1
                chosen = ", ".join(choice.candidate.id for choice in event.choices) or "nothing left"
                tell(f"decision {event.decision}: {chosen}")
            if isinstance(event, ev.ModelTrained) and state.training and science is not None:
                counted += _compare_models(seq, event, await science.train(training_order(state, state.training)), tell)
            if isinstance(event, ev.ScheduleMade) and state.scheduling is not None:
                counted += _compare_schedules(seq, event, state.scheduling, tell)
            state = evolve(state, event)
    finally:
        if own and science is not None:
            await science.close()
    return counted


def _compare(seq: int, recorded: ev.Event, derived: ev.AnyDecision | None) -> None:
    if recorded != derived:
        raise ReplayMismatch(
            f"event {seq} differs.\n  recorded: {recorded.model_dump_json()}\n"
            f"  derived:  {derived.model_dump_json() if derived else 'nothing follows here'}"
        )


def _compare_schedules(
    seq: int, recorded: ev.ScheduleMade, problem: ScheduleProblem, tell: Callable[[str], None]
) -> int:
    """A schedule is the same only from the same version of the solver; another version is not asked."""
    if recorded.solver != solver_version():
        made, here = recorded.solver or "no solver", solver_version() or "none"
        tell(f"schedule {recorded.schedule}: made by {made}, here is {here}: taken as it is")
        return 0
    derived = make_schedule(problem)
    if recorded.acts != derived.acts:
        raise ReplayMismatch(f"event {seq}: schedule {recorded.schedule} is {recorded.acts}, recomputed {derived.acts}")
    return 1


def _compare_models(seq: int, recorded: ev.ModelTrained, derived: TrainingReport, tell: Callable[[str], None]) -> int:
    """A model is the same to the last digit only with the same libraries and kind of processor."""
    was = recorded.report
    if was.made_with != derived.made_with:
        tell(
            f"model after {was.n_observations} results: made with {was.made_with}; here {derived.made_with}: not asked"
        )
        return 0
    if (was.candidate, was.serving, was.published) != (derived.candidate, derived.serving, derived.published):
        raise ReplayMismatch(
            f"event {seq}: the model after {was.n_observations} results is {was.candidate} (published: "
            f"{was.published}) and {was.serving} serves; trained again, it is {derived.candidate} (published: "
            f"{derived.published}) and {derived.serving} serves"
        )
    return 1


def _compare_choices(seq: int, recorded: ev.ChoiceMade, derived: ev.ChoiceMade) -> None:
    """Candidates, method and the data seen must agree exactly; numbers may differ by rounding on another machine."""
    first = [(c.candidate, c.method, c.data_hash) for c in recorded.choices]
    second = [(c.candidate, c.method, c.data_hash) for c in derived.choices]
    if first != second:
        raise ReplayMismatch(
            f"event {seq}: decision {recorded.decision} chose {[c.candidate.id for c in recorded.choices]}, "
            f"recomputed {[c.candidate.id for c in derived.choices]} (data {[c.data_hash for c in recorded.choices]} "
            f"and {[c.data_hash for c in derived.choices]})"
        )
