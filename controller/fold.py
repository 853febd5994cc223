"""The fold: one handler a kind of event."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from controller import events as ev
from controller import samples, schedule, stopping
from controller.campaign import parse_campaign
from controller.durations import note_duration
from controller.records import Approval, Command, Experiment, InstrumentState, State, StepRecord
from controller.safety import (
    Amounts,
    ApprovalRule,
    amounts,
    breaches,
    forbidden_use,
    needs_approval,
    over_the_cap,
    person,
    unpriced,
)
from models.observation import Observation

FORGIVEN_AFTER = 10
"""Acts that an instrument must do without a loss before its earlier losses no longer count."""


def evolve(state: State, event: ev.Event) -> State:
    """Fold one event into the state. The argument is consumed: use the returned value."""
    _HANDLERS[type(event)](state, event)
    return state


def _campaign_started(state: State, event: ev.CampaignStarted) -> None:
    state.started = event
    read_campaign(state, event.lab_text)


def _lab_changed(state: State, event: ev.LabChanged) -> None:
    read_campaign(state, event.lab_text)


def read_campaign(state: State, lab_text: str) -> None:
    """Read the campaign that the run began with, in the lab that ``lab_text`` describes."""
    started = state.started
    if started is None:
        return
    state.lab_text, state.offers_kept = lab_text, None
    state.campaign = parse_campaign(
        started.text,
        str(Path(started.base_dir) / "campaign.yaml"),
        seed=started.seed,
        budget=started.budget,
        lab_text=lab_text,
        lab_where=started.lab_file,
    )


def _controller_started(state: State, event: ev.ControllerStarted) -> None:
    state.epoch = event.epoch
    state.stopping = ""
    for instrument in state.instruments.values():
        if not instrument.in_service:
            schedule.drop(state)
        instrument.faults, instrument.faulty_act, instrument.losses, instrument.steady = 0, "", 0, 0
        instrument.retired = instrument.absent = ""
        _reach_changed(state, instrument)
    if state.campaign is not None and state.campaign.lab.clock == "wall" and event.away_s:
        _time_went_on(state, event.away_s)


def _time_went_on(state: State, away_s: float) -> None:
    """Lab time stands still without a controller; what lies in the lab does not."""
    for experiment in state.active.values():
        if experiment.due_s < math.inf:
            experiment.due_s, experiment.held_since_s = experiment.due_s - away_s, experiment.held_since_s - away_s
            state.filing.experiment(experiment)
    for command in state.commands.values():
        command.away_s += away_s


def _instrument_announced(state: State, event: ev.InstrumentAnnounced) -> None:
    instrument = state.instruments.setdefault(event.instrument, InstrumentState(event.instrument))
    instrument.driver = event.driver
    instrument.offers = {offer.capability: offer for offer in event.offers}
    state.offers_kept = None
    state.filing.offers(state)
    state.news = True


def _choice_ordered(state: State, event: ev.ChoiceOrdered) -> None:
    state.choosing = event
    state.decisions = event.decision


def _choice_made(state: State, event: ev.ChoiceMade) -> None:
    known = state.choosing.n_observations if state.choosing is not None else len(state.observations)
    state.choosing = None
    state.stages = event.stages
    state.choose_seconds.append(event.seconds)
    state.exhausted_for_now = not event.choices and event.waits
    state.exhausted = not event.choices and not (event.waits and len(state.observations) > known)
    state.prospects = event.prospects
    if event.fallbacks:
        state.fallbacks.append((event.decision, "; ".join(event.fallbacks)))
    stopping.after_choice(state, event)
    if state.ending is not None:
        return  # what was chosen meanwhile is not begun
    for place, choice in enumerate(event.choices):
        experiment = Experiment(f"E{len(state.experiments) + 1:04d}", choice, event.decision, known)
        experiment.expected_gain = event.prospects.gains[place] if event.prospects else None
        state.experiments[experiment.id] = state.active[experiment.id] = experiment
        state.filing.experiment(experiment)


def _training_ordered(state: State, event: ev.TrainingOrdered) -> None:
    state.training = event.n_observations


def _model_trained(state: State, event: ev.ModelTrained) -> None:
    state.training = 0
    state.trainings.append(event.report)


def _recipe_planned(state: State, event: ev.RecipePlanned) -> None:
    experiment = state.experiments[event.experiment]
    _take_recipe(state, experiment, event)
    state.holds = state.holds or any(step.max_wait_h is not None for step in event.recipe.steps)
    state.news = True
    state.filing.experiment(experiment)


def _take_recipe(state: State, experiment: Experiment, event: ev.RecipePlanned) -> None:
    safety = state.require().safety
    recipe = experiment.recipe = event.recipe
    if not recipe.steps:
        return
    wanted = amounts(safety, recipe)
    used_hours = sum(instrument.busy_s for instrument in state.instruments.values()) / 3600
    wrong = [sentence for step in recipe.steps for sentence in breaches(safety, step) or state.nobody_may(step)]
    wrong += forbidden_use(safety, experiment.candidate.composition, recipe) + unpriced(safety, recipe)
    wrong = list(dict.fromkeys(wrong))
    capped = over_the_cap(safety, state.planned, used_hours, wanted)
    if wrong or capped:
        experiment.ended = ("failed_measurement", f"not safe, never sent to the lab: {'; '.join([*wrong, *capped])}")
        state.capped = state.capped or "; ".join(capped if not wrong else [])
        return
    experiment.amounts, state.planned = wanted, state.planned.plus(wanted)
    if dear := stopping.after_plan(state, experiment):
        experiment.ended = ("failed_measurement", f"not worth it, never sent to the lab: {dear}")
        return
    why = needs_approval(safety, recipe)
    if why:
        rule = safety.approval or ApprovalRule()
        rejects = rule.on_timeout == "reject" and rule.timeout_h is not None
        deadline_s = state.now_s + 3600 * (rule.timeout_h or 0.0) if rejects else None
        experiment.approval = Approval("; ".join(why), rule.people, state.now_s, deadline_s)


def _approved(state: State, event: ev.Approved) -> None:
    experiment = state.experiments.get(event.experiment)
    if experiment is not None and experiment.approval is not None and experiment.waits_for_people:
        given = experiment.approval.given
        if person(event.by) not in map(person, given):
            given.append(event.by)
        state.news = True
        state.filing.experiment(experiment)


def _rejected(state: State, event: ev.Rejected) -> None:
    experiment = state.experiments.get(event.experiment)
    if experiment is not None and experiment.waits_for_people:
        why = f": {event.reason}" if event.reason else ""
        experiment.ended = ("failed_measurement", f"rejected by {event.by}{why}")
        state.filing.experiment(experiment)


def _approval_expired(state: State, event: ev.ApprovalExpired) -> None:
    state.now_s = max(state.now_s, event.at_s)
    _end(state, state.experiments[event.experiment], "nobody approved it in time")


def _sample_expired(state: State, event: ev.SampleExpired) -> None:
    state.now_s = max(state.now_s, event.at_s)
    _end(state, state.experiments[event.experiment], event.reason)
    schedule.drop(state)


def _end(state: State, experiment: Experiment, reason: str) -> None:
    experiment.ended = ("failed_measurement", reason)
    state.filing.experiment(experiment)


def _command_ordered(state: State, event: ev.CommandOrdered) -> None:
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


def _command_reported(state: State, event: ev.CommandReported) -> None:
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


def _outcome_unknown(state: State, event: ev.OutcomeUnknown) -> None:
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


def _reconciled(state: State, event: ev.Reconciled) -> None:
    command = state.commands.get(event.command_id)
    if command is None or command.report is not None:
        return
    if event.verdict == "discard":
        _release(state, command)
        _end(state, state.experiments[command.order.experiment], f"discarded by {event.by}")
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


def _step_finished(state: State, event: ev.StepFinished) -> None:
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


def _experiment_finished(state: State, event: ev.ExperimentFinished) -> None:
    experiment = state.active.pop(event.experiment)
    experiment.outcome, experiment.reason, experiment.values = event.outcome, event.reason, event.values
    samples.leave(state, experiment, event.outcome)
    if schedule.foresees(state, experiment):
        schedule.drop(state)
    state.filing.experiment(experiment)
    if not experiment.ordered:  # nothing was used
        state.planned, experiment.amounts = state.planned.plus(experiment.amounts, -1), Amounts()
    observation = Observation(
        experiment=experiment.id, candidate=experiment.candidate, values=event.values, outcome=event.outcome
    )
    state.observations.append(observation)
    if state.exhausted_for_now:
        state.exhausted = state.exhausted_for_now = False
    stopping.after_result(state, observation)


def _instrument_retired(state: State, event: ev.InstrumentRetired) -> None:
    state.instruments[event.instrument].retired = event.reason
    state.filing.instrument(state.instruments[event.instrument])
    schedule.drop(state)


def _out_of_service(state: State, event: ev.OutOfService) -> None:
    instrument = state.instruments[event.instrument]
    if not instrument.absent:
        instrument.losses, instrument.steady = instrument.losses + 1, 0
    instrument.absent, instrument.returns = event.reason, event.returns
    _reach_changed(state, instrument)
    schedule.drop(state)


def _back_in_service(state: State, event: ev.BackInService) -> None:
    instrument = state.instruments[event.instrument]
    instrument.absent = ""
    _reach_changed(state, instrument)
    schedule.drop(state)


def _reach_changed(state: State, instrument: InstrumentState) -> None:
    for command_id in instrument.running:
        state.filing.command(state.commands[command_id], instrument)
    state.filing.instrument(instrument)


def _schedule_ordered(state: State, event: ev.ScheduleOrdered) -> None:
    state.schedules, state.news = event.schedule, False
    state.scheduling = schedule.pose(state, event.schedule)


def _schedule_made(state: State, event: ev.ScheduleMade) -> None:
    schedule.adopt(state, event)


def _stop_requested(state: State, event: ev.StopRequested) -> None:
    state.stopping = event.by


def _stop_latched(state: State, event: ev.StopLatched) -> None:
    state.latched, state.stop_answers, state.resetting = event, None, None


def _stop_acknowledged(state: State, event: ev.StopAcknowledged) -> None:
    state.stop_answers = event.acknowledged_ms


def _stop_reset(state: State, event: ev.StopReset) -> None:
    state.latched, state.resetting = None, event


def _instruments_reset(state: State, event: ev.InstrumentsReset) -> None:
    state.resetting = None


def _compute_restarted(state: State, event: ev.ComputeRestarted) -> None:
    state.compute_restarts += 1


def _clock_read(state: State, event: ev.ClockRead) -> None:
    state.now_s = max(state.now_s, event.now_s)


def _door_refused(state: State, event: ev.DoorRefused) -> None:
    """For the record only."""


def _campaign_finished(state: State, event: ev.CampaignFinished) -> None:
    state.finished, state.rule = event.reason, event.rule


_HANDLERS = {
    ev.CampaignStarted: _campaign_started,
    ev.LabChanged: _lab_changed,
    ev.ControllerStarted: _controller_started,
    ev.InstrumentAnnounced: _instrument_announced,
    ev.ChoiceOrdered: _choice_ordered,
    ev.ChoiceMade: _choice_made,
    ev.TrainingOrdered: _training_ordered,
    ev.ModelTrained: _model_trained,
    ev.RecipePlanned: _recipe_planned,
    ev.CommandOrdered: _command_ordered,
    ev.CommandReported: _command_reported,
    ev.OutcomeUnknown: _outcome_unknown,
    ev.Reconciled: _reconciled,
    ev.Approved: _approved,
    ev.Rejected: _rejected,
    ev.ApprovalExpired: _approval_expired,
    ev.SampleExpired: _sample_expired,
    ev.StepFinished: _step_finished,
    ev.ExperimentFinished: _experiment_finished,
    ev.InstrumentRetired: _instrument_retired,
    ev.OutOfService: _out_of_service,
    ev.BackInService: _back_in_service,
    ev.ScheduleOrdered: _schedule_ordered,
    ev.ScheduleMade: _schedule_made,
    ev.StopRequested: _stop_requested,
    ev.StopLatched: _stop_latched,
    ev.StopAcknowledged: _stop_acknowledged,
    ev.StopReset: _stop_reset,
    ev.InstrumentsReset: _instruments_reset,
    ev.ComputeRestarted: _compute_restarted,
    ev.ClockRead: _clock_read,
    ev.DoorRefused: _door_refused,
    ev.CampaignFinished: _campaign_finished,
}
