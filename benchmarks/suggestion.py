"""What one choice costs at 100 observations: ``python -m benchmarks.suggestion``.

Pools: the sets of Liang et al. (npj Comput. Mater. 2021) that ``ATHANOR_DATA`` has. For each, 100 rows drawn at random
are known and one more is chosen, fit included, by the planner of the benchmark (``models.acquisition.benchmark``) and
by the campaigns' own acquisition; median and largest CPU seconds of a process with one thread, over ``--repeats``.
The goal is a median of at most 0.2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

from models.acquisition.benchmark import Planner
from models.acquisition.evaluation import LIANG, Task, load_task
from models.acquisition.pareto_evaluation import ParetoTask
from models.acquisition.pareto_peers import Athanor
from models.errors import DataError

KNOWN = 100


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--only", nargs="+", default=list(LIANG), metavar="POOL")
    arguments = parser.parse_args(argv)
    print("| pool | candidates | features | planner, CPU s (largest) | campaigns' acquisition, CPU s (largest) |")
    print("|---|---|---|---|---|", flush=True)
    everything = []
    for name in arguments.only:
        try:
            task = load_task(name)
        except DataError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        spent = np.array([one(task, seed) for seed in range(arguments.repeats + 1)])[
            1:
        ]  # the first loads the libraries
        everything.append(spent)
        cells = [f"{np.median(column):.3f} ({column.max():.3f})" for column in spent.T]
        print(f"| {task.name} | {len(task.y)} | {task.X.shape[1]} | {' | '.join(cells)} |", flush=True)
    if everything:
        planner, campaign = np.median(np.concatenate(everything), axis=0)
        print(f"\nmedian of all, at {KNOWN} observations: planner {planner:.3f}, campaigns' acquisition {campaign:.3f}")
    return 0


def one(task: Task, seed: int) -> tuple[float, float]:
    """CPU seconds of one suggestion by the planner, and by the campaigns' acquisition."""
    rows = np.random.default_rng(seed).permutation(len(task.y))[: min(KNOWN, len(task.y) - 1)].tolist()
    names, Y = list(task.feature_names), np.asarray(task.y, dtype=float)[:, None]
    planner = Planner(task.X, names, seed)
    begin = time.process_time()
    planner.suggest(rows, Y[rows, 0].tolist(), [])
    middle = time.process_time()
    Athanor(ParetoTask(task.name, task.X, Y, Y.min(axis=0), names, ["y"]), seed).suggest(rows, Y[rows])
    return middle - begin, time.process_time() - middle


if __name__ == "__main__":
    sys.exit(main())
