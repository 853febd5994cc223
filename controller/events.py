"""Everything that happens in a campaign, as facts. The journal is a list of these; the state is their fold.

Two kinds: *decisions*, which ``controller.state.decide`` derives from earlier events alone, and *outcomes*, which
come from outside (an instrument, a model, a person, the operating system).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from actors.orders import Offer, Recipe, StageReport, TrainingReport
from models.observation import Choice
from models.outlook import Outlook
from models.prospects import Prospects

ReportStatus = Literal["ok", "failed", "fault", "untouched", "refused"]
StepVerdict = Literal["accepted", "measure_again", "failed_synthesis", "failed_measurement", "order_again", "fault"]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Decision(_Event):
    """Derived from the events before it; a replay derives it again."""


class Fact(_Event):
    """Came from outside."""


class CampaignStarted(Fact):
    """The campaign as given: its YAML text, where its relative paths start, and digests of the files it reads.

    ``lab_file`` and ``lab_text``: the lab file that it names, if it does.
    """

    kind: Literal["campaign_started"] = "campaign_started"
    run_id: str
    text: str
    base_dir: str
    seed: int
    budget: int
    data_hashes: dict[str, str] = Field(default_factory=dict)
    version: str
    lab_file: str = ""
    lab_text: str = ""


class LabChanged(Fact):
    """The lab file says something else than before; it counts from here on."""

    kind: Literal["lab_changed"] = "lab_changed"
    lab_text: str


class ControllerStarted(Fact):
    """A controller took the run; ``epoch`` grows with each one.

    ``away_s``: seconds on the wall clock since the run was last written, during which samples went on waiting.
    """

    kind: Literal["controller_started"] = "controller_started"
    epoch: int
    pid: int
    host: str
    away_s: float = 0.0


class InstrumentAnnounced(Fact):
    """An instrument host connected and said what it can do."""

    kind: Literal["instrument_announced"] = "instrument_announced"
    instrument: str
    driver: str
    offers: tuple[Offer, ...]


class ChoiceOrdered(Decision):
    """Ask the science for ``q`` candidates, given the first ``n_observations`` and these pending experiments.

    ``outlook``: the laboratory at that moment, where the acquisition weighs what experiments cost. ``trained_on``: the
    predictor to be used is the version that serves after so many results, and is waited for (0: none yet).
    """

    kind: Literal["choice_ordered"] = "choice_ordered"
    decision: int
    q: int
    seed: int
    n_observations: int
    pending: tuple[str, ...]
    outlook: Outlook | None = None
    trained_on: int | None = None


class ChoiceMade(Fact):
    """What the science chose, what there was to gain, and what had to be done instead of the usual.

    An empty list of choices says that the space is exhausted; with ``waits``, only until an experiment has ended.
    """

    kind: Literal["choice_made"] = "choice_made"
    decision: int
    choices: tuple[Choice, ...]
    stages: tuple[StageReport, ...] = ()
    seconds: float = 0.0
    prospects: Prospects | None = None
    fallbacks: tuple[str, ...] = ()
    waits: bool = Field(default=False, exclude_if=lambda waits: not waits)


class TrainingOrdered(Decision):
    """Have the predictor retrained on the first ``n_observations`` results, beside the campaign."""

    kind: Literal["training_ordered"] = "training_ordered"
    n_observations: int


class ModelTrained(Fact):
    """A version of the predictor, and which one serves from now on, each by its hash."""

    kind: Literal["model_trained"] = "model_trained"
    report: TrainingReport


class RecipePlanned(Fact):
    """The recipe of an experiment; without steps it cannot be made in this lab."""

    kind: Literal["recipe_planned"] = "recipe_planned"
    experiment: str
    recipe: Recipe


class CommandOrdered(Decision):
    """The intent to act, on disk before the command leaves.

    ``attempt`` counts the orders of a step, each a new command. ``round`` counts its measurements: a new round draws
    new noise, while an order repeated because a sensor proved that nothing had happened does not. ``batch`` has the ids
    of all commands of one act, this one among them; empty: alone. ``position`` is where the sample lies.
    """

    kind: Literal["command_ordered"] = "command_ordered"
    command_id: str
    experiment: str
    step: int
    round: int
    attempt: int
    instrument: str
    start_s: float
    seed: int
    batch: tuple[str, ...] = ()
    position: str = ""


class CommandReported(Fact):
    """What an instrument reported; ``arrays`` maps names to digests in the journal's blob table.

    ``stopped``: the driver was told to stop amid the act, so the report says nothing about the chemistry.
    """

    kind: Literal["command_reported"] = "command_reported"
    command_id: str
    status: ReportStatus
    readings: dict[str, float] = Field(default_factory=dict)
    arrays: dict[str, str] = Field(default_factory=dict)
    duration_s: float = 0.0
    message: str = ""
    stopped: bool = False


class OutcomeUnknown(Fact):
    """Started, not finished, and no sensor can tell: the sample is quarantined until somebody reconciles it."""

    kind: Literal["outcome_unknown"] = "outcome_unknown"
    command_id: str
    evidence: str
    facts: dict[str, Any] = Field(default_factory=dict)


class Exhibit(BaseModel):
    """Something that a person adds to a verdict: words, or a file by its path, size and SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = ""
    file: str = ""
    n_bytes: int = 0
    sha256: str = ""


