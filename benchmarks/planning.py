"""Compare planners on measured pools: ``planning.py DATA... [--methods ...] [--seeds N] [--budget B] [--out DIR]``.

DATA are names such as ``liang2021/AgNP`` or ``olympus/alkox`` (default: the sets of Liang et al. that are there), or
CSV files whose last column is the objective to maximise. Prints EF, EFauc, AF and seconds a suggestion with 90 %
intervals over seeds; writes ``curves.csv`` and ``curves.png`` into ``--out``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.acquisition import evaluation
from models.acquisition.evaluation import Run, Task
from models.acquisition.peers import method, methods
from models.errors import ModelError

Results = dict[str, dict[str, list[Run]]]
"""method -> task -> one run a seed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; return the exit status."""
    parser = argparse.ArgumentParser(prog="athanor bench planning", description=__doc__)
    parser.add_argument("data", nargs="*", default=list(evaluation.LIANG), help="pools; default: Liang et al.")
    parser.add_argument("--methods", nargs="+", default=methods(), help=f"of {', '.join(methods())}")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=40, help="experiments a campaign, the two starting ones counted")
    parser.add_argument("--out", type=Path, default=None, help="folder for the curves; nothing is written unless given")
    args = parser.parse_args(argv)
    try:
        makers = {name: method(name) for name in args.methods}
        tasks = [read_task(name) for name in args.data]
        results: Results = {name: {} for name in makers}
        for task in tasks:
            for name, make in makers.items():
                runs = [evaluation.run_campaign(make, task, seed, args.budget) for seed in range(args.seeds)]
                results[name][task.name] = runs
                print(f"{task.name}: {name} done", file=sys.stderr, flush=True)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 2
    print(report(tasks, results, args.budget))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        write_curves(args.out / "curves.csv", tasks, results)
        plot_curves(args.out / "curves.png", tasks, results)
    return 0


def read_task(name: str) -> Task:
    """Return a named pool, or a CSV file whose last column is to be maximised."""
    if not name.endswith(".csv"):
        return evaluation.load_task(name)
    import pandas as pd

    table = pd.read_csv(name)
    return evaluation.make_task(Path(name).stem, table.iloc[:, :-1], table.iloc[:, -1].to_numpy(float))


def report(tasks: list[Task], results: Results, budget: int) -> str:
    """Return tables in Markdown: EFauc by pool and on average, EF, AF, CPU time, and paired differences."""
    out: list[str] = []
    for b in [b for b in (20, 40) if b < budget] + [budget]:
        areas = {m: [_areas(t, results[m][t.name], b) for t in tasks] for m in results}
        head = ["method", *(t.name for t in tasks), "mean EFauc (90 %)", "EF@10", f"EF@{b}", "AF@0.5", "CPU s"]
        out += [f"\nBudget {b}: EFauc by pool, random search = 1", "", _row(head), _row(["---"] * len(head))]
        for m, scores in areas.items():
            mean, low, high = evaluation.interval(scores)
            runs = [(t, r) for t in tasks for r in results[m][t.name]]
            enhancement = [np.mean([evaluation.enhancement(t, r.order, i) for t, r in runs]) for i in (10, b)]
            orders = {t.name: [r.order[:b] for r in results[m][t.name]] for t in tasks}
            reached = {t.name: evaluation.acceleration(t, orders[t.name], 0.5) for t in tasks}
            cpu = np.median([s for _, r in runs for s in r.cpu_s] or [0.0])
            out.append(
                _row(
                    [m, *(f"{s.mean():.2f}" for s in scores), f"**{mean:.2f}** ({low:.2f}-{high:.2f})"]
                    + [f"{e:.2f}" for e in enhancement]
                    + ["; ".join(f"{n} {a:.1f}" for n, a in reached.items() if a) or "not reached", f"{cpu:.3f}"]
                )
            )
        first, *others = areas
        for m in others:
            paired = [a - o for a, o in zip(areas[first], areas[m], strict=True)]
            mean, low, high = evaluation.interval(paired)
            out.append(f"\n{first} - {m}: {mean:+.2f} (90 % {low:+.2f} to {high:+.2f})")
    return "\n".join(out)


def _areas(task: Task, runs: list[Run], budget: int) -> np.ndarray:
    return np.array([evaluation.enhancement_area(task, r.order, budget) for r in runs])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_curves(path: Path, tasks: list[Task], results: Results) -> None:
    """Write one line an experiment: pool, method, seed, number, row of the pool, share of the top found, CPU s."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["pool", "method", "seed", "experiment", "row", "top_share", "cpu_s"])
        for task in tasks:
            for m, by_task in results.items():
                for seed, run in enumerate(by_task[task.name]):
                    cpu = [0.0] * (len(run.order) - len(run.cpu_s)) + list(run.cpu_s)
                    share = evaluation.top_curve(task, run.order)
                    for i, (row, top, s) in enumerate(zip(run.order, share, cpu, strict=True), 1):
                        table.writerow([task.name, m, seed, i, row, f"{top:.6f}", f"{s:.4f}"])


def plot_curves(path: Path, tasks: list[Task], results: Results) -> None:
    """Draw mean Top% against experiments, one panel a pool."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(tasks), 3.0), layout="constrained")
    for number, (task, axes) in enumerate(zip(tasks, figure.subplots(1, len(tasks), squeeze=False)[0], strict=True)):
        for m, by_task in results.items():
            mean = np.mean([evaluation.top_curve(task, r.order) for r in by_task[task.name]], axis=0)
            axes.plot(np.arange(1, len(mean) + 1), mean, label=m)
        axes.set(title=task.name, xlabel="experiments", ylabel="share of the best 5 % found" if number == 0 else "")
        if number == 0:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    raise SystemExit(main())
