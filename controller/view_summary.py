"""The last words of a run, and what a stopped one needs: plain lines that fit a log and a terminal."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.errors import RunStateError
from controller.rundir import RunDirectory
from controller.state import State
from controller.view_progress import Progress, clean, counted, duration, label, number
from models.observation import Objective, Observation

if TYPE_CHECKING:
    from controller.loop import Overhead

TOP = 6


def closing(
    directory: RunDirectory, state: State, progress: Progress, overhead: Overhead, report: Path | None, wall_s: float
) -> list[str]:
    """The summary of a finished run."""
    campaign = state.require()
    progress.take(state)
    lines = ["", f"{campaign.name}: finished, {state.finished}."]
    if state.rule not in ("", "budget"):
        lines.append(f"ended by the rule {state.rule}, before its budget of {campaign.budget.experiments} experiments")
    lines += ["", *best_lines(campaign.objectives, progress), ""]
    lines.append(_counted(progress))
    lab = f"lab time {duration(state.now_s)}" + (" (simulated)" if campaign.lab.clock == "simulated" else "")
    p50, p99 = quantiles_ms(overhead.turns)
    own = "" if math.isnan(p50) else f", controller's own work p50 {p50:.1f} ms, p99 {p99:.1f} ms a turn"
    lines.append(f"{lab}, wall time {duration(wall_s)}{own}")
    where = shlex.quote(str(directory.path))
    lines += ["", f"report     {report}"] if report else ["", f"report     athanor report {where}"]
    lines += [f"check      athanor replay {where}", f"numbers    athanor status {where} --json"]
    return lines


def best_lines(objectives: Sequence[Objective], progress: Progress, top: int = TOP) -> list[str]:
    """The best results as a table; the Pareto front where there are several objectives."""
    shown, several = leaders(objectives, progress, top), len(objectives) > 1
    if not shown:
        return ["No feasible result yet."]
    size = len(progress.front) if several else len(shown)
    title = ("Pareto front" if several else "Best") + (f" ({len(shown)} of {size})" if size > len(shown) else "")
    rows = [[title, "", *(f"{o.name} ({'max' if o.sign > 0 else 'min'})" for o in objectives)]]
    rows += [[o.experiment, label(o.candidate), *(number(o.values[w.name]) for w in objectives)] for o in shown]
    return table(rows)


def leaders(objectives: Sequence[Objective], progress: Progress, top: int) -> list[Observation]:
    """The best few: along the Pareto front, or by the only objective."""
    return spread(progress.front, top) if len(objectives) > 1 else progress.leaders[:top]


def spread(front: Sequence[Observation], top: int) -> list[Observation]:
    """At most ``top`` members of a front, both ends and evenly between them."""
    if len(front) <= top or top < 2:
        return list(front[:top])
    return [front[round(i * (len(front) - 1) / (top - 1))] for i in range(top)]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns: the first two left, the others right. The first row is the header."""
    head, *body = rows
    joined = len(head) > 1 and not head[1]
    widths = [max(len(row[i]) for row in (body if joined and i < 2 else rows)) for i in range(len(head))]
    if joined:
        widths[1] = max(widths[1], len(head[0]) - widths[0] - 2)
    lines = []
    for index, row in enumerate(rows):
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        if index == 0 and joined:
            cells = [head[0].ljust(widths[0] + 2 + widths[1]), *cells[2:]]
        lines.append("  ".join(cells).rstrip())
    return lines


def interruption(directory: RunDirectory, error: BaseException) -> list[str]:
    """What is safe, and the next command. The error itself is printed by whoever caught it."""
    where = shlex.quote(str(directory.path))
    if isinstance(error, RunStateError):
        return [f"nothing was changed. See what the run does: athanor status {where}"]
    try:
        state = directory.load()
        campaign = state.require()
    except Exception as unreadable:
        return [f"the journal cannot be read now ({clean(str(unreadable))}); when it can: athanor resume {where}"]
    lines = [f"safe: {len(state.observations)} of {campaign.budget.experiments} experiments are finished and on disk"]
    if state.active:
        lines.append(f"under way, kept at their next step: {', '.join(list(state.active)[:8])}")
    lines.append(f"go on:  athanor resume {where}")
    return lines


