"""What a campaign has found so far, as plain data: for `athanor status`, the live view and the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from controller.state import State
from models.acquisition.hypervolume import pareto_front
from models.observation import Observation
from models.outcome import averaged, is_feasible


def feasible(state: State) -> list[Observation]:
    """Observations that count, in the order in which they were learnt."""
    campaign = state.require()
    return [o for o in state.observations if is_feasible(o, campaign.objectives, campaign.constraints)]


def front(state: State) -> list[Observation]:
    """The Pareto front of the feasible observations, best first by the first objective. One objective: the best.

    A candidate that was measured several times counts once, with the mean of its results.
    """
    found, campaign = averaged(feasible(state)), state.require()
    if not found:
        return []
    signs = [objective.sign for objective in campaign.objectives]
    values = np.array([[o.values[objective.name] for objective in campaign.objectives] for o in found])
    chosen = [found[i] for i in pareto_front(values, signs)]
    first = campaign.objectives[0]
    chosen.sort(key=lambda o: -first.sign * o.values[first.name])
    return chosen[:1] if len(campaign.objectives) == 1 else chosen


def describe(observation: Observation) -> dict[str, Any]:
    """An observation as JSON-like data."""
    return {
        "experiment": observation.experiment,
        "candidate": observation.candidate.id,
        "outcome": observation.outcome,
        "values": observation.values,
    }


def summarize(state: State, running: bool) -> dict[str, Any]:
    """The object that ``athanor status --json`` prints. Keys are stable; see ``docs/cli.md``."""
    campaign = state.require()
    best = front(state)
    run_state = "finished" if state.finished else ("running" if running else "stopped")
    counts = dict.fromkeys(("measured", "failed_synthesis", "failed_measurement"), 0)
    for observation in state.observations:
        counts[observation.outcome] += 1
    return {
        "name": campaign.name,
        "run_id": state.started.run_id if state.started else "",
        "state": run_state,
        "reason": state.finished or state.stopping,
        "rule": state.rule or (state.ending[0] if state.ending else ""),
        "seed": campaign.seed,
        "budget": campaign.budget.experiments,
        "experiments": len(state.observations),
        "outcomes": counts,
        "choices": [experiment.candidate.id for experiment in state.experiments.values()],
        "best": describe(best[0]) if best else None,
        "pareto": [describe(observation) for observation in best],
        "pending": [experiment.candidate.id for experiment in state.active.values()],
        "unknown": [command.order.command_id for command in state.unknown()],
        "samples": {
            experiment.id: {"position": experiment.position, "step": experiment.step + 1}
            | ({"due_h": round(experiment.due_s / 3600, 4)} if experiment.due_s < float("inf") else {})
            for experiment in state.active.values()
            if experiment.position
        },
        "fallbacks": [{"decision": decision, "what": what} for decision, what in state.fallbacks],
        "screen": _screen(state),
        "lab_hours": round(state.now_s / 3600, 4),
        "epoch": state.epoch,
    }


def _screen(state: State) -> dict[str, Any] | None:
    """The learned screen at the last decision, and the version of its model that serves; None where there is none."""
    stage = next((stage for stage in state.stages if stage.stage == "ensemble"), None)
    if stage is None:
        return None
    trained = state.trainings[-1] if state.trainings else None
    return {
        "taken": stage.taken,
        "passed": stage.passed,
        "false_negative_rate": stage.detail.get("false_negative_rate"),
        "model": stage.model,
        "serving": trained.serving if trained else "",
        "trained_on": state.trained_on,
        "published": sum(training.published for training in state.trainings),
        "not_published": sum(not training.published for training in state.trainings),
    }
