"""The thin shell around the pure state: append what follows, act on it, append what came of it.

One rule orders everything: whatever acts on the world (a command, an acknowledgement) happens after the commit of the
event that orders it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from actors.orders import NOT_OFFERED, Science
from controller import events as ev
from controller.approval import waiting_lines
from controller.errors import Interrupted, LabNeedsPerson
from controller.estop import latched_message
from controller.journal import Journal
from controller.mailbox import Mailbox
from controller.optimal import make_schedule
from controller.safety import narrowed
from controller.state import (
    ChooseTask,
    CommandTask,
    PlanTask,
    ReturnTask,
    ScheduleTask,
    State,
    Task,
    TrainTask,
    choice_order,
    decide,
    evolve,
    next_deadline_s,
    training_order,
    trials_before,
)
from instruments.errors import CANNOT_RECORD, Fenced, InstrumentLost, OutcomeUnknown, Refused
from instruments.messages import Command, Report

TURN = 32
"""Outcomes taken at once: what follows from them is under way while the next are taken."""
QUIET_S = 0.02
"""How long something staged may wait for company before it is committed; commands never wait."""


STOP_ANSWERS_S = 8.0
"""How long after an emergency stop the loop waits for the table of who has confirmed it."""


_Outcome = tuple[Task | None, list[ev.Event] | BaseException]
"""What came of a task, or (None) what happened outside."""


class Hands(Protocol):
    """The controller's end of the laboratory network, as the loop uses it."""

    async def execute(self, instrument: str, command: Command) -> Report:
        """See one command through; equal ids are one act. Raises Refused, OutcomeUnknown, InstrumentLost."""
        ...

    async def returned(self, instrument: str) -> None:
        """Return once the host of an instrument is connected."""
        ...

    async def acknowledge(self, instrument: str, command_id: str) -> None:
        """The report is in the journal."""
        ...


@dataclass
class Overhead:
    """Seconds of the controller's own work: deciding, journalling and dispatching, apart from physics and models."""

    turns: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        """Count one turn of the loop."""
        self.turns.append(seconds)


