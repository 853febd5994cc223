"""Planners compared on measured pools: tables with 90 % intervals over seeds, curves, a plot."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from models.acquisition import evaluation
from models.acquisition.evaluation import Run, Task
from models.acquisition.peers import method
from models.errors import DataError

Results = dict[str, dict[str, list[Run]]]
"""Method -> task -> one run a seed."""

EARLY = 10
"""Experiments after which the enhancement factor is shown too."""
SHARE = 0.5
"""Share of the best 5 % that the acceleration factor asks for."""
_DRAWS = 1000


def read_task(name: str) -> Task:
    """Return a named pool of ``ATHANOR_DATA``, or a CSV file whose last column is to be maximised. Raises DataError."""
    if not name.endswith(".csv"):
        return evaluation.load_task(name)
    import pandas as pd

    try:
        table = pd.read_csv(name)
        y = table.iloc[:, -1].to_numpy(float)
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{name}: {error}; give a CSV file whose last column is a number to be maximised") from error
    return evaluation.make_task(Path(name).stem, table.iloc[:, :-1], y)


def compare(
    tasks: Sequence[Task],
    names: Sequence[str],
    seeds: int,
    budget: int,
    tell: Callable[[str], None],
    kept: evaluation.Kept | None = None,
) -> Results:
    """Run every method on every pool from the same starts; raises UnknownNameError for a method that is not there."""
    makers = {name: method(name) for name in names}
    runs = {
        name: lambda task, seed, make=make: evaluation.run_campaign(make, task, seed, budget)
        for name, make in makers.items()
    }
    return evaluation.play_all(tasks, runs, seeds, tell, kept)


def report(tasks: Sequence[Task], results: Results, budget: int) -> str:
    """Return the tables in Markdown, for 20 and 40 experiments where the budget is larger, and for the budget."""
    parts = []
    for b in [b for b in (20, 40) if b < budget] + [budget]:
        parts += [f"\n## {b} experiments\n", *_areas_table(tasks, results, b)]
        parts += ["", *_differences(tasks, results, b), "", *_factors_table(tasks, results, b)]
    return "\n".join(parts)


def _areas_table(tasks: Sequence[Task], results: Results, budget: int) -> list[str]:
    lines = _head("EFauc (random search: 1)", *(t.name for t in tasks), "mean (90 %)", "worst")
    for name, by_task in results.items():
        scores = _areas(tasks, by_task, budget)
        means = [float(s.mean()) for s in scores]
        mean, low, high = evaluation.interval(scores)
        cells = [*(f"{mean:.2f}" for mean in means), f"**{mean:.2f}** ({low:.2f}-{high:.2f})", f"{min(means):.2f}"]
        lines.append(_row([name, *cells]))
    return lines


def _differences(tasks: Sequence[Task], results: Results, budget: int) -> list[str]:
    """The first method minus each other, seed by seed."""
    first, *others = results
    areas = {name: _areas(tasks, by_task, budget) for name, by_task in results.items()}
    lines = []
    for other in others:
        paired = [a - b for a, b in zip(areas[first], areas[other], strict=True)]
        mean, low, high = evaluation.interval(paired)
        lines.append(f"- {first} - {other}: {mean:+.2f} (90 % {low:+.2f} to {high:+.2f})")
    return lines


def _factors_table(tasks: Sequence[Task], results: Results, budget: int) -> list[str]:
    early = min(EARLY, budget)
    figures = [f"EF@{early}", f"EF@{budget}", f"AF@{SHARE}", "CPU s a suggestion"]
    lines = _head("method", *(f"{figure} (90 %)" for figure in figures))
    for name, by_task in results.items():
        factors = [
            _spread(
                evaluation.interval(
                    [np.array([evaluation.enhancement(t, r.order, i) for r in by_task[t.name]]) for t in tasks]
                )
            )
            for i in (early, budget)
        ]
        reached = [(t.name, _acceleration(t, [r.order[:budget] for r in by_task[t.name]])) for t in tasks]
        told = "; ".join(f"{pool} {said}" for pool, said in reached if said) or "not reached"
        seconds = [np.array([np.median(r.cpu_s) if r.cpu_s else 0.0 for r in by_task[t.name]]) for t in tasks]
        lines.append(_row([name, *factors, told, _spread(evaluation.interval(seconds), 3)]))
    return lines


def _acceleration(task: Task, orders: Sequence[Sequence[int]]) -> str:
    """AF with its interval; where some resampled seeds do not get there, the lower end is open (``<``)."""
    found = evaluation.acceleration(task, orders, SHARE)
    if found is None:
        return ""
    rng, most = np.random.default_rng(0), len(orders[0])
    draws = rng.integers(0, len(orders), (_DRAWS, len(orders)))
    curves = np.array([evaluation.top_curve(task, order) for order in orders])
    needed = np.ceil(SHARE * len(task.y))
    reached = curves[draws].mean(axis=1) >= SHARE - 1e-12
    count = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, most + 1)
    low, high = np.quantile(needed / count, [0.05, 0.95])
    return f"{found:.1f} ({'<' if low < needed / most else ''}{low:.1f}-{high:.1f})"


def _areas(tasks: Sequence[Task], by_task: dict[str, list[Run]], budget: int) -> list[np.ndarray]:
    return [np.array([evaluation.enhancement_area(t, r.order, budget) for r in by_task[t.name]]) for t in tasks]


def _spread(found: tuple[float, float, float], digits: int = 2) -> str:
    mean, low, high = (f"{value:.{digits}f}" for value in found)
    return f"{mean} ({low}-{high})"


def _head(*cells: str) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_curves(path: Path, tasks: Sequence[Task], results: Results) -> None:
    """Write one line an experiment: pool, method, seed, number, row of the pool, share of the top found, CPU s."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["pool", "method", "seed", "experiment", "row", "top_share", "cpu_s"])
        for task in tasks:
            for name, by_task in results.items():
                for seed, run in enumerate(by_task[task.name]):
                    cpu = [0.0] * (len(run.order) - len(run.cpu_s)) + list(run.cpu_s)
                    share = evaluation.top_curve(task, run.order)
                    for i, (row, top, s) in enumerate(zip(run.order, share, cpu, strict=True), 1):
                        table.writerow([task.name, name, seed, i, row, f"{top:.6f}", f"{s:.4f}"])


def plot_curves(path: Path, tasks: Sequence[Task], results: Results) -> None:
    """Draw the mean share of the best 5 % found against experiments, one panel a pool; the band holds 90 % of means."""
    panels = {}
    for task in tasks:
        panels[task.name] = {
            name: np.array([evaluation.top_curve(task, r.order) for r in by_task[task.name]])
            for name, by_task in results.items()
        }
    plot_bands(path, panels, "share of the best 5 % found")


def plot_bands(path: Path, panels: dict[str, dict[str, np.ndarray]], label: str) -> None:
    """Draw panels: title -> method -> (seeds, experiments) values, as the mean with its 90 % interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(panels), 3.2), layout="constrained")
    for number, (axes, (title, curves)) in enumerate(
        zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True)
    ):
        for name, values in curves.items():
            mean, experiments = values.mean(axis=0), np.arange(1, values.shape[1] + 1)
            (line,) = axes.plot(experiments, mean, label=name)
            half = 1.645 * values.std(axis=0) / np.sqrt(len(values))
            axes.fill_between(experiments, mean - half, mean + half, color=line.get_color(), alpha=0.15, lw=0)
        axes.set(title=title, xlabel="experiments", ylabel=label if number == 0 else "")
        if number == 0:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=150)
