"""What follows from a state: the events to append now, else the tasks to keep under way.

The rules stand in the order in which they are asked; each returns what follows now, or nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from actors.orders import ChoiceOrder, Step
from controller import events as ev
from controller.campaign import Campaign
from controller.gate import judge
from controller.records import Command, Experiment, State
from controller.safety import breaches
from instruments.messages import command_id
from models.outcome import evaluate

ASKED_AHEAD = 4
"""Recipes that may wait for people before nothing more is chosen: the lab goes on, and does not choose blindly."""


@dataclass(frozen=True)
class ChooseTask:
    """Have the science answer the outstanding choice order."""

    decision: int


@dataclass(frozen=True)
class PlanTask:
    """Have the science plan an experiment."""

    experiment: str


@dataclass(frozen=True)
class CommandTask:
    """See a command through: send it, or ask what became of it."""

    command_id: str


Task = ChooseTask | PlanTask | CommandTask


@dataclass(frozen=True)
class Plan:
    """What follows from a state: events to append now, else the tasks to keep under way."""

    events: tuple[ev.AnyDecision, ...] = ()
    tasks: tuple[Task, ...] = ()


def decide(state: State) -> Plan:
    """Return what follows from the state."""
    if state.campaign is None or state.finished:
        return Plan()
    events = _decisions(state)
    return Plan(events=tuple(events)) if events else Plan(tasks=_tasks(state))


def choice_order(state: State, order: ev.ChoiceOrdered) -> ChoiceOrder:
    """The self-contained order that a ``ChoiceOrdered`` event stands for."""
    return ChoiceOrder(
        decision=order.decision,
        q=order.q,
        seed=order.seed,
        observations=tuple(state.observations[: order.n_observations]),
        pending=tuple(state.experiments[name].candidate for name in order.pending),
    )


def derive_seed(*parts: object) -> int:
    """A 31-bit seed that depends on all parts and on nothing else."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1


def _decisions(state: State) -> Sequence[ev.AnyDecision]:
    campaign = state.require()
    rules = (
        _policy,
        _returned,
        _step_ends_now,
        _approval_ends,
        _experiment_ends,
        _retire,
        _order_commands,
        _order_choice,
    )
    for rule in rules:
        events = rule(state, campaign)
        if events:
            return events
    if state.choosing or _unplanned(state):
        return []
    for rule in (_simulated_step_ends, _simulated_wait_ends, _campaign_ends):
        events = rule(state, campaign)
        if events:
            return events
    return []


