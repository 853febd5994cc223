"""What the controller asks of the science and what it gets back; both are self-contained.

An order carries everything that its answer may depend on, so that an actor that died, another machine or a
replay years later gives the same answer.
"""

from __future__ import annotations

from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from models.candidate import Candidate
from models.observation import Choice, Observation
from models.outlook import Outlook
from models.prospects import Prospects
from models.route import Hazard, Route
from models.synthesis.hazards import hazards_of, refusals
from models.synthesis.trial import Trial

NOT_OFFERED = "no instrument offers"
"""Begins the reason of a recipe without steps where the lab lacks an instrument for every route."""


class ChoiceOrder(BaseModel):
    """Choose ``q`` candidates given all that is known.

    Attributes:
        decision: running number of the decision in the campaign.
        q: how many are wanted.
        seed: the only source of randomness.
        observations: everything learnt so far, in the order in which it was learnt.
        pending: chosen and not yet known.
        outlook: which instruments are idle and what is left of the budget, where the acquisition asks.
        trained_on: the predictor is the version that served after so many results; 0: there is none yet, ``None``: the
            predictor is fitted for the decision.
        model: hash of that version, as the journal has it.
    """

    model_config = ConfigDict(frozen=True)

    decision: int
    q: int
    seed: int
    observations: tuple[Observation, ...]
    pending: tuple[Candidate, ...]
    outlook: Outlook | None = None
    trained_on: int | None = None
    model: str = ""


class TrainingOrder(BaseModel):
    """Train a version of the predictor on these results, the first ones of the campaign."""

    model_config = ConfigDict(frozen=True)

    observations: tuple[Observation, ...]


class TrainingReport(BaseModel):
    """What came of a training.

    Attributes:
        n_observations: how many results it was done on.
        cold: from scratch; otherwise from the weights that served.
        candidate: hash of what was trained; empty where the training broke.
        serving: hash of the version that serves from now on; empty: none.
        published: the candidate serves. It does not where it is worse on held-out results.
        scores: quantity -> (of the candidate, of the one before), the error on held-out results.
        judged: how many held-out results that is.
        reason: in words.
        seconds: that it took.
        made_with: what the last digits depend on; elsewhere the hashes may differ.
    """

    model_config = ConfigDict(frozen=True)

    n_observations: int
    cold: bool
    candidate: str
    serving: str
    published: bool
    scores: dict[str, tuple[float, float]] = Field(default_factory=dict)
    judged: int = 0
    reason: str = ""
    seconds: float = 0.0
    made_with: str = ""