def status_lines(directory: RunDirectory, state: State, summary: dict[str, Any], progress: Progress) -> list[str]:
    """The human form of ``athanor status``."""
    campaign = state.require()
    rule = f"{summary['rule']}: " if summary["rule"] else ""
    reason = f" ({rule}{summary['reason']})" if summary["reason"] else ""
    lines = [f"{campaign.name}: {summary['state']}{reason}, {directory.path}"]
    lines.append(
        f"{summary['experiments']} of {campaign.budget.experiments} experiments, {_counted(progress)}; "
        f"lab time {duration(state.now_s)}, seed {campaign.seed}"
    )
    lines += ["", *best_lines(campaign.objectives, progress)]
    rows = [["instrument", "driver", "now", "busy"]]
    for name, instrument in sorted(state.instruments.items()):
        trouble = instrument.retired or instrument.absent
        now = f"out of service: {trouble}" if trouble else ""
        now = now or (activity(state, name)[0] if summary["state"] == "running" else "") or "idle"
        share = f"{instrument.busy_s / state.now_s:.0%}" if state.now_s else "-"
        rows.append([name, instrument.driver, clean(now), share])
    if len(rows) > 1:
        lines += ["", *_left(rows)]
    places = [f"{one.id} {one.position}" for one in state.active.values() if one.position]
    if places:
        lines += ["", f"samples: {', '.join(places)}"]
    for command in state.unknown():
        order = command.order
        lines.append(f"outcome unknown: {order.experiment} on {order.instrument} ({clean(command.unknown)})")
    lines += prospect_lines(state)
    if state.fallbacks:
        decision, what = state.fallbacks[-1]
        share = f"at {len(state.fallbacks)} of {state.decisions} decisions"
        lines += ["", f"fall-backs {share}, last at decision {decision}: {clean(what)}"]
    lines += screen_lines(summary["screen"])
    next_command = {"running": "athanor status", "stopped": "athanor resume", "finished": "athanor report"}
    lines += ["", f"next: {next_command[summary['state']]} {shlex.quote(str(directory.path))}"]
    return lines


def screen_lines(screen: dict[str, Any] | None) -> list[str]:
    """How many the learned screen let through, how much of the good it may have dropped, and which model serves."""
    if screen is None:
        return []
    rate, serving = screen["false_negative_rate"], screen["serving"]
    missed = "" if rate is None else f", missing an estimated {rate:.0%} of the good"
    lines = ["", f"screen: {screen['passed']:,} of {screen['taken']:,} passed{missed}"]
    if serving:
        kept = f"{screen['published']} published, {screen['not_published']} not"
        lines.append(f"model: {serving} serves, trained on {screen['trained_on']} results ({kept})")
    return lines


def prospect_lines(state: State) -> list[str]:
    """What there is to gain, and how near the rule is that would end the campaign; nothing where nobody asked."""
    rule, prospects = state.require().stop.improvement, state.prospects
    if prospects is None or state.finished:
        return []
    name = clean(state.require().objectives[0].name)
    said = f"to gain: {number(prospects.expected_improvement)} of {name}, noise {number(prospects.noise_std)}"
    if rule is not None:
        said += f" ({state.unpromising} of {rule.in_a_row} decisions in a row below {rule.below_noise:g} x the noise)"
    return ["", said] if state.ending is None else ["", f"ending: {clean(state.ending[1])}"]


def activity(state: State, instrument: str) -> tuple[str, float]:
    """What an instrument is doing, and since when in lab seconds; empty where it waits."""
    command = state.commands.get(state.instruments[instrument].busy)
    if command is None:
        return "", 0.0
    experiment = state.experiments[command.order.experiment]
    recipe, index = experiment.recipe, command.order.step
    step = recipe.steps[index] if recipe is not None and index < len(recipe.steps) else None
    verb = step.capability if step else "step"
    text = f"{experiment.id} {label(experiment.candidate)}: {verb}"
    if recipe is not None and len(recipe.steps) > 1:
        text += f" {index + 1}/{len(recipe.steps)}"
    return text + (f", round {command.order.round}" if command.order.round > 1 else ""), command.order.start_s


def quantiles_ms(turns: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds (nearest rank); NaN for nothing."""
    if not turns:
        return math.nan, math.nan
    ordered = sorted(turns)
    return tuple(1000 * ordered[math.ceil(q * len(ordered)) - 1] for q in (0.5, 0.99))  # type: ignore[return-value]


def _counted(progress: Progress) -> str:
    told = [counted(outcome, count) for outcome, count in progress.counts.items()]
    if progress.infeasible:
        told[0] += f" ({progress.infeasible} of them outside a constraint)"
    return ", ".join(told)


def _left(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
