"""What follows from a state: the events to append now, else the tasks to keep under way.

The rules stand in the order in which they are asked; each returns what follows now, or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from actors.orders import ChoiceOrder, TrainingOrder
from controller import events as ev
from controller.campaign import Campaign
from controller.gate import judge
from controller.ordering import Turn, derive_seed, finished, order_again
from controller.outlook import hours_taken, outlook
from controller.records import Command, Experiment, State
from controller.schedule import order_by_schedule, order_schedule
from controller.stopping import Ending
from controller.tasks import ChooseTask, ScheduleTask, Task, TrainTask
from models.route import Operation
from models.synthesis.trial import Trial

ASKED_AHEAD = 4
"""Recipes that may wait for people before nothing more is chosen: the lab goes on, and does not choose blindly."""


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
    observations = state.observations[: order.n_observations]
    if order.outlook is not None:
        observations = [o.model_copy(update={"hours": hours_taken(state, o.experiment)}) for o in observations]
    return ChoiceOrder(
        decision=order.decision,
        q=order.q,
        seed=order.seed,
        observations=tuple(observations),
        pending=tuple(state.experiments[name].candidate for name in order.pending),
        outlook=order.outlook,
        trained_on=order.trained_on,
        model=next((t.serving for t in state.trainings if t.n_observations == order.trained_on), ""),
    )


def training_order(state: State, n_observations: int) -> TrainingOrder:
    """The self-contained order that a ``TrainingOrdered`` event stands for."""
    return TrainingOrder(observations=tuple(state.observations[:n_observations]))


def trials_before(state: State, experiment: Experiment) -> tuple[Trial, ...]:
    """What a planner that learns is told of an experiment's predecessors: all that was known when it was chosen."""
    found = []
    for observation in state.observations[: experiment.known]:
        one = state.experiments[observation.experiment]
        steps = one.recipe.steps if one.recipe else ()
        found.append(
            Trial(
                experiment=one.id,
                candidate=one.candidate,
                precursors_g=one.recipe.precursors_g if one.recipe else {},
                operations=tuple(
                    Operation(capability=step.capability, parameters=step.parameters, quantities=step.quantities)
                    for step in steps
                ),
                readings=one.readings,
                outcome=observation.outcome,
            )
        )
    return tuple(found)


def _decisions(state: State) -> Sequence[ev.AnyDecision]:
    campaign = state.require()
    rules = (
        _policy,
        _returned,
        _step_ends_now,
        _waits_end,
        _experiment_ends,
        _retire,
        _order_commands,
        _order_training,
        _order_choice,
    )
    for rule in rules:
        events = rule(state, campaign)
        if events:
            return events
    if state.choosing or state.filing.unplanned or state.scheduling:
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
    """A command that provably did nothing takes no time and is ordered again.

    An act of which no member was touched is ordered again as it was, at once: nothing else may come between, so that a
    campaign goes on as it would have without the mishap.
    """
    events: list[ev.AnyDecision] = []
    for command in state.filing.reported.values():
        if command.report is None or not _did_nothing(command, command.report):
            continue
        act = _act(state, command)
        if any(member.order.command_id in state.filing.under_way for member in act):
            continue  # the others of its act have not said yet
        again = order_again(state, [member.order for member in act]) if _untouched(act) else []
        if again and command is not act[0]:
            continue  # dealt with beside the first of its act
        events += [
            ev.StepFinished(
                command_id=member.order.command_id,
                finish_s=member.order.start_s,
                verdict="order_again",
                reason=member.report.message if member.report else "",
                at_once=bool(again),
            )
            for member in (act if again else [command])
        ]
        events += again
    return events


def _act(state: State, command: Command) -> list[Command]:
    """Everything that is known of the physical act that a command belongs to."""
    return [
        state.commands[name] for name in command.order.batch or (command.order.command_id,) if name in state.commands
    ]


def _untouched(act: list[Command]) -> bool:
    """True where every member of an act says that nothing happened to it."""
    whole = len(act) == (len(act[0].order.batch) or 1)
    return whole and all(member.report is not None and member.report.status == "untouched" for member in act)


def _did_nothing(command: Command, report: ev.CommandReported) -> bool:
    """Untouched, or refused with its whole batch: one member of it may be to blame, so each goes alone."""
    return report.status == "untouched" or (report.status == "refused" and bool(command.order.batch))


