"""The charts of the report, each from a run's data to SVG text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from controller.report_baseline import Band, Baseline
from controller.report_data import Row, RunData
from controller.report_names import belief, formula, pretty, quantity
from controller.report_svg import Chart, nice_range
from controller.view_progress import label, number
from models.observation import Objective

Z90 = 1.6449
MOST_BARS = 3000
_OUTCOME_STYLE = {
    "measured": "bar-good",
    "failed_synthesis": "bar-fail",
    "failed_measurement": "bar-bad",
    "": "bar-open",
}
OUTCOME_WORDS = {
    "measured": "measured",
    "failed_synthesis": "failed synthesis",
    "failed_measurement": "failed measurement",
    "": "under way",
}


def discovery(run: RunData, baseline: Baseline) -> str:
    """Every result and the best so far, against the number of finished experiments."""
    first, rows = run.campaign.objectives[0], run.finished
    x = list(range(1, len(rows) + 1))
    measured = [row.values.get(first.name, math.nan) for row in rows]
    extent = [*measured, *run.curves.best, *_extent(baseline.best)]
    chart = _against_experiments(run, pretty(first.name), extent, "best")
    _draw_baseline(chart, baseline.best, baseline.label)
    for place, row, value in zip(x, rows, measured, strict=True):
        if math.isfinite(value):
            chart.dot(place, value, "dot-result" if row.feasible else "dot-out", tip=_tip(row, first), radius=3.5)
    chart.line(zip(x, run.curves.best, strict=True), "curve", steps=True)
    chart.legend("line", "curve", "best so far")
    chart.legend("dot", "dot-result", "each result")
    if any(math.isfinite(v) and not row.feasible for row, v in zip(rows, measured, strict=True)):
        chart.legend("dot", "dot-out", "outside a constraint")
    return chart.svg()


def volume(run: RunData, baseline: Baseline) -> str:
    """Dominated hypervolume against the number of finished experiments; empty for one objective."""
    curve = run.curves.volume
    if curve is None:
        return ""
    chart = _against_experiments(run, "hypervolume", [0.0, *curve, *_extent(baseline.volume)], "hypervolume")
    _draw_baseline(chart, baseline.volume, baseline.label)
    chart.line(enumerate(curve, start=1), "curve", steps=True)
    chart.legend("line", "curve", "this run")
    return chart.svg()


def pareto(run: RunData, first: Objective, second: Objective) -> str:
    """Two objectives of every feasible result, with the front."""
    shown = [row for row in run.finished if first.name in row.values and second.name in row.values]
    chart = Chart(
        nice_range([row.values[first.name] for row in shown], margin=0.1),
        nice_range([row.values[second.name] for row in shown], margin=0.1),
        x_label=_arrow(first),
        y_label=_arrow(second),
        title=f"Pareto front of {pretty(first.name)} and {pretty(second.name)}",
    )
    front = [(row.values[first.name], row.values[second.name]) for row in run.front]
    if len(run.campaign.objectives) == 2:
        chart.line(_staircase(front, first, second, chart), "front")
        chart.legend("line", "front", "Pareto front")
    for row in shown:
        style = "dot-front" if row in run.front else ("dot-result" if row.feasible else "dot-out")
        chart.dot(row.values[first.name], row.values[second.name], style, tip=_tip(row, first, second))
    chart.legend("dot", "dot-front", "on the front")
    chart.legend("dot", "dot-result", "other results")
    if any(not row.feasible for row in shown):
        chart.legend("dot", "dot-out", "outside a constraint")
    _name_points(chart, run.front, first, second)
    return chart.svg()


@dataclass(frozen=True)
class Parity:
    """How a quantity was predicted before it was measured.

    Attributes:
        chart: SVG.
        inside: how many measurements lay in the central 90 % interval of their prediction.
        count: how many there are.
        rmse: root-mean-square error of the predicted mean, in the quantity's unit.
    """

    name: str
    chart: str
    inside: int
    count: int
    rmse: float


def parity(run: RunData, name: str) -> Parity | None:
    """Predicted against measured; ``None`` where nothing was both predicted with an uncertainty and measured."""
    pairs = []
    for row in run.finished:
        guess = row.experiment.choice.predicted.get(name)
        if guess is not None and guess.std > 0 and name in row.values:
            pairs.append((row, row.values[name], guess))
    if not pairs:
        return None
    measured = np.array([value for _, value, _ in pairs])
    mean, std = (np.array([getattr(guess, part) for _, _, guess in pairs]) for part in ("mean", "std"))
    # Whiskers of hopeless predictions may leave the picture; the points may not.
    low, high = nice_range([*measured, *mean], margin=0.12)
    chart = Chart(
        (low, high),
        (low, high),
        x_label=f"measured {pretty(name)}",
        y_label="predicted before",
        title=f"predicted against measured {pretty(name)}",
    )
    chart.line([(low, low), (high, high)], "ideal")
    for row, x, p in pairs:
        y, reach = p.mean, Z90 * p.std
        chart.whisker(x, max(low, y - reach), min(high, y + reach))
        tip = f"{label(row.experiment.candidate)}: measured {number(x)}, predicted {belief(p)}"
        chart.dot(x, y, "dot-result", tip=tip, radius=3.5)
    inside = int((np.abs(measured - mean) <= Z90 * std).sum())
    return Parity(name, chart.svg(), inside, len(pairs), float(np.sqrt(((measured - mean) ** 2).mean())))


def gantt(run: RunData) -> str:
    """Which instrument did what when, in lab time."""
    names = sorted(run.state.instruments)
    bars = [(names.index(r.instrument), r, row) for row in run.rows for r in row.experiment.records]
    end = run.state.now_s / 3600
    if not bars or end <= 0:
        return ""
    unit, per_hour = ("days", 1 / 24) if end > 72 else (("h", 1.0) if end > 0.5 else ("min", 60.0))
    chart = Chart(
        (0, end * per_hour),
        (-0.5, len(names) - 0.5),
        x_label=f"lab time ({unit})",
        y_label="",
        title="what each instrument did when",
        width=1080,
        height=72 + 40 * len(names),
        left=max(68, 14 + 7 * max(map(len, names))),
        y_ticks=[(len(names) - 1 - i, name) for i, name in enumerate(names)],
    )
    for place, record, row in bars[:MOST_BARS]:
        y = len(names) - 1 - place
        style = "bar-bad" if record.verdict in ("fault", "measure_again") else _OUTCOME_STYLE[row.experiment.outcome]
        span = (record.finish_s - record.start_s) / 3600
        verdict = record.verdict.replace("_", " ")
        tip = f"{row.experiment.id} {label(row.experiment.candidate)}: {number(span)} h, {verdict}"
        chart.bar(record.start_s / 3600 * per_hour, record.finish_s / 3600 * per_hour, y - 0.32, y + 0.32, style, tip)
    for outcome in dict.fromkeys(row.experiment.outcome for _, _, row in bars):
        chart.legend("bar", _OUTCOME_STYLE[outcome], OUTCOME_WORDS[outcome])
    return chart.svg()


def costs(run: RunData) -> str:
    """Lab hours of each experiment, by instrument, in the order of choice."""
    names = sorted({name for row in run.rows for name in row.hours})
    totals = [sum(row.hours.values()) for row in run.rows]
    if not names or len(run.rows) > MOST_BARS or max(totals) <= 0:
        return ""
    chart = Chart(
        (0.4, len(run.rows) + 0.6),
        (0, max(totals) * 1.06),
        x_label="experiment, in the order of choice",
        y_label="lab time (h)",
        title="lab hours of each experiment by instrument",
        width=1080,
        height=260,
        x_whole=True,
    )
    for row in run.rows:
        base = 0.0
        for i, name in enumerate(names):
            hours = row.hours.get(name, 0.0)
            if hours > 0:
                tip = f"{row.experiment.id} {label(row.experiment.candidate)}: {name} {number(hours)} h"
                chart.bar(row.order - 0.4, row.order + 0.4, base, base + hours, f"series-{i % 6}", tip)
                base += hours
    for i, name in enumerate(names):
        chart.legend("bar", f"series-{i % 6}", name)
    return chart.svg()


def pattern(x: np.ndarray, y: np.ndarray, lines: list[tuple[float, str]], x_label: str, y_label: str) -> str:
    """A diffraction pattern with the reflections that the wanted crystal should have."""
    x, y = _thinned(x, y, 1400)
    top = float(np.max(y)) if len(y) else 1.0
    chart = Chart(
        (float(x[0]), float(x[-1])),
        (-0.09 * top, 1.08 * top),
        x_label=x_label,
        y_label=y_label,
        title="diffraction pattern",
        width=1080,
        height=300,
    )
    chart.line(zip(x.tolist(), y.tolist(), strict=True), "trace")
    for place, name in lines:
        if x[0] <= place <= x[-1]:
            chart.bar(place, place, -0.075 * top, -0.02 * top, "reflection", name)
    if lines:
        chart.legend("line", "trace", "measured")
        chart.legend("line", "reflection", "where the wanted crystal reflects, at the measured cell volume")
    return chart.svg()


def _thinned(x: np.ndarray, y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Fewer points, with the lowest and highest of every stretch kept, so that no peak is lost."""
    if len(x) <= most:
        return x, y
    edges = np.linspace(0, len(x), most // 2 + 1).astype(int)
    kept = {k for a, b in pairwise(edges) for k in (a + int(np.argmin(y[a:b])), a + int(np.argmax(y[a:b])))}
    chosen = sorted(kept)
    return x[chosen], y[chosen]


def _against_experiments(run: RunData, y_label: str, values: list[float], what: str) -> Chart:
    return Chart(
        (0, max(len(run.finished), 1) + 0.5),
        nice_range(values),
        x_label="experiments finished",
        y_label=y_label,
        title=f"{what} against experiments",
        x_whole=True,
    )


def _draw_baseline(chart: Chart, band: Band | None, words: str) -> None:
    if band is None:
        return
    x = list(range(1, len(band.middle) + 1))
    x = [place for place in x if place <= chart.x[1]]
    if band.low is not None and band.high is not None:
        chart.band(x, list(band.low[: len(x)]), list(band.high[: len(x)]), "band")
    chart.line(zip(x, band.middle, strict=False), "baseline", steps=True)
    chart.legend("line", "baseline", words)


def _extent(band: Band | None) -> list[float]:
    if band is None:
        return []
    return [float(v) for curve in (band.low, band.middle, band.high) if curve is not None for v in curve]


def _staircase(
    front: list[tuple[float, float]], first: Objective, second: Objective, chart: Chart
) -> list[tuple[float, float]]:
    """The boundary of what the front dominates, from the worst first objective to the worst second one."""
    points = sorted(front, key=lambda p: first.sign * p[0])
    if not points:
        return []
    corners = [(chart.x[0] if first.sign > 0 else chart.x[1], points[0][1])]
    for (x, y), (_, y_next) in pairwise([*points, (math.nan, chart.y[0] if second.sign > 0 else chart.y[1])]):
        corners += [(x, y), (x, y_next)]
    return corners


def _name_points(chart: Chart, front: list[Row], first: Objective, second: Objective) -> None:
    """Write names beside the front's points where they do not run into each other."""
    taken: list[tuple[float, float, float]] = []
    for row in front:
        x, y = chart.at(row.values[first.name], row.values[second.name])
        words = formula(row.experiment.candidate.formula) or row.experiment.candidate.id
        wide = 7.5 * len(words)
        left = x + 12 + wide > chart.width - chart.right
        begin, end = (x - 8 - wide, x - 8) if left else (x + 8, x + 8 + wide)
        if all(abs(y - level) > 14 or end < a or begin > b for a, b, level in taken):
            taken.append((begin, end, y))
            data = (row.values[first.name], row.values[second.name])
            chart.text(*data, words, dx=-8 if left else 8, dy=-8, anchor="end" if left else "start")


def _arrow(objective: Objective) -> str:
    return f"{pretty(objective.name)}, {'more' if objective.sign > 0 else 'less'} is better"


def _tip(row: Row, *objectives: Objective) -> str:
    values = ", ".join(quantity(o.name, row.values[o.name]) for o in objectives)
    return f"{row.experiment.id} {label(row.experiment.candidate)}: {values}"
