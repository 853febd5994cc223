"""The campaign as a pure function: ``evolve(state, event) -> state`` and ``decide(state) -> Plan``.

No I/O, no clock, no randomness but the seeds in the events. That one cut gives crash recovery, replay and most of the tests.

``decide`` is level-triggered: it returns the events that follow from the state now, and the tasks that should be under
way. Whoever restarts after a crash calls it again and gets the same answer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from actors.orders import ChoiceOrder, Offer, Recipe, StageReport, Step
from controller import events as ev
from controller.campaign import Campaign, parse_campaign
from controller.gate import judge
from instruments.messages import command_id
from models.candidate import Candidate
from models.observation import Choice, Observation
from models.outcome import evaluate


@dataclass
class Command:
    """An order to an instrument, from intent to report."""

    order: ev.CommandOrdered
    report: ev.CommandReported | None = None
    unknown: str = ""


@dataclass
class StepRecord:
    """A finished step: where, when, what was read and what the gate said."""

    step: int
    instrument: str
    start_s: float
    finish_s: float
    verdict: str
    reason: str
    readings: dict[str, float]
    arrays: dict[str, str]
    command_id: str


@dataclass
class Experiment:
    """One chosen candidate on its way through the lab."""

    id: str
    choice: Choice
    decision: int
    recipe: Recipe | None = None
    step: int = 0
    round: int = 1
    attempt: int = 0
    command_id: str = ""
    ended: tuple[str, str] | None = None
    readings: dict[str, float] = field(default_factory=dict)
    records: list[StepRecord] = field(default_factory=list)
    outcome: str = ""
    reason: str = ""
    values: dict[str, float] = field(default_factory=dict)

    @property
    def candidate(self) -> Candidate:
        """What is being made."""
        return self.choice.candidate

    @property
    def waiting_to_start(self) -> bool:
        """Chosen, and no instrument has been told anything yet."""
        return not self.command_id and not self.records and not self.outcome

    @property
    def next_step(self) -> Step | None:
        """The step to be done next; ``None`` before the plan and after the end."""
        if self.recipe is None or self.ended or self.outcome or self.step >= len(self.recipe.steps):
            return None
        return self.recipe.steps[self.step]


@dataclass
class InstrumentState:
    """What an instrument offers and whether it may be used."""

    name: str
    driver: str = ""
    offers: dict[str, Offer] = field(default_factory=dict)
    busy: str = ""
    busy_s: float = 0.0
    faults: int = 0
    retired: str = ""


@dataclass
class State:
    """Everything that is known about a campaign. ``evolve`` alone changes it."""

    campaign: Campaign | None = None
    started: ev.CampaignStarted | None = None
    epoch: int = 0
    now_s: float = 0.0
    experiments: dict[str, Experiment] = field(default_factory=dict)
    active: dict[str, Experiment] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    instruments: dict[str, InstrumentState] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)
    choosing: ev.ChoiceOrdered | None = None
    decisions: int = 0
    stages: tuple[StageReport, ...] = ()
    choose_seconds: list[float] = field(default_factory=list)
    exhausted: bool = False
    stopping: str = ""
    finished: str = ""
    compute_restarts: int = 0

    def require(self) -> Campaign:
        """The campaign; raises RuntimeError before ``CampaignStarted``."""
        if self.campaign is None:
            raise RuntimeError("the journal does not begin with campaign_started")
        return self.campaign

    def offers(self) -> tuple[Offer, ...]:
        """One offer a capability, over all instruments, sorted by name."""
        found: dict[str, Offer] = {}
        for name in sorted(self.instruments):
            for capability, offer in self.instruments[name].offers.items():
                found.setdefault(capability, offer)
        return tuple(found[name] for name in sorted(found))

    def unknown(self) -> list[Command]:
        """Commands whose outcome nobody knows yet."""
        return [command for command in self.commands.values() if command.unknown and command.report is None]


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

    events: tuple[ev.Decision, ...] = ()
    tasks: tuple[Task, ...] = ()


def evolve(state: State, event: ev.Event) -> State:
    """Fold one event into the state. The argument is consumed: use the returned value."""
    _HANDLERS[type(event)](state, event)
    return state


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


# --- what follows from a state ---------------------------------------------------------------------------------------


def _decisions(state: State) -> list[ev.Decision]:
    campaign = state.require()
    for rule in (_returned, _step_ends_now, _experiment_ends, _retire, _order_commands, _order_choice):
        events = rule(state, campaign)
        if events:
            return events
    if state.choosing or _unplanned(state):
        return []
    return _simulated_step_ends(state, campaign) or _campaign_ends(state, campaign)


def _returned(state: State, campaign: Campaign) -> list[ev.Decision]:
    """A command that provably did nothing takes no time and is ordered again."""
    return [
        ev.StepFinished(
            command_id=name, finish_s=command.order.start_s, verdict="order_again", reason=command.report.message
        )
        for name, command in state.commands.items()
        if command.report is not None and command.report.status == "untouched"
    ][:1]


def _step_ends_now(state: State, campaign: Campaign) -> list[ev.Decision]:
    if campaign.lab.clock == "simulated":
        return []
    return [_judged(state, command) for command in state.commands.values() if command.report is not None][:1]


def _simulated_step_ends(state: State, campaign: Campaign) -> list[ev.Decision]:
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


def _experiment_ends(state: State, campaign: Campaign) -> list[ev.Decision]:
    for experiment in state.active.values():
        end = _end_of(experiment)
        if end:
            outcome, reason = end
            values = evaluate(campaign.objectives, campaign.constraints, experiment.candidate, experiment.readings)
            if outcome == "measured":
                missing = [o.name for o in campaign.objectives if o.name not in values]
                if missing:
                    outcome, reason = "failed_measurement", f"{', '.join(missing)} was not measured by any step"
            return [ev.ExperimentFinished(experiment=experiment.id, outcome=outcome, values=values, reason=reason)]  # type: ignore[arg-type]
    return []


def _end_of(experiment: Experiment) -> tuple[str, str] | None:
    if experiment.ended:
        return experiment.ended
    if experiment.recipe is None or experiment.command_id:
        return None
    if not experiment.recipe.steps:
        return "failed_measurement", f"no recipe: {experiment.recipe.reason}"
    return ("measured", "") if experiment.step >= len(experiment.recipe.steps) else None


def _retire(state: State, campaign: Campaign) -> list[ev.Decision]:
    return [
        ev.InstrumentRetired(instrument=name, reason=f"{instrument.faults} faults in a row")
        for name, instrument in sorted(state.instruments.items())
        if instrument.faults >= campaign.lab.max_faults and not instrument.retired
    ]


def _order_commands(state: State, campaign: Campaign) -> list[ev.Decision]:
    """Give every free instrument the first experiment that needs it, in the order of choice."""
    if state.stopping or (campaign.lab.clock == "simulated" and _unplanned(state)):
        # In simulated time a plan takes no time, so it is waited for: the order of events must not hang on the wall clock.
        return []
    events: list[ev.Decision] = []
    taken: set[str] = set()
    for experiment in state.active.values():
        step = experiment.next_step
        if step is None or experiment.command_id:
            continue
        name = next(
            (
                name
                for name in sorted(state.instruments)
                if name not in taken and _usable(state.instruments[name], step.capability)
            ),
            None,
        )
        if name is None:
            continue
        taken.add(name)
        events.append(_order(state, campaign, experiment, name))
    return events


def _usable(instrument: InstrumentState, capability: str) -> bool:
    return not instrument.busy and not instrument.retired and capability in instrument.offers


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


def _order_choice(state: State, campaign: Campaign) -> list[ev.Decision]:
    if state.choosing or state.stopping or state.exhausted or _out_of_time(state, campaign):
        return []
    left = campaign.budget.experiments - len(state.experiments)
    waiting = sum(experiment.waiting_to_start for experiment in state.active.values())
    if left <= 0 or waiting >= campaign.lab.queue or not state.instruments:
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


def _campaign_ends(state: State, campaign: Campaign) -> list[ev.Decision]:
    if state.active or state.stopping:
        return []
    if len(state.experiments) >= campaign.budget.experiments:
        reason = f"{len(state.experiments)} experiments done"
    elif state.exhausted:
        reason = "every candidate of the space has been tried"
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


# --- the fold ---------------------------------------------------------------------------------------------------------


def _campaign_started(state: State, event: ev.CampaignStarted) -> None:
    state.started = event
    where = str(Path(event.base_dir) / "campaign.yaml")
    state.campaign = parse_campaign(event.text, where, seed=event.seed, budget=event.budget)


def _controller_started(state: State, event: ev.ControllerStarted) -> None:
    state.epoch = event.epoch
    state.stopping = ""
    for instrument in state.instruments.values():
        instrument.faults, instrument.retired = 0, ""


def _instrument_announced(state: State, event: ev.InstrumentAnnounced) -> None:
    instrument = state.instruments.setdefault(event.instrument, InstrumentState(event.instrument))
    instrument.driver = event.driver
    instrument.offers = {offer.capability: offer for offer in event.offers}


def _choice_ordered(state: State, event: ev.ChoiceOrdered) -> None:
    state.choosing = event
    state.decisions = event.decision


def _choice_made(state: State, event: ev.ChoiceMade) -> None:
    state.choosing = None
    state.stages = event.stages
    state.choose_seconds.append(event.seconds)
    state.exhausted = not event.choices
    for choice in event.choices:
        experiment = Experiment(f"E{len(state.experiments) + 1:04d}", choice, event.decision)
        state.experiments[experiment.id] = state.active[experiment.id] = experiment


def _recipe_planned(state: State, event: ev.RecipePlanned) -> None:
    state.experiments[event.experiment].recipe = event.recipe


def _command_ordered(state: State, event: ev.CommandOrdered) -> None:
    state.commands[event.command_id] = Command(event)
    state.experiments[event.experiment].command_id = event.command_id
    state.instruments[event.instrument].busy = event.command_id


def _command_reported(state: State, event: ev.CommandReported) -> None:
    command = state.commands.get(event.command_id)
    if command is not None and command.report is None:
        command.report = event


def _outcome_unknown(state: State, event: ev.OutcomeUnknown) -> None:
    command = state.commands.get(event.command_id)
    if command is not None:
        command.unknown = event.evidence
        # The sample waits for a verdict; the instrument answers again, so others may use it.
        state.instruments[command.order.instrument].busy = ""


def _reconciled(state: State, event: ev.Reconciled) -> None:
    command = state.commands.get(event.command_id)
    if command is None or command.report is not None:
        return
    if event.verdict == "discard":
        state.experiments[command.order.experiment].ended = ("failed_measurement", f"discarded by {event.by}")
        _release(state, command)
        return
    status = {"done": "ok", "failed": "failed", "repeat": "untouched"}[event.verdict]
    message = f"{event.verdict} by {event.by}: {event.reason}"
    command.report = ev.CommandReported(
        command_id=event.command_id, status=status, readings=event.readings, message=message  # type: ignore[arg-type]
    )


def _release(state: State, command: Command) -> None:
    order = command.order
    del state.commands[order.command_id]
    state.experiments[order.experiment].command_id = ""
    instrument = state.instruments[order.instrument]
    if instrument.busy == order.command_id:
        instrument.busy = ""


def _step_finished(state: State, event: ev.StepFinished) -> None:
    command = state.commands[event.command_id]
    order, report = command.order, command.report
    experiment, instrument = state.experiments[order.experiment], state.instruments[order.instrument]
    _release(state, command)
    if event.verdict == "order_again":
        experiment.attempt += 1
        return
    state.now_s = max(state.now_s, event.finish_s)
    instrument.busy_s += event.finish_s - order.start_s
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
    instrument.faults = instrument.faults + 1 if event.verdict == "fault" else 0
    if event.verdict == "accepted":
        experiment.readings.update(readings)
        experiment.step, experiment.round, experiment.attempt = experiment.step + 1, 1, 0
        experiment.ended = _violated(state, experiment)
    elif event.verdict == "measure_again" or (event.verdict == "fault" and _may_repeat(state, experiment, order)):
        experiment.round += 1
        experiment.attempt += 1
    elif event.verdict == "failed_synthesis":
        experiment.ended = ("failed_synthesis", event.reason)
    else:
        experiment.ended = ("failed_measurement", event.reason)


def _may_repeat(state: State, experiment: Experiment, order: ev.CommandOrdered) -> bool:
    step = experiment.next_step
    return step is not None and step.idempotent and order.round < state.require().lab.max_rounds


def _violated(state: State, experiment: Experiment) -> tuple[str, str] | None:
    """A measured constraint that is violated before the last step ends the experiment: nothing is left to measure on."""
    campaign = state.require()
    if not campaign.lab.stop_failed_synthesis or experiment.next_step is None:
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
    state.observations.append(
        Observation(
            experiment=experiment.id, candidate=experiment.candidate, values=event.values, outcome=event.outcome
        )
    )


def _instrument_retired(state: State, event: ev.InstrumentRetired) -> None:
    state.instruments[event.instrument].retired = event.reason


def _stop_requested(state: State, event: ev.StopRequested) -> None:
    state.stopping = event.by


def _compute_restarted(state: State, event: ev.ComputeRestarted) -> None:
    state.compute_restarts += 1


def _clock_read(state: State, event: ev.ClockRead) -> None:
    state.now_s = max(state.now_s, event.now_s)


def _door_refused(state: State, event: ev.DoorRefused) -> None:
    """For the record only."""


def _campaign_finished(state: State, event: ev.CampaignFinished) -> None:
    state.finished = event.reason


_HANDLERS = {
    ev.CampaignStarted: _campaign_started,
    ev.ControllerStarted: _controller_started,
    ev.InstrumentAnnounced: _instrument_announced,
    ev.ChoiceOrdered: _choice_ordered,
    ev.ChoiceMade: _choice_made,
    ev.RecipePlanned: _recipe_planned,
    ev.CommandOrdered: _command_ordered,
    ev.CommandReported: _command_reported,
    ev.OutcomeUnknown: _outcome_unknown,
    ev.Reconciled: _reconciled,
    ev.StepFinished: _step_finished,
    ev.ExperimentFinished: _experiment_finished,
    ev.InstrumentRetired: _instrument_retired,
    ev.StopRequested: _stop_requested,
    ev.ComputeRestarted: _compute_restarted,
    ev.ClockRead: _clock_read,
    ev.DoorRefused: _door_refused,
    ev.CampaignFinished: _campaign_finished,
}
