"""`athanor why RUN EXPERIMENT`: what was expected of an experiment, why it was chosen, and what it taught."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.crew import LocalCrew
from actors.errors import ActorError
from actors.pipeline import Pipeline
from controller import events as ev
from controller.errors import CampaignError
from controller.journal import Journal
from controller.rundir import RunDirectory
from controller.science import science_spec
from controller.state import Experiment, State, choice_order
from models.errors import ModelError
from models.explanation import Explanation
from models.observation import Observation


@dataclass(frozen=True)
class Why:
    """An experiment as the journal has it, and the models' explanation, computed anew.

    Attributes:
        order: what the decision saw.
        result: what the experiment taught; ``None`` while it is under way.
        explanation: see ``models.explanation``.
    """

    state: State
    experiment: Experiment
    order: ev.ChoiceOrdered
    result: Observation | None
    explanation: Explanation

    def as_json(self) -> dict[str, Any]:
        """One object for programs; its keys are described in ``docs/cli.md``."""
        choice, order = self.experiment.choice, self.order
        return {
            "experiment": self.experiment.id,
            "decision": order.decision,
            "seed": order.seed,
            "n_observations": order.n_observations,
            "pending": list(order.pending),
            "choice": choice.model_dump(mode="json"),
            "result": self.result.model_dump(mode="json", exclude={"candidate"}) if self.result else None,
            "recomputed": self.explanation.model_dump(mode="json"),
            "same_data": choice.data_hash == self.explanation.data_hash,
            "same_model": choice.model_hash == self.explanation.model_hash if choice.model_hash else None,
        }


def why(directory: RunDirectory, name: str) -> Why:
    """Explain one experiment of a run, finished or not, also while the run goes on.

    The models are fitted anew from what the journal says that the decision saw, as a replay does.

    Args:
        directory: the run.
        name: of the experiment, ``E0007`` (or ``7``).

    Raises:
        CampaignError: no such experiment, or the files that the campaign reads are gone.
        RunStateError, StorageError: no run, or it cannot be read.
    """
    state = directory.load()
    experiment = state.experiments.get(_full_name(name))
    if experiment is None:
        raise CampaignError(f"{directory.path}: no experiment {name!r}; {_known(state)}.")
    order = _order_of(directory, experiment.decision)
    place = next((i for i, o in enumerate(state.observations) if o.experiment == experiment.id), None)
    try:
        explanation = asyncio.run(_explain(directory, state, experiment, order, place))
    except (ModelError, ActorError, OSError) as error:
        raise CampaignError(f"{experiment.id} cannot be explained: {error}") from error
    result = None if place is None else state.observations[place]
    return Why(state, experiment, order, result, explanation)


def _full_name(name: str) -> str:
    return f"E{int(name):04d}" if name.isascii() and name.isdigit() else name.strip()


def _known(state: State) -> str:
    names = list(state.experiments)
    return f"there are {names[0]} to {names[-1]}" if names else "nothing has been chosen yet"


def _order_of(directory: RunDirectory, decision: int) -> ev.ChoiceOrdered:
    journal = Journal(directory.journal, readonly=True)
    try:
        for _, _, event in journal.read():
            if isinstance(event, ev.ChoiceOrdered) and event.decision == decision:
                return event
    finally:
        journal.close()
    raise CampaignError(f"{directory.path}: the journal has no decision {decision}; `athanor replay` checks it.")


async def _explain(
    directory: RunDirectory, state: State, experiment: Experiment, order: ev.ChoiceOrdered, place: int | None
) -> Explanation:
    base_dir = Path(state.started.base_dir if state.started else ".")
    pipeline = Pipeline(science_spec(state.require(), base_dir, directory.path.resolve()), LocalCrew())
    before = tuple(state.observations[:place]) if place is not None else ()
    after = tuple(state.observations[: place + 1]) if place is not None else ()
    try:
        return await pipeline.explain(choice_order(state, order), experiment.candidate, before, after)
    finally:
        await pipeline.close()
