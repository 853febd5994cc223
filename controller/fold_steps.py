"""The fold, second part: what becomes of commands, and of experiments step by step."""

from __future__ import annotations

import math
from typing import Any

from controller import events as ev
from controller import samples, schedule
from controller.durations import note_duration
from controller.records import Command, Experiment, State, StepRecord

FORGIVEN_AFTER = 10
"""Acts that an instrument must do without a loss before its earlier losses no longer count."""


def command_ordered(state: State, event: ev.CommandOrdered) -> None:
    """The instrument has work, and the experiment's next step is under way."""
    command = state.commands[event.command_id] = Command(event)
    experiment, instrument = state.experiments[event.experiment], state.instruments[event.instrument]
    experiment.command_id, experiment.ordered = event.command_id, True
    instrument.running[event.command_id] = None
    step = experiment.next_step
    samples.place(state, experiment, event.position, f"step {event.step + 1}: {step.capability if step else ''}")
    schedule.note_order(state, event)
    state.filing.experiment(experiment)
    state.filing.command(command, instrument)
    state.filing.instrument(instrument)


def command_reported(state: State, event: ev.CommandReported) -> None:
    """Keep the report; a stop that came amid the act makes it an unknown outcome."""
    command = state.commands.get(event.command_id)
    if command is None or command.report is not None:
        return
    if event.stopped and event.status != "untouched":
        # Neither a result nor a failure of the chemistry: a person must look at the sample.
        read = "".join(f", {name} = {value:g}" for name, value in event.readings.items())
        said = f": {event.message}" if event.message else ""
        _quarantine(state, command, f"stopped amid the act; the driver reported {event.status}{read}{said}")
    elif event.status == "refused" and state.latched:
        command.report = event.model_copy(update={"status": "untouched"})  # only the moment was wrong
    else:
        command.report = event
    state.filing.command(command, state.instruments[command.order.instrument])


def outcome_unknown(state: State, event: ev.OutcomeUnknown) -> None:
    """The sample waits for a verdict, with the evidence that there is."""
    command = state.commands.get(event.command_id)
    if command is not None:
        _quarantine(state, command, event.evidence, event.facts)


def _quarantine(state: State, command: Command, evidence: str, facts: dict[str, Any] | None = None) -> None:
    command.unknown, command.facts = evidence, facts or {}
    # The sample waits for a verdict; the instrument answers again, so others may use it.
    instrument = state.instruments[command.order.instrument]
    instrument.running.pop(command.order.command_id, None)
    state.filing.command(command, instrument)
    state.filing.instrument(instrument)
    schedule.drop(state)


def reconciled(state: State, event: ev.Reconciled) -> None:
    """A person, or a policy, has said what came of a command."""
    command = state.commands.get(event.command_id)
    if command is None or command.report is not None:
        return
    if event.verdict == "discard":
        _release(state, command)
        end(state, state.experiments[command.order.experiment], f"discarded by {event.by}")
        return
    statuses: dict[str, ev.ReportStatus] = {"done": "ok", "failed": "failed", "repeat": "untouched"}
    message = f"{event.verdict} by {event.by}: {event.reason}"
    command.report = ev.CommandReported(
        command_id=event.command_id,
        status=statuses[event.verdict],
        readings=event.readings,
        message=message,
    )
    state.filing.command(command, state.instruments[command.order.instrument])
    state.news = True


def _release(state: State, command: Command) -> None:
    order = command.order
    del state.commands[order.command_id]
    state.experiments[order.experiment].command_id = ""
    instrument = state.instruments[order.instrument]
    instrument.running.pop(order.command_id, None)
    state.filing.command_over(order.command_id)
    state.filing.instrument(instrument)


def step_finished(state: State, event: ev.StepFinished) -> None:
    """The controller has judged a report: the step is over, or is ordered again."""
    command = state.commands[event.command_id]
    experiment = state.experiments[command.order.experiment]
    _release(state, command)
    if event.verdict != "accepted" and not event.at_once:
        schedule.drop(state)
    if event.verdict == "order_again":
        experiment.attempt += 1
        experiment.alone = experiment.alone or bool(command.report and command.report.status == "refused")
    else:
        _take_verdict(state, event, command, experiment)
    state.filing.experiment(experiment)