class Reconciled(Fact):
    """A verdict on an unknown outcome: a person's, or ``by`` the lab's policy, which follows from the events before."""

    kind: Literal["reconciled"] = "reconciled"
    command_id: str
    verdict: Literal["done", "failed", "discard", "repeat"]
    by: str
    reason: str = ""
    readings: dict[str, float] = Field(default_factory=dict)
    evidence: tuple[Exhibit, ...] = ()


class Approved(Fact):
    """A person approves a recipe that waits for people."""

    kind: Literal["approved"] = "approved"
    experiment: str
    by: str
    reason: str = ""


class Rejected(Fact):
    """A person rejects a recipe that waits for people: it never reaches the lab."""

    kind: Literal["rejected"] = "rejected"
    experiment: str
    by: str
    reason: str = ""


class ApprovalExpired(Decision):
    """Nobody has approved a recipe in time."""

    kind: Literal["approval_expired"] = "approval_expired"
    experiment: str
    at_s: float


class SampleExpired(Decision):
    """A sample has waited longer between two steps than its recipe allows; it is not processed further."""

    kind: Literal["sample_expired"] = "sample_expired"
    experiment: str
    at_s: float
    reason: str


class StepFinished(Decision):
    """The gate's verdict on a report, at the time the step ended.

    ``at_once``: nothing had happened, and the orders that follow repeat the act as it was; the schedule stands.
    """

    kind: Literal["step_finished"] = "step_finished"
    command_id: str
    finish_s: float
    verdict: StepVerdict
    reason: str = ""
    at_once: bool = False


class ExperimentFinished(Decision):
    """What an experiment taught. ``values`` has measured, derived and computed quantities."""

    kind: Literal["experiment_finished"] = "experiment_finished"
    experiment: str
    outcome: Literal["measured", "failed_synthesis", "failed_measurement"]
    values: dict[str, float]
    reason: str = ""


class InstrumentRetired(Decision):
    """Too many faults in a row, or too many losses: out of service until a person repairs it and resumes."""

    kind: Literal["instrument_retired"] = "instrument_retired"
    instrument: str
    reason: str


class OutOfService(Fact):
    """An instrument cannot be asked now. What it was told waits for it; who waits for its turn goes elsewhere.

    ``returns``: it may come back by itself; otherwise a person must do something and resume.
    """

    kind: Literal["out_of_service"] = "out_of_service"
    instrument: str
    reason: str
    returns: bool = True


class BackInService(Fact):
    """The host of an instrument that was out of service is connected again."""

    kind: Literal["back_in_service"] = "back_in_service"
    instrument: str


class ScheduleOrdered(Decision):
    """Ask the scheduler who goes where and in which order, given the samples and instruments as they are now."""

    kind: Literal["schedule_ordered"] = "schedule_ordered"
    schedule: int


