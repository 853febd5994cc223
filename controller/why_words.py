"""The sentences of `athanor why`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from controller.report_words import how
from controller.view_progress import label, number
from controller.why import Why
from models.explanation import Belief, Lesson
from models.observation import Observation, Prediction

INTERVAL = 1.6449
"""Standard deviations on either side that hold 90 % of a Gaussian."""
TOP = 5
_CHOSEN_BY_MODEL = "fitted to the same data"


def lines(why: Why) -> list[str]:
    """The explanation as paragraphs of plain lines."""
    experiment, choice = why.experiment, why.experiment.choice
    state = experiment.outcome.replace("_", " ") or ("being made" if experiment.records else "not begun")
    told = [f"{experiment.id}  {label(experiment.candidate)}: {state}"]
    told += ["", *_choosing(why), ""]
    if not why.explanation.beliefs:
        told.append("expected    nothing: no result was known, so there was no model")
    elif not choice.model_hash:
        told.append(f"expected    (by models {_CHOSEN_BY_MODEL}; the choice did not ask them)")
    for name, belief in why.explanation.beliefs.items():
        told += _expecting(name, belief)
    if why.explanation.beliefs:
        told += [*_doubt(why), ""]
    told += _learning(why)
    if note := choice.note or why.explanation.note:
        told += ["", f"note        {note}"]
    return told


def _choosing(why: Why) -> list[str]:
    choice, order, computed = why.experiment.choice, why.order, why.explanation
    verb, what = how(choice.method)
    told = [f"chosen      {verb}, decision {order.decision}"]
    if what:
        told.append(f"            ({what})")
    if choice.model_hash or choice.runner_up is not None:
        told.append(f"value       {number(choice.value)}")
    if choice.runner_up is not None:
        name, value = choice.runner_up
        told.append(f"runner-up   {name} with {number(value)}")
    if why.state.require().constraints and choice.model_hash:
        told.append(f"feasible    with probability {choice.feasibility:.0%}")
    told += _screened(why)
    told.append(f"it saw      {order.n_observations} results, {len(order.pending)} pending; seed {order.seed}")
    told.append(f"data        {choice.data_hash[:16]}  ({_same(choice.data_hash, computed.data_hash)})")
    if choice.model_hash:
        told.append(f"model       {choice.model_hash[:16]}  ({_same(choice.model_hash, computed.model_hash)})")
    return told


def _screened(why: Why) -> list[str]:
    """Which version of the predictor screened, where a trainer publishes some."""
    n = why.order.trained_on
    if not n:
        return []
    serving = next((t.serving for t in why.state.trainings if t.n_observations == n), "")
    return [f"screened    by the model {serving} that served after {n} results"]


def _same(recorded: str, computed: str) -> str:
    return "recomputed: the same" if recorded == computed else f"recomputed: {computed[:16]}, it DIFFERS"


def _expecting(name: str, belief: Belief) -> list[str]:
    parts = [f"expected    {name} {_interval(belief.expected)}"]
    if belief.importance:
        parts.append(f"mattered    {_list(belief.importance, '{:.0%}')}  (share of the prediction, over the pool)")
        signed = {k: v for k, v in belief.effects.items() if abs(v) > 1e-3 * max(belief.expected.std, 1e-300)}
        if signed:
            parts.append(f"here        {_list(signed, '{:+.3g}')}  (against the pool's usual value)")
    if belief.lengthscales:
        parts.append(f"scales      {_list(belief.lengthscales, '{:.2g}')}  (length scales; 1 is the width of the pool)")
    return parts


def _doubt(why: Why) -> list[str]:
    """Of which quantity it knew least, for its usual doubt and its noise."""

    def relative(item: tuple[str, Belief]) -> float:
        return item[1].doubt_std / max(item[1].pool_doubt_std, 1e-300)

    name, belief = max(why.explanation.beliefs.items(), key=relative)
    usual = relative((name, belief))
    more = "more than" if usual > 1.1 else "less than" if usual < 0.9 else "as much as"
    said = f"unsure      most of {name}: true value ±{number(belief.doubt_std)}, {more} of the pool on average"
    return [f"{said} (±{number(belief.pool_doubt_std)}); one measurement's noise ±{number(belief.noise_std)}"]


def _learning(why: Why) -> list[str]:
    result = why.result
    if result is None:
        return ["learnt      nothing yet: it is not finished"]
    if result.outcome == "failed_measurement":
        return [f"learnt      nothing: {why.experiment.reason or 'the measurement failed'}; no model learns from that"]
    told = []
    if result.outcome == "failed_synthesis":
        told.append(f"result      the synthesis failed: {why.experiment.reason}")
    told += _measured(why, result)
    for name, lesson in why.explanation.lessons.items():
        told += _lesson(name, lesson)
    return told or ["learnt      no modelled quantity was measured"]


def _measured(why: Why, result: Observation) -> list[str]:
    told = []
    for name, belief in why.explanation.beliefs.items():
        value = result.values.get(name)
        if value is None:
            continue
        off = (value - belief.expected.mean) / max(belief.expected.std, 1e-300)
        verdict = "inside the 90 % interval" if abs(off) <= INTERVAL else "a surprise, outside the 90 % interval"
        told.append(f"measured    {name} {number(value)}: {off:+.1f} standard deviations, {verdict}")
    return told


def _lesson(name: str, lesson: Lesson) -> list[str]:
    before = f"from {_pm(lesson.before)} " if lesson.before else ""
    told = [f"learnt      {name} here: {before}to {_pm(lesson.after)}"]
    if lesson.pool_shift is not None and lesson.pool_doubt_before_std is not None:
        told.append(
            f"            over the pool the expectation moved by {number(lesson.pool_shift)} on average; "
            f"doubt ±{number(lesson.pool_doubt_before_std)} became ±{number(lesson.pool_doubt_after_std)}"
        )
    return told


def _pm(belief: Prediction) -> str:
    return f"{number(belief.mean)} ± {number(belief.std)}"


def _interval(belief: Prediction) -> str:
    if belief.std <= 0 or not math.isfinite(belief.std):
        return f"{number(belief.mean)}, exactly known"
    low, high = belief.mean - INTERVAL * belief.std, belief.mean + INTERVAL * belief.std
    return f"{number(belief.mean)}, with 90 % between {number(low)} and {number(high)}"


def _list(values: Mapping[str, float], form: str) -> str:
    shown = [f"{name} {form.format(value)}" for name, value in list(values.items())[:TOP]]
    return ", ".join(shown) + (f", {len(values) - TOP} more" if len(values) > TOP else "")