class Loop:
    """Drives one campaign to its end, or to an orderly stop.

    Args:
        state: the fold of the journal so far.
        journal: where events go; the loop is its only writer.
        science: chooses and plans.
        hands: carries commands out.
        watch: called with the state after every turn (display); must be quick and must not change it.
        patient: wait for people's approvals, which somebody will ``post``; otherwise they are a reason to end.
    """

    def __init__(
        self,
        state: State,
        journal: Journal,
        science: Science,
        hands: Hands,
        *,
        watch: Callable[[State], None] = lambda state: None,
        patient: bool = False,
    ) -> None:
        self.state, self.journal, self.science, self.hands, self.watch = state, journal, science, hands, watch
        self.patient, self.overhead = patient, Overhead()
        self._outcomes = Mailbox[_Outcome]()
        self._running: dict[Task, asyncio.Task[None]] = {}
        self._unacknowledged: list[tuple[str, str]] = []
        self._clock0 = time.monotonic() - state.now_s
        self._stop_deadline = 0.0

    def post(self, *events: ev.Event) -> None:
        """Tell the loop what happened outside; for callbacks on the loop's own thread."""
        self._outcomes.put((None, list(events)))

    def fail(self, error: Exception) -> None:
        """End with an error from outside, once what has happened so far is on disk."""
        self._outcomes.put((None, error))

    async def run(self) -> None:
        """Run until the campaign is finished.

        Raises:
            Interrupted: after ``StopRequested``, once every step under way has been reported.
            LabNeedsPerson: nothing can go on without a person; the message says what to do.
            StorageError: the journal refused; nothing was sent that is not on disk.
        """
        try:
            while True:
                begin = time.perf_counter()
                wanted = self._wanted(self._settle())
                fresh = [task for task in wanted if task not in self._running]
                leaving = any(isinstance(task, CommandTask) for task in fresh)
                hopeful = any(not isinstance(task, ReturnTask) for task in wanted)
                if leaving or not hopeful or self.state.finished:
                    await self._make_durable()
                for task in fresh:
                    self._running[task] = asyncio.create_task(self._see_through(task))
                self.overhead.add(time.perf_counter() - begin)
                self.watch(self.state)
                if self.state.finished:
                    return
                idle = not hopeful and not self._outcomes
                if idle and not self._stop_is_being_answered() and not self._waits_for_people():
                    self._nothing_to_do()
                await self._take_outcomes()
        finally:
            for running in self._running.values():
                running.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _settle(self) -> tuple[Task, ...]:
        """Append every event that follows from the state; returns what should be under way then."""
        while True:
            plan = decide(self.state)
            if not plan.events:
                return plan.tasks
            self.append(plan.events)

    async def _make_durable(self) -> None:
        """Commit everything staged, then tell the hosts which reports they may forget."""
        self.journal.commit()
        durable, self._unacknowledged = self._unacknowledged, []
        for instrument, command_id in durable:
            await self.hands.acknowledge(instrument, command_id)

    def append(self, events: Sequence[ev.Event]) -> None:
        """Stage events and fold them; they are durable before anything is done about them."""
        self.journal.stage(events)
        for event in events:
            self.state = evolve(self.state, event)

    def _wanted(self, tasks: tuple[Task, ...]) -> list[Task]:
        if self.state.latched:
            # What was sent before the stop is waited for; nothing is sent after it.
            return [task for task in tasks if isinstance(task, CommandTask) and task in self._running]
        if self.state.stopping:
            # What the hands have begun is seen through; thinking can be done again.
            return [task for task in tasks if isinstance(task, CommandTask)]
        return list(tasks)

    def _stop_is_being_answered(self) -> bool:
        if self.state.latched is None or self.state.stop_answers is not None:
            return False
        self._stop_deadline = self._stop_deadline or time.monotonic() + STOP_ANSWERS_S
        left = self._stop_deadline - time.monotonic()
        if left > 0:
            asyncio.get_running_loop().call_later(left, self.post)
        return left > 0

    def _waits_for_people(self) -> bool:
        waiting = any(experiment.waits_for_people for experiment in self.state.active.values())
        return self.patient and waiting and not self.state.stopping and self.state.latched is None

    def now_s(self) -> float:
        """Seconds of running time since the campaign began, on the wall clock."""
        return time.monotonic() - self._clock0

    def _nothing_to_do(self) -> None:
        if self.state.latched is not None:
            raise LabNeedsPerson(latched_message(self.state))
        if self.state.stopping:
            raise Interrupted(f"stopped on request ({self.state.stopping}); everything is safe")
        unknown = self.state.unknown()
        if unknown:
            ids = ", ".join(f"{c.order.experiment} on {c.order.instrument} ({c.unknown})" for c in unknown)
            raise LabNeedsPerson(
                f"outcome unknown: {ids}. Look at the sample, then `athanor reconcile` with what you saw, "
                "then `athanor resume`."
            )
        if waiting := waiting_lines(self.state):
            raise LabNeedsPerson(
                f"{'; '.join(waiting)}. `athanor approve RUN EXPERIMENT --by NAME` or `athanor reject ...`, "
                "then `athanor resume`."
            )
        out = [f"{i.name}: {i.retired or i.absent}" for i in self.state.instruments.values() if not i.in_service]
        if out:
            names = "; ".join(out)
            raise LabNeedsPerson(f"out of service: {names}. Repair it, then `athanor resume`; no sample is lost.")
        waiting = sorted({s.capability for e in self.state.active.values() if (s := e.next_step) is not None})
        raise LabNeedsPerson(f"no instrument offers {', '.join(waiting) or 'anything'}: check lab.instruments.")

    async def _take_outcomes(self) -> None:
        """Wait for something to happen, then take what has, ``TURN`` outcomes at most.

        What is only staged meanwhile (a choice, a plan, a report that its host keeps until acknowledged) shares the
        commit of the next command, or gets its own after a moment of quiet.
        """
        if not await self._outcomes.arrival(QUIET_S):
            begin = time.perf_counter()
            await self._make_durable()
            self.overhead.turns[-1] += time.perf_counter() - begin
            await self._outcomes.arrival(self._patience_s())
        taken: list[_Outcome] = []
        while self._outcomes and len(taken) < TURN:
            taken.append(self._outcomes.take())
        for task, _ in taken:
            if task is not None:
                del self._running[task]  # not before: until its outcome is known it must not be begun again
        batch = [outcome for _, outcome in taken]
        for outcome in batch:
            if isinstance(outcome, BaseException):
                # Whatever else happened is worth keeping before giving up.
                for other in batch:
                    if not isinstance(other, BaseException):
                        self.append(other)
                self.journal.commit()
                raise outcome
        if self.state.require().lab.clock == "wall":
            self.append([ev.ClockRead(now_s=round(self.now_s(), 3))])
        for outcome in batch:
            if not isinstance(outcome, BaseException):
                self._note_reports(outcome)
                self.append(outcome)
                if any(isinstance(event, ev.StopLatched) for event in outcome):
                    self.journal.commit()

    def _patience_s(self) -> float | None:
        """How long nothing may happen: on the wall clock until a sample or a person has let a deadline pass."""
        left_s = next_deadline_s(self.state) - self.now_s()
        if self.state.require().lab.clock == "simulated" or left_s == math.inf:
            return None
        return max(0.0, left_s) + QUIET_S

    def _note_reports(self, outcome: list[ev.Event]) -> None:
        """Remember to acknowledge reports, which may be done only once they are committed."""
        for event in outcome:
            if isinstance(event, ev.CommandReported) and event.status != "refused":
                command = self.state.commands.get(event.command_id)
                if command is not None:
                    self._unacknowledged.append((command.order.instrument, event.command_id))

    async def _see_through(self, task: Task) -> None:
        try:
            if isinstance(task, ChooseTask):
                outcome = await self._choose(task)
            elif isinstance(task, PlanTask):
                outcome = await self._plan(task)
            elif isinstance(task, TrainTask):
                order = training_order(self.state, task.n_observations)
                outcome = ev.ModelTrained(report=await self.science.train(order))
            elif isinstance(task, ScheduleTask):
                outcome = await self._schedule(task)
            elif isinstance(task, ReturnTask):
                await self.hands.returned(task.instrument)
                outcome = ev.BackInService(instrument=task.instrument)
            else:
                outcome = await self._command(task)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._outcomes.put((task, error))
        else:
            self._outcomes.put((task, [outcome]))

    async def _choose(self, task: ChooseTask) -> ev.Event:
        order = self.state.choosing
        if order is None or order.decision != task.decision:
            raise RuntimeError(f"decision {task.decision} is not outstanding")
        begin = time.perf_counter()
        answer = await self.science.choose(choice_order(self.state, order))
        seconds = round(time.perf_counter() - begin, 4)
        return ev.ChoiceMade(decision=order.decision, seconds=seconds, **dict(answer))

    async def _plan(self, task: PlanTask) -> ev.Event:
        experiment = self.state.experiments[task.experiment]
        offers = narrowed(self.state.require().safety, self.state.offers())
        if getattr(self.science, "learns", False):
            recipe = await self.science.plan(experiment.candidate, offers, trials_before(self.state, experiment))
        else:
            recipe = await self.science.plan(experiment.candidate, offers)
        if not recipe.steps and recipe.reason.startswith(NOT_OFFERED):
            raise LabNeedsPerson(f"{recipe.reason}: add the instrument under lab.instruments, or name another planner.")
        return ev.RecipePlanned(experiment=experiment.id, recipe=recipe)

    async def _schedule(self, task: ScheduleTask) -> ev.Event:
        problem = self.state.scheduling
        if problem is None or problem.number != task.schedule:
            raise RuntimeError(f"schedule {task.schedule} is not outstanding")
        return await asyncio.to_thread(make_schedule, problem)

    async def _command(self, task: CommandTask) -> ev.Event:
        order = self.state.commands[task.command_id].order
        experiment = self.state.experiments[order.experiment]
        step = experiment.next_step
        if step is None:
            raise RuntimeError(f"{order.command_id} has no step")
        command = Command(
            command_id=order.command_id,
            experiment=experiment.id,
            step=order.step,
            attempt=order.attempt,
            capability=step.capability,
            sample=self.state.sample(experiment.id),
            parameters=step.parameters,
            seed=order.seed,
            batch=order.batch,
        )
        try:
            report = await self.hands.execute(order.instrument, command)
        except Fenced:
            raise
        except Refused as error:
            if CANNOT_RECORD in str(error):  # about the host's disk, not about the command: it waits for its turn
                return ev.OutOfService(instrument=order.instrument, reason=str(error), returns=False)
            return ev.CommandReported(command_id=order.command_id, status="refused", message=str(error))
        except OutcomeUnknown as error:
            return ev.OutcomeUnknown(command_id=order.command_id, evidence=str(error), facts=error.facts)
        except InstrumentLost as error:  # the command waits for its host, which answers from its ledger
            return ev.OutOfService(instrument=order.instrument, reason=str(error))
        arrays = {
            header.name: self.journal.stage_blob(frame, header.dtype, header.shape)
            for header, frame in zip(report.arrays, report.frames, strict=True)
        }
        return ev.CommandReported(
            command_id=order.command_id,
            status=report.status,
            readings=report.readings,
            arrays=arrays,
            duration_s=report.duration_s,
            message=report.message,
            stopped=report.stopped,
        )