class Act(_Event):
    """One act of a schedule: which (experiment, step) together, on which instrument, when (lab seconds)."""

    instrument: str
    works: tuple[tuple[str, int], ...]
    start_s: float


class ScheduleMade(Fact):
    """What the scheduler answered. Without acts, ``reason`` says why, and the plain rule serves."""

    kind: Literal["schedule_made"] = "schedule_made"
    schedule: int
    acts: tuple[Act, ...]
    solver: str = ""
    reason: str = ""


class StopRequested(Fact):
    """A person or a signal asked for an orderly stop: steps under way are finished, nothing new begins."""

    kind: Literal["stop_requested"] = "stop_requested"
    by: str


class StopLatched(Fact):
    """An emergency stop: nothing is commanded until ``StopReset``. ``by`` is the key or the signal that it came by."""

    kind: Literal["stop_latched"] = "stop_latched"
    by: str
    reason: str = ""


class StopAcknowledged(Fact):
    """Who has confirmed the emergency stop: milliseconds from the request; ``None`` did not confirm it in time."""

    kind: Literal["stop_acknowledged"] = "stop_acknowledged"
    acknowledged_ms: dict[str, float | None]


class StopReset(Fact):
    """A person ends the emergency stop. The instruments are told when the next controller has the lab."""

    kind: Literal["stop_reset"] = "stop_reset"
    by: str
    reason: str


class InstrumentsReset(Fact):
    """The instruments that were still latched have confirmed that they work again."""

    kind: Literal["instruments_reset"] = "instruments_reset"
    instruments: tuple[str, ...]


class ComputeRestarted(Fact):
    """The actors were lost and started again; no experiment is lost with them."""

    kind: Literal["compute_restarted"] = "compute_restarted"
    reason: str


class ClockRead(Fact):
    """Campaigns on the wall clock: seconds of running time since the campaign began, over all its controllers."""

    kind: Literal["clock_read"] = "clock_read"
    now_s: float


class DoorRefused(Fact):
    """Somebody or something was turned away: wrong key, garbage, a report for a command nobody gave."""

    kind: Literal["door_refused"] = "door_refused"
    instrument: str
    reason: str


EndingRule = Literal["budget", "hours", "target", "improvement", "worth", "exhausted", "cap"]


class CampaignFinished(Decision):
    """Nothing more to do: which rule ended the campaign (older journals do not say), in words."""

    kind: Literal["campaign_finished"] = "campaign_finished"
    rule: EndingRule | Literal[""] = ""
    reason: str
    finish_s: float


POLICY = "policy"
"""``by`` of a verdict that the lab's policy gives."""


def is_decision(event: Any) -> bool:
    """True for what follows from earlier events alone: a replay derives it again."""
    return isinstance(event, Decision) or (isinstance(event, Reconciled) and event.by == POLICY)


AnyDecision = (
    ChoiceOrdered
    | Reconciled
    | CommandOrdered
    | ApprovalExpired
    | SampleExpired
    | StepFinished
    | ExperimentFinished
    | InstrumentRetired
    | ScheduleOrdered
    | TrainingOrdered
    | CampaignFinished
)

Event = Annotated[
    CampaignStarted
    | LabChanged
    | ControllerStarted
    | InstrumentAnnounced
    | ChoiceOrdered
    | ChoiceMade
    | TrainingOrdered
    | ModelTrained
    | RecipePlanned
    | CommandOrdered
    | CommandReported
    | OutcomeUnknown
    | Reconciled
    | Approved
    | Rejected
    | ApprovalExpired
    | SampleExpired
    | StepFinished
    | ExperimentFinished
    | InstrumentRetired
    | OutOfService
    | BackInService
    | ScheduleOrdered
    | ScheduleMade
    | StopRequested
    | StopLatched
    | StopAcknowledged
    | StopReset
    | InstrumentsReset
    | ComputeRestarted
    | ClockRead
    | DoorRefused
    | CampaignFinished,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[Any] = TypeAdapter(Event)


def parse(text: str) -> Event:
    """Return the event of a journal line. Raises pydantic's ValidationError."""
    return _ADAPTER.validate_json(text)
