"""Choosing from large pools: ``python -m benchmarks.scale [--sizes N ...] [--regret] [--out DIR]``.

Prints CPU seconds and peak memory of one choice on one core, each case in a process of its own, for Athanor's exact
kriging-believer batches and, at sizes where they finish, BoTorch's ``optimize_acqf_discrete`` and BayBE. Pools are
memory-mapped float32 files of random features in the unit cube, written beforehand and deleted after; 4 experiments
are pending. Times exclude the fit, which is stated apart, except for BayBE, whose fit cannot be told apart.
``--regret`` compares the batches themselves, over campaigns on measured pools (``ATHANOR_DATA``).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PENDING = 4
SHAPES = ((20, 100), (132, 500))
BATCHES = (1, 8)
LIMITS = {"athanor": 10**8, "botorch": 10**4, "baybe": 10**4}  # largest pools that finish within minutes
REGRET_POOLS = ("liang2021/AgNP", "liang2021/AutoAM", "liang2021/Crossed_barrel", "olympus/thin_film")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=lambda s: int(float(s)), default=[10**4, 10**5, 10**6])
    parser.add_argument("--dims", nargs="+", type=int, default=[d for d, _ in SHAPES])
    parser.add_argument("--observations", nargs="+", type=int, default=[100, 500])
    parser.add_argument("--methods", nargs="+", default=list(LIMITS))
    parser.add_argument("--limit", type=int, default=600, help="seconds after which a case is given up")
    parser.add_argument("--folder", default=None, help="where pools are written; 10^7 x 132 needs 5.3 GB")
    parser.add_argument("--regret", action="store_true", help="compare batches over campaigns instead")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--case", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.case:
        print(json.dumps(case(*args.case)))
    elif args.regret:
        print(regret_report(args.seeds, args.budget))
    else:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            figures(args, Path(folder))
    return 0


def figures(args: argparse.Namespace, folder: Path) -> None:
    """Print one line a case."""
    row = "| {:<8} | {:>9} | {:>4} | {:>4} | {:>2} | {:>8} | {:>8} | {:>8} | {}"
    print(row.format("method", "pool", "d", "n", "q", "CPU s", "fit s", "peak MB", "rows"), flush=True)
    for d in args.dims:
        for size in args.sizes:
            path = folder / f"{size}x{d}.f32"
            write_pool(path, size, d)
            for n in args.observations:
                for method in args.methods:
                    for q in BATCHES if size <= LIMITS[method] else ():
                        found = run_case(method, path, d, n, q, args.limit)
                        said = found.get("why") or found["rows"]
                        cost = [f"{found[k]:.2f}" if k in found else "-" for k in ("cpu_s", "fit_s", "peak_MB")]
                        print(row.format(method, size, d, n, q, *cost, said), flush=True)
            path.unlink()


def run_case(method: str, path: Path, d: int, n: int, q: int, limit_s: int) -> dict[str, Any]:
    """Run a case in a process of its own, so that peak memory is its own."""
    if method == "baybe" and importlib.util.find_spec("baybe") is None:
        return {"why": "not installed (`pip install baybe`)"}
    command = [sys.executable, "-m", "benchmarks.scale", "--case", method, str(path), *map(str, (d, n, q, 0))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, env={**os.environ, **ONE_THREAD}
        )
    except subprocess.TimeoutExpired:
        return {"why": f"not finished in {limit_s} s"}
    if done.returncode:
        return {"why": (done.stderr.splitlines() or ["died"])[-1][:100]}
    return json.loads(done.stdout.splitlines()[-1])


def write_pool(path: Path, size: int, d: int) -> None:
    """Write (size, d) random features, a block at a time."""
    rng = np.random.default_rng([size, d])
    with path.open("wb") as file:
        for start in range(0, size, 65_536):
            file.write(rng.random((min(65_536, size - start), d), dtype=np.float32))


def make_data(d: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, d), standardised noisy values (n,) of a smooth function, and pending features (PENDING, d)."""
    rng = np.random.default_rng([d, n, seed])
    X, weights = rng.random((n, d)), rng.normal(size=d)
    y = np.sin(6 * (X - 0.5) @ weights / math.sqrt(d)) + 0.3 * rng.normal(size=n)
    return X, (y - y.mean()) / y.std(), rng.random((PENDING, d))


