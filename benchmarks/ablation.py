"""What each piece of the planner is worth: ``python -m benchmarks.ablation [--seeds N] [--budget B] [--out DIR]``.

The planner of ``athanor bench planning`` with one piece changed at a time, on measured pools (``ATHANOR_DATA``), from
the same starts: mean EFauc, and the paired difference to the planner as it ships with its 90 % interval over seeds.
Runs are kept in ``--out`` as they end, so that an interrupted table goes on; take a new folder after changing the
planner.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from models.acquisition import benchmark, evaluation, pool_gp
from models.acquisition.evaluation import Run, Task
from models.acquisition.kept_runs import KeptRuns
from models.acquisition.pool_gp import PoolGP, Posterior, Prior, mid_ranks, unit_cube

POOLS = (*evaluation.LIANG, "olympus/thin_film")
AS_IT_SHIPS = "as it ships"


class PointGP(PoolGP):
    """One set of hyper-parameters a kernel, the median of the draws, instead of all."""

    def _draw(self, index: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        halves = np.split(super()._draw(index, target, rng), 2)
        return np.concatenate([np.repeat(np.median(half, axis=0)[None], len(half), axis=0) for half in halves])


def z_scores(y: np.ndarray) -> np.ndarray:
    """Values as they are."""
    return (y - y.mean()) / y.std() if np.ptp(y) > 0 else np.zeros(len(y))


def normal_scores(y: np.ndarray) -> np.ndarray:
    """Values by rank alone."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    scores = ndtri((rankdata(y) - 0.5) / len(y))
    return scores / scores.std() if np.ptp(y) > 0 else np.zeros(len(y))


def expected_improvement(beliefs: Posterior, rows: list[int]) -> np.ndarray:
    """Over the best value so far, averaged over the draws."""
    from scipy.stats import norm

    z = (beliefs.mean - beliefs.observed.max()) / beliefs.std
    return (beliefs.std * (z * norm.cdf(z) + norm.pdf(z))).mean(axis=0)


def _of(module: Any, name: str, value: Any) -> Callable[[], Any]:
    return lambda: mock.patch.object(module, name, value)


def _prior(**changed: float) -> Callable[[], Any]:
    return _of(benchmark, "PoolGP", lambda X, seed: PoolGP(X, seed, Prior(**changed)))


def _features(of: Callable[[np.ndarray], np.ndarray]) -> Callable[[], Any]:
    def make(X: np.ndarray, seed: int) -> PoolGP:
        process = PoolGP(X, seed)
        process._F = of(unit_cube(X))
        return process

    return _of(benchmark, "PoolGP", make)


VARIANTS: dict[str, Callable[[], Any]] = {
    AS_IT_SHIPS: contextlib.nullcontext,
    "the pool's density off": _prior(density=0.0, density_spread=0.0),
    "density not shrunk on even designs": _prior(density_floor=0.0),
    "density's slope fixed at its mean": _prior(density_spread=0.0),
    "smooth kernel only (Matérn-5/2)": _prior(rough=0.0),
    "rough kernel only (Matérn-1/2)": _prior(rough=1.0),
    "one set of hyper-parameters a kernel": _of(benchmark, "PoolGP", PointGP),
    "median length scale 0.5 instead of 0.8": _prior(lengthscale=0.5),
    "less noise expected (exp -6 instead of -4)": _prior(noise=float(np.exp(-6.0))),
    "features as they are": _features(lambda cube: cube),
    "features by rank only": _features(mid_ranks),
    "values as they are": _of(pool_gp, "standardise", z_scores),
    "values by rank only": _of(pool_gp, "standardise", normal_scores),
    "expected improvement": _of(benchmark, "top_probability", expected_improvement),
    "best 2 % instead of 5 %": _of(benchmark, "TOP_FRACTION", 0.02),
    "best 10 % instead of 5 %": _of(benchmark, "TOP_FRACTION", 0.10),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", nargs="*", default=list(POOLS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR")
    arguments = parser.parse_args(argv)
    tasks = [evaluation.load_task(name) for name in arguments.pools]
    names = list(dict.fromkeys([AS_IT_SHIPS, *arguments.only]))
    kept = KeptRuns(arguments.out / "ablation.csv" if arguments.out else None, arguments.budget)
    runs = {name: lambda task, seed, name=name: play(name, task, seed, arguments.budget) for name in names}
    results = evaluation.play_all(tasks, runs, arguments.seeds, lambda line: print(line, file=sys.stderr), kept)
    print("\n".join(table(tasks, results, arguments.budget)))
    return 0


def play(variant: str, task: Task, seed: int, budget: int) -> Run:
    """One campaign of a variant."""
    with VARIANTS[variant]():
        return evaluation.run_campaign(benchmark.Planner, task, seed, budget)


def table(tasks: Sequence[Task], results: dict[str, dict[str, list[Run]]], budget: int) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield f"| EFauc at {budget} | {' | '.join(t.name for t in tasks)} | mean (90 %) | minus as it ships (90 %) |"
    yield "|---" * (len(tasks) + 3) + "|"
    areas = {
        name: [np.array([evaluation.enhancement_area(t, r.order, budget) for r in by_task[t.name]]) for t in tasks]
        for name, by_task in results.items()
    }
    for name, scores in areas.items():
        mean, low, high = evaluation.interval(scores)
        cells = [*(f"{s.mean():.2f}" for s in scores), f"**{mean:.2f}** ({low:.2f}-{high:.2f})"]
        gap, least, most = evaluation.interval([a - b for a, b in zip(scores, areas[AS_IT_SHIPS], strict=True)])
        cells.append("" if name == AS_IT_SHIPS else f"{gap:+.2f} ({least:+.2f} to {most:+.2f})")
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
