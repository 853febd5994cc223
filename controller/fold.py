"""The fold: one handler a kind of event. Those of commands and steps are in `controller.fold_steps`."""

from __future__ import annotations

import math
from pathlib import Path

from controller import events as ev
from controller import fold_steps, samples, schedule, stopping
from controller.campaign import parse_campaign
from controller.records import Approval, Experiment, InstrumentState, State
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
    fold_steps.end(state, state.experiments[event.experiment], "nobody approved it in time")


def _sample_expired(state: State, event: ev.SampleExpired) -> None:
    state.now_s = max(state.now_s, event.at_s)
    fold_steps.end(state, state.experiments[event.experiment], event.reason)
    schedule.drop(state)


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
    ev.CommandOrdered: fold_steps.command_ordered,
    ev.CommandReported: fold_steps.command_reported,
    ev.OutcomeUnknown: fold_steps.outcome_unknown,
    ev.Reconciled: fold_steps.reconciled,
    ev.Approved: _approved,
    ev.Rejected: _rejected,
    ev.ApprovalExpired: _approval_expired,
    ev.SampleExpired: _sample_expired,
    ev.StepFinished: fold_steps.step_finished,
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
