"""Planners compared by how fast they find the Pareto front of a measured pool: a table, curves, a plot."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from controller.bench_planning import plot_bands
from models.acquisition.evaluation import Kept, Run, interval, play_all
from models.acquisition.pareto_evaluation import ParetoTask, regret_curve, run_pareto
from models.acquisition.pareto_peers import pareto_method

Results = dict[str, dict[str, list[Run]]]
"""Method -> task -> one run a seed."""
Regrets = dict[str, dict[str, np.ndarray]]
"""Task -> method -> (seeds, experiments)."""


def compare(
    tasks: Sequence[ParetoTask],
    names: Sequence[str],
    seeds: int,
    budget: int,
    tell: Callable[[str], None],
    kept: Kept | None = None,
) -> Results:
    """Run every method on every pool from the same starts; raises UnknownNameError for a method that is not there."""
    makers = {name: pareto_method(name) for name in names}
    runs = {name: lambda task, seed, make=make: run_pareto(make, task, seed, budget) for name, make in makers.items()}
    return play_all(tasks, runs, seeds, tell, kept)


def regrets(tasks: Sequence[ParetoTask], results: Results) -> Regrets:
    """Hypervolume regret after each experiment."""
    return {
        task.name: {
            name: np.array([regret_curve(task, run.order) for run in by_task[task.name]])
            for name, by_task in results.items()
        }
        for task in tasks
    }


def report(tasks: Sequence[ParetoTask], results: Results, found: Regrets) -> str:
    """Return two tables in Markdown: regret at the end and on average over the run, with 90 % intervals; then pairs."""
    parts = []
    for title, of in (("at the end", lambda c: c[:, -1]), ("on average over the run", lambda c: c.mean(axis=1))):
        scores = {name: [of(found[t.name][name]) for t in tasks] for name in results}
        parts += [f"\nHypervolume regret {title} (1: nothing found, 0: the whole front)\n"]
        parts += [_row(["method", *(t.name for t in tasks), "mean (90 %)", "CPU s a suggestion"])]
        parts += [_row(["---"] * (len(tasks) + 3))]
        for name, by_pool in scores.items():
            mean, low, high = interval(by_pool)
            seconds = np.mean([np.median([s for r in results[name][t.name] for s in r.cpu_s] or [0.0]) for t in tasks])
            cells = [*(f"{s.mean():.3f}" for s in by_pool), f"**{mean:.3f}** ({low:.3f}-{high:.3f})", f"{seconds:.2f}"]
            parts.append(_row([name, *cells]))
        first, *others = scores
        for other in others:
            mean, low, high = interval([a - b for a, b in zip(scores[first], scores[other], strict=True)])
            parts.append(
                f"\n{first} - {other}: {mean:+.3f} (90 % {low:+.3f} to {high:+.3f}; below 0: {first} is better)"
            )
    return "\n".join(parts)


def write_curves(path: Path, tasks: Sequence[ParetoTask], results: Results, found: Regrets) -> None:
    """Write one line an experiment: pool, method, seed, number, row of the pool, regret."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["pool", "method", "seed", "experiment", "row", "hypervolume_regret"])
        for task in tasks:
            for name, by_task in results.items():
                for seed, run in enumerate(by_task[task.name]):
                    for i, (row, left) in enumerate(zip(run.order, found[task.name][name][seed], strict=True), 1):
                        table.writerow([task.name, name, seed, i, row, f"{left:.6f}"])


def plot_curves(path: Path, found: Regrets) -> None:
    """Draw the mean regret against experiments, one panel a pool."""
    plot_bands(path, found, "hypervolume regret")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