def case(method: str, path: str, d: str, n: str, q: str, seed: str) -> dict[str, Any]:
    """Choose once from the pool in a file."""
    import resource

    X, y, pending = make_data(int(d), int(n), int(seed))
    pool = np.memmap(path, np.float32, mode="r").reshape(-1, int(d))
    pool = np.memmap(path, np.float32, mode="r", shape=pool.shape)
    found = METHODS[method](pool, X, y, pending, int(q))
    return {**found, "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _fitted(X: np.ndarray, y: np.ndarray) -> Any:
    import torch

    from models.acquisition.surrogate import fit_gaussian_process

    torch.set_num_threads(1)
    return fit_gaussian_process(torch.from_numpy(X), torch.from_numpy(y))


def believe_and_race(process: Any, pool: Any, X: np.ndarray, y: np.ndarray, pending: np.ndarray, free: Any, q: int):
    """Athanor's batch by the closed form alone: rows, most wanted first."""
    from models.acquisition.beliefs import Beliefs, Incumbents
    from models.acquisition.problem import Problem, Scale
    from models.acquisition.race import Race
    from models.observation import Objective

    beliefs = Beliefs((Objective(name="y"),), (), {"y": process}, {"y": Scale()}, "")
    problem = Problem(pool, X, pending, free, {"y": y}, {}, (), ())
    race, rows = Race(problem, beliefs), []
    for _ in range(q):
        best, _ = race.best(problem, Incumbents.of(problem, beliefs), 1)
        rows.append(int(best[0]))
        problem = problem.with_pending(rows[-1])
    return rows


def monte_carlo_batch(process: Any, pool: np.ndarray, pending: np.ndarray, free: np.ndarray, q: int, seed: int):
    """BoTorch's batch: qLogEI, one candidate after the other, over all of the pool."""
    import torch

    from models.acquisition.backend import load_botorch

    load_botorch()
    from botorch.acquisition import LogExpectedImprovement
    from botorch.acquisition.logei import qLogExpectedImprovement
    from botorch.optim import optimize_acqf_discrete
    from botorch.sampling.normal import SobolQMCNormalSampler

    model, best = process.to_botorch(pool.shape[1]), float(process.predict(process.X)[0].max())
    places = np.flatnonzero(free)
    choices = torch.from_numpy(np.asarray(pool[places], dtype=float))
    if q == 1 and not len(pending):
        acquisition: Any = LogExpectedImprovement(model, best)
    else:
        sampler = SobolQMCNormalSampler(torch.Size([128]), seed=seed)
        waiting = torch.from_numpy(pending) if len(pending) else None
        acquisition = qLogExpectedImprovement(model, best, sampler=sampler, X_pending=waiting)
    chosen, _ = optimize_acqf_discrete(acquisition, q, choices)
    left = np.ones(len(places), bool)
    rows = []
    for x in chosen.reshape(-1, pool.shape[1]):  # equal candidates are different rows
        same = np.flatnonzero(left & (choices == x).all(1).numpy())[0]
        left[same] = False
        rows.append(int(places[same]))
    return rows


def _athanor(pool: np.memmap, X: np.ndarray, y: np.ndarray, pending: np.ndarray, q: int) -> dict[str, Any]:
    from models.acquisition.unit_features import UnitFeatures

    _fitted(X[:8], y[:8])  # loads what the fit needs
    begin = time.process_time()
    process = _fitted(X, y)
    fitted = time.process_time()
    rows = believe_and_race(process, UnitFeatures(pool), X, y, pending, np.ones(len(pool), bool), q)
    return {"rows": rows, "fit_s": fitted - begin, "cpu_s": time.process_time() - fitted}


def _botorch(pool: np.memmap, X: np.ndarray, y: np.ndarray, pending: np.ndarray, q: int) -> dict[str, Any]:
    from models.acquisition.backend import load_botorch

    process = _fitted(X, y)
    load_botorch()
    begin = time.process_time()
    rows = monte_carlo_batch(process, np.asarray(pool), pending, np.ones(len(pool), bool), q, 0)
    return {"rows": rows, "cpu_s": time.process_time() - begin}


def _baybe(pool: np.memmap, X: np.ndarray, y: np.ndarray, pending: np.ndarray, q: int) -> dict[str, Any]:
    # pyright: ignore
    import pandas as pd
    from baybe import Campaign
    from baybe.searchspace import SearchSpace
    from baybe.targets import NumericalTarget

    names = [f"x{j}" for j in range(pool.shape[1])]
    table = pd.DataFrame(np.concatenate([X, pending, pool]).astype(float), columns=names)
    campaign = Campaign(SearchSpace.from_dataframe(table, parameters=_numbers(names, table)), NumericalTarget(name="y"))
    campaign.add_measurements(table.iloc[: len(X)].assign(y=y))
    begin = time.process_time()
    waiting = table.iloc[len(X) : len(X) + len(pending)]
    chosen = campaign.recommend(q, pending_experiments=waiting)
    return {"rows": [int(i) - len(X) - len(pending) for i in chosen.index], "cpu_s": time.process_time() - begin}


def _numbers(names: list[str], table: Any) -> list[Any]:
    from baybe.parameters import NumericalDiscreteParameter

    return [NumericalDiscreteParameter(name, sorted(set(table[name]))) for name in names]


METHODS: dict[str, Callable[..., dict[str, Any]]] = {"athanor": _athanor, "botorch": _botorch, "baybe": _baybe}


def batches(name: str, X: np.ndarray, rows: list[int], y: np.ndarray, q: int, seed: int) -> list[int]:
    """The next ``q`` rows of a measured pool by one of ``REGRET_METHODS``; features in the unit cube."""
    free = np.ones(len(X), bool)
    free[rows] = False
    if name == "random":
        return [int(r) for r in np.random.default_rng([seed, len(rows)]).choice(np.flatnonzero(free), q, replace=False)]
    if name == "campaign":
        return _campaign(X, rows, y, q, seed)
    values = (y - y.mean()) / (y.std() or 1.0)
    process, none = _fitted(X[rows], values), np.empty((0, X.shape[1]))
    if name == "believer":
        return believe_and_race(process, X, X[rows], values, none, free, q)
    return monte_carlo_batch(process, X, none, free, q, seed)


REGRET_METHODS = ("believer", "campaign", "qLogEI", "random")


def _campaign(X: np.ndarray, rows: list[int], y: np.ndarray, q: int, seed: int) -> list[int]:
    """The acquisition of a campaign: the closed form's best, ranked again by qLogNEI."""
    from models.acquisition.row_pool import AskedAcquisition
    from models.observation import Objective

    asked = AskedAcquisition("pareto", [Objective(name="y")], X, [f"x{j}" for j in range(X.shape[1])])
    return asked.rows(rows, y[:, None], [], q, seed)


def regret(X: np.ndarray, y: np.ndarray, name: str, q: int, seed: int, budget: int) -> np.ndarray:
    """Regret after each experiment of one campaign in batches of ``q``, from 4 random ones, shape (budget,).

    The gap between the best value of the pool and the best found, over the gap to the pool's mean.
    """
    order = [int(i) for i in np.random.default_rng(1000 + seed).choice(len(X), 4, replace=False)]
    while len(order) < min(budget, len(X)):
        left = min(q, budget - len(order), len(X) - len(order))
        order += batches(name, X, order, y[order], left, seed)
    return (y.max() - np.maximum.accumulate(y[order])) / (y.max() - y.mean())


def regret_report(seeds: int, budget: int) -> str:
    """Mean regret over campaigns of a batch size, and paired differences to qLogEI with 90 % intervals."""
    from models.acquisition.evaluation import interval, load_task
    from models.acquisition.pool_gp import unit_cube

    out = []
    for q in (4, 8):
        means: dict[str, list[np.ndarray]] = {name: [] for name in REGRET_METHODS}
        for pool in REGRET_POOLS:
            task = load_task(pool)
            X = unit_cube(task.X)
            for name, scores in means.items():
                curves = [regret(X, task.y, name, q, seed, budget) for seed in range(seeds)]
                scores.append(np.array([curve.mean() for curve in curves]))
                print(f"q={q} {pool} {name}: {scores[-1].mean():.3f}", file=sys.stderr, flush=True)
        out += [f"\nq = {q}: mean regret over {budget} experiments, {seeds} seeds", ""]
        out.append(f"| method | {' | '.join(REGRET_POOLS)} | mean | minus qLogEI (90 %) |")
        for name, scores in means.items():
            mean, low, high = interval([a - b for a, b in zip(scores, means["qLogEI"])])
            cells = " | ".join(f"{s.mean():.3f}" for s in scores)
            total = np.mean([s.mean() for s in scores])
            out.append(f"| {name} | {cells} | {total:.3f} | {mean:+.3f} ({low:+.3f} to {high:+.3f}) |")
    return "\n".join(out)


if __name__ == "__main__":
    raise SystemExit(main())