class StageReport(BaseModel):
    """How many candidates a stage took in and let through, what it cost, and in ``note`` what went wrong.

    ``model``: hash of the version that judged, where versions are published.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    taken: int
    passed: int
    seconds: float = 0.0
    detail: dict[str, float] = Field(default_factory=dict)
    note: str = ""
    model: str = ""


class ChoiceAnswer(BaseModel):
    """The choices, most wanted first, what each stage did on the way, and what there is to gain, if it was asked.

    ``waits``: no choice does not mean that there is nothing left; ask again when an experiment has ended.
    ``fallbacks`` says in words what was done instead of the usual because the data or the numerics did not allow it.
    """

    model_config = ConfigDict(frozen=True)

    choices: tuple[Choice, ...]
    stages: tuple[StageReport, ...] = ()
    prospects: Prospects | None = None
    fallbacks: tuple[str, ...] = ()
    waits: bool = Field(default=False, exclude_if=lambda waits: not waits)


class Step(BaseModel):
    """One thing that the lab is told to do.

    Attributes:
        capability: what the instrument must announce.
        parameters: arguments, unit in the key.
        quantities: readings that must come back.
        idempotent: doing it twice does no harm to the sample.
        bounds: physical bounds (low, high) of each reading, as the instruments announced them.
        max_wait_h: longest time in hours between the end of this step and the begin of the next one.
    """

    model_config = ConfigDict(frozen=True)

    capability: str
    parameters: dict[str, Any]
    quantities: tuple[str, ...]
    idempotent: bool = False
    bounds: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    max_wait_h: float | None = None


class Recipe(BaseModel):
    """A route compiled against what the lab announced. Empty ``steps``: it cannot be made here; ``reason`` says why.

    ``hazards``: those of the route that are no reason to refuse it; a person is asked about some.
    """

    model_config = ConfigDict(frozen=True)

    steps: tuple[Step, ...]
    precursors_g: dict[str, float] = Field(default_factory=dict)
    reason: str = ""
    hazards: tuple[Hazard, ...] = Field(default=(), exclude_if=lambda found: not found)


class Offer(BaseModel):
    """A capability as an instrument announced it, in plain numbers (``None`` is unbounded).

    ``batch``: the most samples in one act; ``programme``: the parameters that must then be equal.
    ``allowed``: the only words that a parameter may be, where the lab says so.
    """

    model_config = ConfigDict(frozen=True)

    capability: str
    idempotent: bool = False
    limits: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    quantities: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    batch: int = 1
    programme: tuple[str, ...] = ()
    allowed: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Science(Protocol):
    """The port through which the controller reaches the science, wherever it runs."""

    async def choose(self, order: ChoiceOrder) -> ChoiceAnswer:
        """Generate, screen and choose."""
        ...

    async def plan(self, candidate: Candidate, offers: tuple[Offer, ...], trials: tuple[Trial, ...] = ()) -> Recipe:
        """Plan and compile; ``trials`` are for planners that learn."""
        ...

    async def train(self, order: TrainingOrder) -> TrainingReport:
        """Train a version of the predictor; asked for only where the campaign has a trainer."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


def compile_recipe(routes: list[Route], offers: tuple[Offer, ...]) -> Recipe:
    """Compile the best route that the announced capabilities can carry out.

    A route is feasible where none of its hazards is refused, whoever planned it, every operation's capability is
    offered and every limited parameter lies within the limits. The quantities of a step are those the route names;
    its bounds are those the instrument announced.
    """
    offered = {offer.capability: offer for offer in offers}
    reasons: list[str] = []
    for route in routes:
        if refused := refusals(route.hazards or hazards_of(route.precursors_g)):
            reasons.append(f"refused: {'; '.join(refused)}")
            continue
        missing = [op.capability for op in route.operations if op.capability not in offered]
        if missing:
            reasons.append(f"{NOT_OFFERED} {', '.join(sorted(set(missing)))} (offered: {', '.join(offered)})")
            continue
        breach = _breach(route, offered)
        if breach:
            reasons.append(breach)
            continue
        steps = tuple(
            Step(
                capability=op.capability,
                parameters=op.parameters,
                quantities=op.quantities,
                idempotent=offered[op.capability].idempotent,
                bounds={
                    name: offered[op.capability].quantities[name]
                    for name in op.quantities
                    if name in offered[op.capability].quantities
                },
                max_wait_h=op.max_wait_h,
            )
            for op in route.operations
        )
        return Recipe(steps=steps, precursors_g=route.precursors_g, reason=route.reason, hazards=route.hazards)
    return Recipe(steps=(), reason="; ".join(reasons) or "the planner knows no route")


def _breach(route: Route, offered: dict[str, Offer]) -> str:
    for op in route.operations:
        for name, (low, high) in offered[op.capability].limits.items():
            value = op.parameters.get(name)
            if not isinstance(value, int | float):
                continue
            if (low is not None and value < low) or (high is not None and value > high):
                return f"{op.capability}: {name} = {value:g} is outside {low} .. {high}"
        for name, words in offered[op.capability].allowed.items():
            value = op.parameters.get(name)
            if isinstance(value, str) and value not in words:
                return f"{op.capability}: {name} = {value} is not allowed; allowed: {', '.join(words)}"
    return ""