def _step_ends_now(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    if campaign.lab.clock == "simulated":
        return []
    return [_judged(state, command) for command in state.filing.reported.values()]


def _simulated_step_ends(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """Advance simulated time to the earliest end, once every running instrument has said how long it takes."""
    if campaign.lab.clock != "simulated":
        return []
    running = state.filing.reported.values()
    if not running or state.filing.under_way:
        return []
    return [
        _judged(state, min(running, key=lambda c: (_finish_s(state, c), state.experiments[c.order.experiment].number)))
    ]


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


def _waits_end(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """A recipe that nobody has approved in time; a sample that has waited too long between two steps."""
    return [event for deadline_s, event in _waits(state) if deadline_s < state.now_s]


def _simulated_wait_ends(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """In simulated time nobody waits for people: where nothing runs, it is the earliest deadline at once."""
    if campaign.lab.clock != "simulated" or state.filing.under_way:
        return []
    return [event for _, event in sorted(_waits(state), key=lambda wait: wait[0])][:1]


def next_deadline_s(state: State) -> float:
    """The lab time after which something ends that only waits; infinite where nothing does."""
    return min((deadline_s for deadline_s, _ in _waits(state)), default=math.inf)


def _waits(state: State) -> list[tuple[float, ev.ApprovalExpired | ev.SampleExpired]]:
    """(deadline, what happens then) of everything that waits."""
    found: list[tuple[float, ev.ApprovalExpired | ev.SampleExpired]] = []
    for name, experiment in state.filing.asking.items():
        if experiment.approval and (deadline_s := experiment.approval.deadline_s) is not None:
            found.append((deadline_s, ev.ApprovalExpired(experiment=name, at_s=deadline_s)))
    for due_s, _, name in state.filing.due:
        at_s, since_s = max(due_s, state.now_s), state.experiments[name].held_since_s
        waited_h, most_h = (at_s - since_s) / 3600, (due_s - since_s) / 3600
        reason = f"expired: waited {waited_h:.3g} h, at most {most_h:.3g} h"
        found.append((due_s, ev.SampleExpired(experiment=name, at_s=at_s, reason=reason)))
    return found


def _experiment_ends(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    over = sorted(state.filing.over.values(), key=lambda experiment: experiment.number)
    return [finished(state, experiment, *_end_of(experiment)) for experiment in over]


def _end_of(experiment: Experiment) -> tuple[str, str]:
    if experiment.ended:
        return experiment.ended
    if experiment.recipe is not None and not experiment.recipe.steps:
        return "failed_measurement", f"no recipe: {experiment.recipe.reason}"
    return "measured", ""


def _retire(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """The circuit breaker: too many faults in a row, or a host that comes and goes."""
    found: list[ev.AnyDecision] = []
    for name in sorted(state.filing.troubled):
        instrument = state.instruments[name]
        if instrument.retired:
            continue
        if instrument.faults >= campaign.lab.max_faults:
            found.append(ev.InstrumentRetired(instrument=name, reason=f"{instrument.faults} faults in a row"))
        elif instrument.losses >= campaign.lab.max_faults:
            reason = f"lost {instrument.losses} times, last: {instrument.absent or 'it has come back'}"
            found.append(ev.InstrumentRetired(instrument=name, reason=reason))
    return found


def _order_commands(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """Give the free instruments to those who wait for them."""
    filing = state.filing
    if state.stopping or state.latched or not filing.waiting.keys() & filing.idle.keys():
        return []
    if campaign.lab.clock == "simulated" and filing.unplanned:
        # In simulated time a plan takes no time, so it is waited for: the order of events must not hang on the wall
        # clock.
        return []
    if events := order_schedule(state):
        return events
    if campaign.lab.clock == "simulated" and state.scheduling is not None:
        return []
    turn = Turn(state)
    order_by_schedule(state, turn)
    return turn.events


def _order_training(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    """One training after the other, as far as there are results, while somebody will use what comes of it."""
    if campaign.trainer is None or state.training or state.stopping or state.latched:
        return []
    wanted = state.trained_on + campaign.trainer.every
    waited_for = state.choosing is not None and (state.choosing.trained_on or 0) >= wanted
    if wanted > len(state.observations) or not (waited_for or _more_to_choose(state, campaign)):
        return []
    return [ev.TrainingOrdered(n_observations=wanted)]


def _more_to_choose(state: State, campaign: Campaign) -> bool:
    ending = state.ending or state.exhausted or state.capped or _out_of_time(state, campaign)
    return not ending and len(state.experiments) < campaign.budget.experiments


def _order_choice(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    if state.choosing or state.stopping or state.latched or not _more_to_choose(state, campaign):
        return []
    left = campaign.budget.experiments - len(state.experiments)
    asked = len(state.filing.asking)
    waiting = len(state.filing.unstarted) - asked
    if waiting >= campaign.lab.queue or asked >= ASKED_AHEAD or not state.instruments:
        return []
    number = state.decisions + 1
    return [
        ev.ChoiceOrdered(
            decision=number,
            q=min(campaign.batch, left),
            seed=derive_seed(campaign.seed, "choice", number),
            n_observations=len(state.observations),
            pending=tuple(state.active),
            outlook=outlook(state),
            trained_on=campaign.trainer.bound_to(len(state.observations)) if campaign.trainer else None,
        )
    ]


def _out_of_time(state: State, campaign: Campaign) -> bool:
    return campaign.budget.hours is not None and state.now_s >= campaign.budget.hours * 3600


def _campaign_ends(state: State, campaign: Campaign) -> Sequence[ev.AnyDecision]:
    if state.active or state.stopping or state.latched:
        return []
    ending = _ending(state, campaign)
    return [ev.CampaignFinished(rule=ending[0], reason=ending[1], finish_s=state.now_s)] if ending else []


def _ending(state: State, campaign: Campaign) -> Ending | None:
    """The rule that ends the campaign, and in words."""
    if state.ending is not None:
        return state.ending
    if len(state.experiments) >= campaign.budget.experiments:
        return "budget", f"{len(state.experiments)} experiments done"
    if state.exhausted:
        reason = (
            "nothing is left to be tried" if state.exhausted_for_now else "every candidate of the space has been tried"
        )
        return "exhausted", reason
    if state.capped:
        return "cap", state.capped
    if _out_of_time(state, campaign):
        return "hours", f"{campaign.budget.hours:g} hours of lab time used"
    return None


def _tasks(state: State) -> tuple[Task, ...]:
    filing = state.filing
    tasks: list[Task] = [*filing.under_way.values(), *filing.absent.values(), *filing.unplanned.values()]
    if state.scheduling is not None:
        tasks.append(ScheduleTask(state.scheduling.number))
    if state.training:
        tasks.append(TrainTask(state.training))
    if state.choosing is not None and (state.choosing.trained_on or 0) <= state.trained_on:
        tasks.append(ChooseTask(state.choosing.decision))
    return tuple(tasks)
