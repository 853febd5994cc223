"""The sentences of the report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from controller.campaign import Campaign
from controller.errors import AthanorError
from controller.report_baseline import Baseline
from controller.report_data import RunData
from controller.report_names import amount, formula, pretty, prototype, quantity, words_and_unit
from controller.state import Experiment
from controller.view_progress import duration, label
from models.errors import ModelError

_METHODS = {
    "initial-design": ("as part of the initial design", "spread over the space before any model is trusted"),
    "replicate": (
        "to measure one of the best again",
        "knowing better which one is the best was worth more than anything new; knowledge gradient, Frazier, Powell & "
        "Dayanik, INFORMS J. Comput. 2009, doi:10.1287/ijoc.1080.0314",
    ),
    "random": ("at random", "every untried candidate is equally likely"),
    "qLogNEHVI": (
        "for the largest expected growth of the hypervolume (qLogNEHVI)",
        "logarithm of the noisy expected hypervolume improvement; Ament et al., NeurIPS 2023, "
        "doi:10.48550/arXiv.2310.20708",
    ),
    "logEI": (
        "for the largest expected improvement in closed form",
        "logarithm of the expected improvement; Ament et al., NeurIPS 2023, doi:10.48550/arXiv.2310.20708",
    ),
    "logEHVI": (
        "for the largest expected growth of the hypervolume in closed form",
        "logarithm of the expected hypervolume improvement; Daulton et al., NeurIPS 2020, "
        "doi:10.48550/arXiv.2006.05078",
    ),
    "top 5 %": (
        "as the likeliest to be among the best 5 % of the pool",
        "probability to be among the best twentieth of the candidates, by Gaussian processes over draws of their "
        "hyper-parameters; active search, Garnett et al., ICML 2012, doi:10.48550/arXiv.1206.6406",
    ),
    "growth of the front": (
        "for the largest expected growth of the Pareto front",
        "expected hypervolume improvement, each objective as half value and half rank, by Gaussian processes over "
        "draws of their hyper-parameters; Emmerich et al., CEC 2011, doi:10.1109/CEC.2011.5949880",
    ),
    "feasibility-search": (
        "to find what meets every constraint",
        "nothing that counts has been measured yet, so the likeliest to count is looked for first",
    ),
    "qLogNEI": (
        "for the largest expected improvement (qLogNEI)",
        "logarithm of the noisy expected improvement; Ament et al., NeurIPS 2023, doi:10.48550/arXiv.2310.20708",
    ),
}


def how(method: str) -> tuple[str, str]:
    """How a method chooses, in words, and what it is; of a plug-in only its name."""
    return _METHODS.get(method, (f"by {method}", ""))


def methods(run: RunData) -> list[str]:
    """How many experiments each method chose, and what it is."""
    names = [row.experiment.choice.method for row in run.rows]
    counted = {name: names.count(name) for name in dict.fromkeys(names)}
    return [
        f"{name} ({n} of {len(names)}): {_METHODS[name][1]}." if name in _METHODS else f"{name} ({n} of {len(names)})."
        for name, n in counted.items()
    ]


def seek(campaign: Campaign) -> str:
    """What the campaign wants: ``high toughness, with phase fraction at least 0.5``."""
    wants = " and ".join(f"{'high' if o.sign > 0 else 'low'} {words_and_unit(o.name)[0]}" for o in campaign.objectives)
    bounds = []
    for c in campaign.constraints:
        words, unit = words_and_unit(c.name)
        bounds += [f"{words} at least {amount(c.at_least)} {unit}".rstrip()] if c.at_least is not None else []
        bounds += [f"{words} at most {amount(c.at_most)} {unit}".rstrip()] if c.at_most is not None else []
    return wants + (f", with {' and '.join(bounds)}" if bounds else "")


def headline(run: RunData, compared: Baseline) -> list[str]:
    """What was sought, what was found, in how many experiments, of how many candidates: a few plain sentences."""
    campaign, done = run.campaign, len(run.finished)
    size = space_size(run)
    among = f"among {size:,} candidates" if size else "in a continuous space"
    said = [f"Sought: {seek(campaign)}, {among}."]
    if not run.ranking:
        tried = f"{done} experiments are finished and none counts as a result."
        return [*said, tried if done else "No experiment is finished yet.", _state(run)]
    best, first = run.ranking[0], campaign.objectives[0]
    values = " and ".join(quantity(o.name, best.values[o.name]) for o in campaign.objectives)
    place = f"experiment {best.finished} of {done}"
    said.append(f"Found: {_name(best.experiment)} with {values}, in {place}.")
    if len(campaign.objectives) > 1:
        size = len(run.front)
        said.append(f"The Pareto front has {size} results: nothing found is better than one of them in everything.")
    if compared.reach is not None:
        words = words_and_unit(first.name)[0]
        said.append(f"Random search takes {compared.reach:,} experiments (median) to find as good a {words}.")
    return [*said, _state(run)]


def space_size(run: RunData) -> int | None:
    """Number of candidates; ``None`` where the space is continuous or cannot be built any more."""
    from controller.science import science_spec

    started = run.state.started
    try:
        return science_spec(run.campaign, Path(started.base_dir if started else ".")).build_space().size
    except (ModelError, AthanorError, OSError):
        generated = [stage.passed for stage in run.state.stages if stage.stage == "generator"]
        return generated[0] if generated and run.campaign.space.kind != "parameters" else None


def why(experiment: Experiment, campaign: Campaign) -> list[str]:
    """Why a candidate was chosen, from what its decision recorded."""
    choice = experiment.choice
    said = f"Chosen {how(choice.method)[0]} in decision {experiment.decision}"
    if choice.method not in ("initial-design", "random"):
        said += f", with acquisition value {amount(choice.value)}"
        if choice.runner_up is not None:
            said += f"; the best one left behind, {choice.runner_up[0]}, had {amount(choice.runner_up[1])}"
        if campaign.constraints:
            said += f". Believed probability of meeting every constraint: {100 * choice.feasibility:.0f} %"
    told = [f"{said}."]
    if choice.note:
        told.append(f"Note: {choice.note}.")
    return told


def recipe_of(experiment: Experiment) -> dict[str, Any] | None:
    """Reason, weights and steps; big nested arguments are named, not spelt out."""
    recipe = experiment.recipe
    if recipe is None or not recipe.steps:
        return None
    return {
        "reason": recipe.reason,
        "precursors": sorted(recipe.precursors_g.items(), key=lambda item: -item[1]),
        "steps": [
            {
                "what": step.capability.replace("_", " "),
                "parameters": [(pretty(n), _short(value)) for n, value in step.parameters.items() if n != "masses_g"],
            }
            for step in recipe.steps
        ],
    }


def _short(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return amount(float(value)) if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        named = value.get("formula")
        pairs = [f"{k} {_short(v)}" for k, v in value.items() if isinstance(v, int | float | str)]
        return formula(str(named)) if named else ", ".join(pairs) or "…"
    if isinstance(value, list | tuple):
        return f"{len(value)} values"
    return str(value)


def _name(experiment: Experiment) -> str:
    candidate = experiment.candidate
    if candidate.formula and candidate.prototype:
        return f"{formula(candidate.formula)} ({prototype(candidate.prototype)})"
    return label(candidate)


def _state(run: RunData) -> str:
    state = run.state
    if state.finished:
        return f"The campaign is finished ({state.rule}): {state.finished}."
    under_way = f"; {len(state.active)} under way" if state.active else ""
    return f"The campaign is not finished{under_way}. Lab time so far {duration(state.now_s)}."