def _take_verdict(state: State, event: ev.StepFinished, command: Command, experiment: Experiment) -> None:
    order, report = command.order, command.report
    instrument = state.instruments[order.instrument]
    state.now_s = max(state.now_s, event.finish_s)
    if not any(other in state.commands for other in order.batch):  # one act, counted once
        instrument.busy_s += event.finish_s - order.start_s
        instrument.steady += 1
        if instrument.steady >= FORGIVEN_AFTER:
            instrument.losses = 0
    readings = dict(report.readings) if report else {}
    experiment.records.append(
        StepRecord(
            step=order.step,
            instrument=order.instrument,
            start_s=order.start_s,
            finish_s=event.finish_s,
            verdict=event.verdict,
            reason=event.reason,
            readings=readings,
            arrays=dict(report.arrays) if report else {},
            command_id=event.command_id,
        )
    )
    if event.verdict == "fault":
        instrument.faults += instrument.faulty_act != command.act
        instrument.faulty_act = command.act
    elif instrument.faulty_act != command.act:
        instrument.faults = 0
    state.filing.instrument(instrument)
    experiment.due_s = math.inf
    if event.verdict == "accepted":
        _note_time(state, event, command, experiment)
        experiment.readings.update(readings)
        experiment.step, experiment.round, experiment.attempt = experiment.step + 1, 1, 0
        experiment.alone = False
        experiment.ended = _violated(state, experiment)
    elif event.verdict == "measure_again" or (event.verdict == "fault" and _may_repeat(state, experiment, order)):
        experiment.round += 1
        experiment.attempt += 1
    elif event.verdict == "failed_synthesis":
        experiment.ended = ("failed_synthesis", event.reason)
    else:
        experiment.ended = ("failed_measurement", event.reason)


def _note_time(state: State, event: ev.StepFinished, command: Command, experiment: Experiment) -> None:
    """What the step took, and the holding time that begins with its end."""
    step, hold_s, stated_s = experiment.next_step, experiment.hold_s, command.report.duration_s if command.report else 0
    took_s = event.finish_s - command.order.start_s
    if step is not None:
        note_duration(state, step, stated_s if command.away_s and stated_s else took_s)
    if hold_s is not None:
        # Reported to a controller that had been away: the sample has been lying there since.
        lain_s = min(command.away_s, max(0.0, took_s + command.away_s - stated_s)) if command.away_s else 0.0
        experiment.held_since_s = event.finish_s - lain_s
        experiment.due_s = experiment.held_since_s + hold_s


def _may_repeat(state: State, experiment: Experiment, order: ev.CommandOrdered) -> bool:
    step = experiment.next_step
    return step is not None and step.idempotent and order.round < state.require().lab.max_rounds


def _violated(state: State, experiment: Experiment) -> tuple[str, str] | None:
    """A sample that misses a constraint is a failed synthesis, and its remaining steps are skipped.

    A recipe of one step makes and measures at once: there a missed constraint is a result like any other.
    """
    campaign = state.require()
    steps = experiment.recipe.steps if experiment.recipe else ()
    if not campaign.lab.stop_failed_synthesis or len(steps) < 2:
        return None
    for constraint in campaign.constraints:
        value = experiment.readings.get(constraint.name)
        if value is not None and not constraint.satisfied(value):
            bound = f">= {constraint.at_least:g}" if constraint.at_least is not None else f"<= {constraint.at_most:g}"
            return "failed_synthesis", f"{constraint.name} = {value:.3g}, wanted {bound}"
    return None


def end(state: State, experiment: Experiment, reason: str) -> None:
    """An experiment ends here, with nothing measured."""
    experiment.ended = ("failed_measurement", reason)
    state.filing.experiment(experiment)
