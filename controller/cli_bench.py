"""Benchmarks of the science on the command line: ``athanor bench planning`` and ``athanor bench models``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller.cli_values import positive
from controller.errors import CampaignError


def add_bench_commands(commands: Any, add: Callable[..., Any]) -> None:
    """Add them to the parser; ``add(commands, name, function, text, example)`` is the command line's own."""
    example = "athanor bench planning liang2021/AgNP my_pool.csv --methods athanor random forest --seeds 10 --budget 40"
    bench = add(commands, "bench", _planning, "measure how well planners choose", example)
    kinds = bench.add_subparsers(metavar="BENCHMARK", required=True)
    planning = add(kinds, "planning", _planning, "compare planners on pools that were measured", example)
    planning.add_argument(
        "data",
        nargs="*",
        metavar="DATA",
        help="pools: names in the folder ATHANOR_DATA, or (without --multi) CSV files whose last column is to be "
        "maximised; default: the sets of Liang et al. (2021) that are there",
    )
    planning.add_argument(
        "--multi", action="store_true", help="several objectives: hypervolume regret against qLogNEHVI, ParEGO, random"
    )
    planning.add_argument("--methods", nargs="+", metavar="NAME", help="default: all that are installed")
    planning.add_argument("--seeds", type=positive, default=20, help="campaigns a pool (default: %(default)s)")
    planning.add_argument(
        "--budget", type=positive, default=40, help="experiments a campaign, the starting ones counted (40)"
    )
    planning.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write curves.csv, curves.png and tables.md here, and runs.csv as runs end: those are not repeated, so "
        "that an interrupted benchmark goes on (take a new folder after changing a planner)",
    )
    words = "errors, intervals and rates of the models of properties"
    models = add(kinds, "models", _models, words, "athanor bench models speed")
    rest = "what to measure, and its options; `athanor bench models -- --help` names them"
    models.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help=rest)


def _planning(arguments: Any) -> int:
    from models.errors import ModelError

    try:
        tables = _pareto(arguments) if arguments.multi else _single(arguments)
    except ModelError as error:
        raise CampaignError(str(error)) from error
    print(tables)
    if arguments.out is not None:
        (arguments.out / "tables.md").write_text(tables + "\n", encoding="utf-8")
    return 0


def _models(arguments: Any) -> int:
    source = Path(__file__).resolve().parents[1]
    if (source / "benchmarks").is_dir() and str(source) not in sys.path:
        sys.path.append(str(source))
    try:
        benchmark: Any = importlib.import_module("benchmarks.models")
    except ModuleNotFoundError as error:
        raise CampaignError(f"{error}: this benchmark comes with the source code and runs from there") from error
    return benchmark.main([word for word in arguments.rest if word != "--"])


def _single(arguments: Any) -> str:
    from controller import bench_planning as bench
    from models.acquisition.evaluation import LIANG
    from models.acquisition.peers import method, methods, missing

    for name, library in ({} if arguments.methods else missing()).items():
        _tell(f"{name} is left out: {library} is not installed (pip install 'athanor[peers]')")
    names = arguments.methods or methods()
    for name in names:
        method(name)  # a wrong name is told before hours are spent
    tasks = [bench.read_task(name) for name in arguments.data or LIANG]
    results = bench.compare(tasks, names, arguments.seeds, arguments.budget, _tell, _kept(arguments))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        bench.write_curves(arguments.out / "curves.csv", tasks, results)
        bench.plot_curves(arguments.out / "curves.png", tasks, results)
    return bench.report(tasks, results, arguments.budget)


def _pareto(arguments: Any) -> str:
    from controller import bench_pareto as bench
    from models.acquisition.pareto_evaluation import MULTI, load_pareto_task
    from models.acquisition.pareto_peers import pareto_method, pareto_methods

    names = arguments.methods or pareto_methods()
    for name in names:
        pareto_method(name)
    tasks = [load_pareto_task(name) for name in arguments.data or MULTI]
    results = bench.compare(tasks, names, arguments.seeds, arguments.budget, _tell, _kept(arguments))
    found = bench.regrets(tasks, results)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        bench.write_curves(arguments.out / "curves.csv", tasks, results, found)
        bench.plot_curves(arguments.out / "curves.png", found)
    return bench.report(tasks, results, found)


def _kept(arguments: Any) -> Any:
    """The runs of an earlier try that was interrupted, and where those of this one go."""
    from models.acquisition.kept_runs import KeptRuns

    path = None if arguments.out is None else arguments.out / ("pareto_runs.csv" if arguments.multi else "runs.csv")
    kept = KeptRuns(path, arguments.budget)
    if len(kept):
        _tell(f"{path}: {len(kept)} runs were played before and are not repeated")
    return kept


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
