"""What is known about a campaign: ``State`` and what it is made of. ``controller.fold`` alone changes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from actors.orders import Offer, Recipe, StageReport, Step, TrainingReport
from controller import events as ev
from controller.campaign import Campaign
from controller.filing import Filing, Key
from controller.problem import ScheduleProblem
from controller.safety import Amounts, misfits, narrowed, widest
from controller.stopping import Ending
from instruments.limits import Envelope
from models.candidate import Candidate
from models.observation import Choice, Observation
from models.prospects import Prospects

_UNLIMITED = Envelope()


@dataclass
class Command:
    """An order to an instrument, from intent to report."""

    order: ev.CommandOrdered
    report: ev.CommandReported | None = None
    unknown: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    away_s: float = 0.0
    """Seconds without a controller since it was ordered."""

    @property
    def act(self) -> str:
        """What all commands of one physical act have in common."""
        return self.order.batch[0] if self.order.batch else self.order.command_id


@dataclass(frozen=True)
class Placement:
    """Where a sample came to lie, from when (lab seconds), and why."""

    position: str
    from_s: float
    why: str


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
class Approval:
    """What people are asked: why, how many of them, since when (lab seconds), until when, and who has said yes."""

    why: str
    people: int
    asked_s: float
    deadline_s: float | None = None
    given: list[str] = field(default_factory=list)


@dataclass
class Experiment:
    """One chosen candidate on its way through the lab: its sample has the same identity.

    Attributes (beside those that name themselves):
        known: how many observations there were when it was chosen: a planner that learns is told these.
        expected_gain: what it was expected to add to the objective, where somebody asked.
        home: number of the place in the storage that is the sample's own from its first step to its end; 0: none.
        position: where it lies now, ``storage/3`` or ``kiln/2``; empty before the first step and after the end.
        history: every position, oldest first.
        due_s: lab seconds by which the next step must have begun; the holding time runs since ``held_since_s``.
        alone: its batch was refused, so it goes without company.
        filed: where ``controller.filing`` has it.
    """

    id: str
    choice: Choice
    decision: int
    known: int = 0
    expected_gain: float | None = None
    recipe: Recipe | None = None
    amounts: Amounts = field(default_factory=Amounts)
    approval: Approval | None = None
    ordered: bool = False
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
    home: int = 0
    position: str = ""
    history: list[Placement] = field(default_factory=list)
    due_s: float = math.inf
    held_since_s: float = 0.0
    alone: bool = False
    filed: tuple[str, Key] | None = None

    @property
    def number(self) -> int:
        """Its place in the order of choice."""
        return int(self.id[1:])

    @property
    def hold_s(self) -> float | None:
        """How long the sample may wait after its next (or running) step; ``None``: it keeps, or nothing follows."""
        step, steps = self.next_step, self.recipe.steps if self.recipe else ()
        if step is None or step.max_wait_h is None or self.step + 1 >= len(steps):
            return None
        return 3600 * step.max_wait_h

    @property
    def candidate(self) -> Candidate:
        """What is being made."""
        return self.choice.candidate

    @property
    def waiting_to_start(self) -> bool:
        """Chosen, and no instrument has been told anything yet."""
        return not self.command_id and not self.records and not self.outcome

    @property
    def waits_for_people(self) -> bool:
        """Planned, and may not begin before people have approved."""
        asked = self.approval
        return asked is not None and not self.ended and not self.outcome and len(asked.given) < asked.people

    @property
    def next_step(self) -> Step | None:
        """The step to be done next; ``None`` before the plan and after the end."""
        if self.recipe is None or self.ended or self.outcome or self.step >= len(self.recipe.steps):
            return None
        return self.recipe.steps[self.step]


@dataclass
class InstrumentState:
    """What an instrument offers and whether it may be used.

    Attributes (beside those that name themselves):
        running: commands that it has been told and that have not ended.
        lying: slot -> the experiment whose sample lies there.
        faults: acts in a row that ended with a fault; ``faulty_act``: the last of them.
        losses: how often it went silent, lately; ``steady``: steps ended since the last time.
        absent: why it cannot be asked now; ``returns``: it may come back by itself.
        retired: why it gets no more orders until a person resumes.
    """

    name: str
    driver: str = ""
    offers: dict[str, Offer] = field(default_factory=dict)
    running: dict[str, None] = field(default_factory=dict)
    lying: dict[int, str] = field(default_factory=dict)
    busy_s: float = 0.0
    faults: int = 0
    faulty_act: str = ""
    losses: int = 0
    steady: int = 0
    absent: str = ""
    returns: bool = True
    retired: str = ""

    @property
    def busy(self) -> str:
        """The (first) command under way; empty where it is free."""
        return next(iter(self.running), "")

    @property
    def in_service(self) -> bool:
        """It may be given orders."""
        return not self.absent and not self.retired


@dataclass
class Schedule:
    """What the scheduler planned and has not been ordered yet, by instrument and by (experiment, step)."""

    number: int
    acts: dict[str, list[ev.Act]]
    of: dict[tuple[str, int], ev.Act]


@dataclass
class State:
    """Everything that is known about a campaign. ``evolve`` alone changes it.

    While ``latched``, an emergency stop holds: nothing is commanded. ``resetting`` is a reset that a person has given
    and that the instruments have not all confirmed. ``homes`` says whose the places of the storage are; ``durations_s``
    what steps of one kind took (``controller.durations``). ``scheduling`` is the question that the scheduler has not
    answered; ``schedule`` its last answer; ``news``: something has happened since then that a schedule should know;
    ``prospects``: what there was to gain at the last decision, where it was asked; ``unpromising``: decisions in a row
    at which that was little; ``ending``: a rule is met, nothing more is chosen; ``rule``: which ended the campaign.
    ``fallbacks``: the decisions at which the data or the numerics did not allow the usual, and what was done instead.
    ``training``: results on which a training is under way, 0: none; ``trainings``: what came of those that have ended.
    ``holds``: some recipe has a maximum holding time; ``offers_kept``: what ``offers`` found, until an instrument or
    the lab file says otherwise.
    """

    campaign: Campaign | None = None
    started: ev.CampaignStarted | None = None
    lab_text: str = ""
    epoch: int = 0
    now_s: float = 0.0
    experiments: dict[str, Experiment] = field(default_factory=dict)
    active: dict[str, Experiment] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    instruments: dict[str, InstrumentState] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)
    choosing: ev.ChoiceOrdered | None = None
    training: int = 0
    trainings: list[TrainingReport] = field(default_factory=list)
    decisions: int = 0
    stages: tuple[StageReport, ...] = ()
    choose_seconds: list[float] = field(default_factory=list)
    exhausted: bool = False
    exhausted_for_now: bool = False
    planned: Amounts = field(default_factory=Amounts)
    capped: str = ""
    prospects: Prospects | None = None
    unpromising: int = 0
    fallbacks: list[tuple[int, str]] = field(default_factory=list)
    ending: Ending | None = None
    stopping: str = ""
    latched: ev.StopLatched | None = None
    stop_answers: dict[str, float | None] | None = None
    resetting: ev.StopReset | None = None
    finished: str = ""
    rule: str = ""
    compute_restarts: int = 0
    filing: Filing = field(default_factory=Filing)
    homes: dict[int, str] = field(default_factory=dict)
    durations_s: dict[str, list[float]] = field(default_factory=dict)
    schedules: int = 0
    scheduling: ScheduleProblem | None = None
    schedule: Schedule | None = None
    news: bool = False
    holds: bool = False
    offers_kept: tuple[Offer, ...] | None = field(default=None, repr=False, compare=False)

    def require(self) -> Campaign:
        """The campaign; raises RuntimeError before ``CampaignStarted``."""
        if self.campaign is None:
            raise RuntimeError("the journal does not begin with campaign_started")
        return self.campaign

    @property
    def trained_on(self) -> int:
        """How many results the last training was done on; 0: there was none."""
        return self.trainings[-1].n_observations if self.trainings else 0

    def offers(self) -> tuple[Offer, ...]:
        """One offer a capability, sorted by name: what at least one instrument may do within its own limits."""
        if self.offers_kept is None:
            found: dict[str, Offer] = {}
            for name in sorted(self.instruments):
                for offer in narrowed(self._own(name), self.instruments[name].offers.values()):
                    known = found.get(offer.capability)
                    found[offer.capability] = widest(known, offer) if known else offer
            self.offers_kept = tuple(found[name] for name in sorted(found))
        return self.offers_kept

    def may_take(self, name: str, step: Step) -> bool:
        """True where an instrument offers a step, within its driver's limits and its own in the lab."""
        offer = self.instruments[name].offers.get(step.capability)
        return offer is not None and not misfits(self._own(name), offer, step)

    def nobody_may(self, step: Step) -> list[str]:
        """Why no instrument may take a step that some offer: the reasons of each; nothing where one may."""
        reasons = []
        for name in sorted(self.instruments):
            if (offer := self.instruments[name].offers.get(step.capability)) is not None:
                wrong = misfits(self._own(name), offer, step)
                if not wrong:
                    return []
                reasons.append(f"{name}: {'; '.join(wrong)}")
        return reasons

    def sample(self, experiment: str) -> str:
        """The name of a sample in the lab: a lab of many campaigns has many experiments of one name."""
        started = self.started
        return f"{started.run_id}-{experiment}" if started and started.lab_file else experiment

    def _own(self, name: str) -> Envelope:
        return self.require().lab.instruments.get(name, _UNLIMITED)

    def unknown(self) -> list[Command]:
        """Commands whose outcome nobody knows yet."""
        return [command for command in self.commands.values() if command.unknown and command.report is None]