def _policy(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """The lab's verdict on what is unknown, where it has one; after an emergency stop a person must look."""
    verdicts = campaign.lab.policies.unknown
    if not verdicts or state.latched:
        return []
    found: list[ev.AnyDecision] = []
    for command in state.unknown():
        step = state.experiments[command.order.experiment].next_step
        if step is not None and step.idempotent and step.capability in verdicts:
            verdict, reason = verdicts[step.capability], f"policies.unknown.{step.capability} of the lab"
            found.append(
                ev.Reconciled(command_id=command.order.command_id, verdict=verdict, by=ev.POLICY, reason=reason)
            )
    return found


def _returned(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """A command that provably did nothing takes no time and is ordered again."""
    return [
        ev.StepFinished(
            command_id=name, finish_s=command.order.start_s, verdict="order_again", reason=command.report.message
        )
        for name, command in state.commands.items()
        if command.report is not None and command.report.status == "untouched"
    ][:1]


def _step_ends_now(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    if campaign.lab.clock == "simulated":
        return []
    return [_judged(state, command) for command in state.commands.values() if command.report is not None][:1]


def _simulated_step_ends(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """Advance simulated time to the earliest end, once every running instrument has said how long it takes."""
    if campaign.lab.clock != "simulated":
        return []
    running = [command for command in state.commands.values() if not command.unknown or command.report is not None]
    if not running or any(command.report is None for command in running):
        return []
    return [_judged(state, min(running, key=lambda c: (_finish_s(state, c), c.order.experiment)))]


def _finish_s(state: State, command: Command) -> float:
    """When a reported command ended: as the instrument says in simulated time, as the clock says otherwise."""
    if state.require().lab.clock == "wall":
        return max(command.order.start_s, state.now_s)
    duration = command.report.duration_s if command.report else 0.0
    return command.order.start_s + max(0.0, duration)


def _judged(state: State, command: Command) -> ev.StepFinished:
    report, order = command.report, command.order
    experiment = state.experiments[order.experiment]
    step = experiment.next_step
    if report is None or step is None:
        raise RuntimeError(f"{order.command_id} is not under way")
    judgement = judge(step, report.status, report.readings, report.message)
    verdict: ev.StepVerdict = judgement.verdict
    again = step.idempotent and report.status != "refused"
    if verdict == "failed_measurement" and again and order.round < state.require().lab.max_rounds:
        verdict = "measure_again"
    return ev.StepFinished(
        command_id=order.command_id, finish_s=_finish_s(state, command), verdict=verdict, reason=judgement.reason
    )


def _approval_ends(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """A recipe that nobody has approved in time, where the campaign says that this rejects it."""
    return [event for event in _expiring(state) if event.at_s <= state.now_s][:1]


def _simulated_wait_ends(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """In simulated time nobody waits for people: where nothing runs, it is the earliest deadline at once."""
    if campaign.lab.clock != "simulated" or any(c.report is None and not c.unknown for c in state.commands.values()):
        return []
    return sorted(_expiring(state), key=lambda event: event.at_s)[:1]


def _expiring(state: State) -> list[ev.ApprovalExpired]:
    return [
        ev.ApprovalExpired(experiment=name, at_s=experiment.approval.deadline_s)
        for name, experiment in state.active.items()
        if experiment.waits_for_people and experiment.approval and experiment.approval.deadline_s is not None
    ]


def _experiment_ends(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    for experiment in state.active.values():
        end = _end_of(experiment) or _unsafe(campaign, experiment)
        if end:
            outcome, reason = end
            values = evaluate(campaign.objectives, campaign.constraints, experiment.candidate, experiment.readings)
            if outcome == "failed_synthesis":  # what was measured is a property of something else
                lost = {o.name for o in campaign.objectives if o.source != "computed"}
                values = {name: value for name, value in values.items() if name not in lost}
            if outcome == "measured":
                missing = [o.name for o in campaign.objectives if o.name not in values]
                if missing:
                    outcome, reason = "failed_measurement", f"{', '.join(missing)} was not measured by any step"
            return [ev.ExperimentFinished(experiment=experiment.id, outcome=outcome, values=values, reason=reason)]  # type: ignore[arg-type]
    return []


def _unsafe(campaign: Campaign, experiment: Experiment) -> tuple[str, str] | None:
    """The envelope once more before a step is ordered, whatever let the recipe pass."""
    step = experiment.next_step
    if step is None or experiment.command_id:
        return None
    found = breaches(campaign.safety, step)
    reason = f"not safe, step {experiment.step + 1} not sent: {'; '.join(found)}"
    return ("failed_measurement", reason) if found else None


def _end_of(experiment: Experiment) -> tuple[str, str] | None:
    if experiment.ended:
        return experiment.ended
    if experiment.recipe is None or experiment.command_id:
        return None
    if not experiment.recipe.steps:
        return "failed_measurement", f"no recipe: {experiment.recipe.reason}"
    return ("measured", "") if experiment.step >= len(experiment.recipe.steps) else None


def _retire(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    return [
        ev.InstrumentRetired(instrument=name, reason=f"{instrument.faults} faults in a row")
        for name, instrument in sorted(state.instruments.items())
        if instrument.faults >= campaign.lab.max_faults and not instrument.retired
    ]


def _order_commands(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """Give every free instrument the first experiment that needs it, in the order of choice."""
    if state.stopping or state.latched or (campaign.lab.clock == "simulated" and _unplanned(state)):
        # In simulated time a plan takes no time, so it is waited for: the order of events must not hang on the wall
        # clock.
        return []
    events: list[ev.AnyDecision] = []
    taken: set[str] = set()
    for experiment in state.active.values():
        step = experiment.next_step
        if step is None or experiment.command_id or experiment.waits_for_people:
            continue
        name = next(
            (name for name in sorted(state.instruments) if name not in taken and _usable(state, name, step)),
            None,
        )
        if name is None:
            continue
        taken.add(name)
        events.append(_order(state, campaign, experiment, name))
    return events


def _usable(state: State, name: str, step: Step) -> bool:
    instrument = state.instruments[name]
    return not instrument.busy and not instrument.retired and state.may_take(name, step)


def _order(state: State, campaign: Campaign, experiment: Experiment, instrument: str) -> ev.CommandOrdered:
    run_id = state.started.run_id if state.started else ""
    return ev.CommandOrdered(
        command_id=command_id(run_id, experiment.id, experiment.step, experiment.attempt),
        experiment=experiment.id,
        step=experiment.step,
        round=experiment.round,
        attempt=experiment.attempt,
        instrument=instrument,
        start_s=state.now_s,
        # Neither the run nor the attempt is in the seed: a repeated simulated act is the same act.
        seed=derive_seed(campaign.seed, experiment.id, experiment.step, experiment.round),
    )


def _order_choice(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    ending = state.stopping or state.latched or state.exhausted or state.capped or _out_of_time(state, campaign)
    if state.choosing or ending:
        return []
    left = campaign.budget.experiments - len(state.experiments)
    asked = sum(experiment.waits_for_people for experiment in state.active.values())
    waiting = sum(experiment.waiting_to_start for experiment in state.active.values()) - asked
    if left <= 0 or waiting >= campaign.lab.queue or asked >= ASKED_AHEAD or not state.instruments:
        return []
    number = state.decisions + 1
    return [
        ev.ChoiceOrdered(
            decision=number,
            q=min(campaign.batch, left),
            seed=derive_seed(campaign.seed, "choice", number),
            n_observations=len(state.observations),
            pending=tuple(state.active),
        )
    ]


def _out_of_time(state: State, campaign: Campaign) -> bool:
    return campaign.budget.hours is not None and state.now_s >= campaign.budget.hours * 3600


def _campaign_ends(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    if state.active or state.stopping or state.latched:
        return []
    if len(state.experiments) >= campaign.budget.experiments:
        reason = f"{len(state.experiments)} experiments done"
    elif state.exhausted:
        reason = "every candidate of the space has been tried"
    elif state.capped:
        reason = state.capped
    elif _out_of_time(state, campaign):
        reason = f"{campaign.budget.hours:g} hours of lab time used"
    else:
        return []
    return [ev.CampaignFinished(reason=reason, finish_s=state.now_s)]


def _unplanned(state: State) -> list[str]:
    return [name for name, experiment in state.active.items() if experiment.recipe is None and not experiment.ended]


def _tasks(state: State) -> tuple[Task, ...]:
    tasks: list[Task] = [CommandTask(n) for n, c in state.commands.items() if c.report is None and not c.unknown]
    tasks += [PlanTask(name) for name in _unplanned(state)]
    if state.choosing:
        tasks.append(ChooseTask(state.choosing.decision))
    return tuple(tasks)
