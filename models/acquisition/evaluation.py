"""How well a planner finds the best of a measured pool: tasks, protocol and figures of merit.

Protocol of Liang et al., npj Comput. Mater. 7, 188 (2021), doi:10.1038/s41524-021-00656-9: the pool is what was
measured, replicates are averaged, two random experiments start a campaign, one query a turn, none twice, and the
best 5 % of the pool are what is looked for.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from models.errors import DataError

TOP_FRACTION = 0.05
STARTS = 2
LIANG = ("liang2021/AgNP", "liang2021/AutoAM", "liang2021/Crossed_barrel")


class PoolPlanner(Protocol):
    """What is scored: it sees the pool and the values measured so far, and names the next row."""

    def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
        """Return a row that is neither observed nor pending; ``y`` is to be maximised."""
        ...


MakePlanner = Callable[[np.ndarray, list[str], int], PoolPlanner]
"""``(X, feature_names, seed) -> planner``."""


@dataclass(frozen=True)
class Task:
    """A measured pool.

    Attributes:
        name: how tables call it.
        X: features, shape (n, d); text columns are one-hot encoded as ``column=value``.
        y: the averaged objective, shape (n,), its sign turned so that more is better.
        feature_names: the d columns.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    feature_names: list[str]

    @property
    def top(self) -> np.ndarray:
        """Boolean (n,): the best ceil(5 %) rows, and whatever ties with the last of them."""
        k = int(np.ceil(TOP_FRACTION * len(self.y)))
        return self.y >= np.sort(self.y)[-k]


@dataclass(frozen=True)
class Run:
    """One campaign: the rows in the order they were measured, and CPU seconds of each suggestion."""

    order: tuple[int, ...]
    cpu_s: tuple[float, ...]


class Kept(Protocol):
    """Where runs are kept as they end (``kept_runs.KeptRuns``)."""

    def get(self, pool: str, method: str, seed: int) -> Run | None:
        """The run, if it was played before."""
        ...

    def put(self, pool: str, method: str, seed: int, run: Run) -> None:
        """Keep a run."""
        ...


def campaigns_folder() -> Path:
    """Return the folder of measured campaigns in ``ATHANOR_DATA``.

    Raises:
        DataError: the variable is unset or names no such folder.
    """
    root = os.environ.get("ATHANOR_DATA", "")
    folder = Path(root) / "campaigns"
    if not root or not folder.is_dir():
        raise DataError(f"no measured campaigns in {str(folder)!r}: set ATHANOR_DATA to the data folder")
    return folder


def load_task(name: str, objective: str | None = None) -> Task:
    """Load ``liang2021/AgNP``, ``olympus/alkox`` and the like from the campaigns folder.

    Args:
        name: folder and file, without its ending.
        objective: column to optimise; the file's first objective unless told.

    Raises:
        DataError: no such file, no description of it, or no such objective.
    """
    import pandas as pd

    folder = campaigns_folder()
    described = json.loads((folder / "datasets_meta.json").read_text())
    key = next((k for k in described if k.removesuffix(".gz").removesuffix(".csv") == name), None)
    if key is None or not (folder / key).is_file():
        here = sorted(k.removesuffix(".gz").removesuffix(".csv") for k in described if (folder / k).is_file())
        raise DataError(f"no measured pool {name!r}: there are {', '.join(here)}")
    meta = described[key]
    objectives = list(meta.get("objectives") or [meta["objective"]])
    goals = meta["goal"] if isinstance(meta["goal"], list) else [meta["goal"]]
    if objective is not None and objective not in objectives:
        raise DataError(f"{name} has no objective {objective!r}: it has {', '.join(objectives)}")
    target = objective or objectives[0]
    sign = 1.0 if str(goals[min(objectives.index(target), len(goals) - 1)]).startswith("max") else -1.0
    table = pd.read_csv(folder / key)
    parameters = [c for c in table.columns if c in meta["params"]]
    y = table[target] if pd.api.types.is_numeric_dtype(table[target]) else table[target].astype("category").cat.codes
    return make_task(name.split("/")[-1], table[parameters], sign * y.to_numpy(float))


def make_task(name: str, table: Any, y: np.ndarray) -> Task:
    """Return a task from a pandas table of parameters and the objective to maximise, one row a measurement.

    Rows with equal parameters are replicates: the mean of their distinct values is kept, as the study's notebook
    does. Rows without a finite value are dropped.
    """
    import pandas as pd

    text = [c for c in table.columns if not pd.api.types.is_numeric_dtype(table[c])]
    encoded = pd.get_dummies(table, columns=text, prefix_sep="=", dtype=float)
    names = [str(c) for c in encoded.columns]
    rows = encoded.assign(**{"\0y": np.asarray(y, float)}).dropna()
    mean = rows.groupby(list(encoded.columns), sort=True)["\0y"].agg(lambda v: v.unique().mean()).reset_index()
    return Task(name, mean[list(encoded.columns)].to_numpy(float), mean["\0y"].to_numpy(float), names)


def starting_rows(n: int, seed: int) -> list[int]:
    """Return the two random first experiments of a campaign; equal for every method."""
    return [int(i) for i in np.random.default_rng(1000 + seed).choice(n, STARTS, replace=False)]


def run_campaign(make: MakePlanner, task: Task, seed: int, budget: int) -> Run:
    """Run one campaign of ``budget`` experiments, the starting ones counted.

    Raises:
        DataError: the planner named a row that does not exist or was measured before.
    """
    n = len(task.y)
    planner = make(task.X.copy(), list(task.feature_names), seed)

    def suggest(order: list[int]) -> int:
        return planner.suggest(order, [float(task.y[i]) for i in order], [])

    return play(suggest, starting_rows(n, seed), n, budget, f"{type(planner).__name__} on {task.name}")


def play(suggest: Callable[[list[int]], int], start: Sequence[int], n: int, budget: int, who: str) -> Run:
    """Ask for one of ``n`` rows after the other, ``budget`` of them, those of the start counted.

    Raises:
        DataError: a row was suggested that does not exist or was measured before; ``who`` did so.
    """
    order, spent = list(start), []
    while len(order) < min(budget, n):
        begin = time.process_time()
        row = int(suggest(list(order)))
        spent.append(time.process_time() - begin)
        if row in order or not 0 <= row < n:
            raise DataError(f"{who}: row {row} was suggested, which is not free")
        order.append(row)
    return Run(tuple(order), tuple(spent))


def play_all(
    tasks: Sequence[Any],
    methods: dict[str, Callable[[Any, int], Run]],
    seeds: int,
    tell: Callable[[str], None],
    kept: Kept | None = None,
) -> dict[str, dict[str, list[Run]]]:
    """Method -> task -> one run a seed, of ``methods``: name -> (task, seed) -> run; what is ``kept`` is not repeated.

    One seed after the other, so that an interrupted benchmark has whole ones.
    """
    results: dict[str, dict[str, list[Run]]] = {name: {task.name: [] for task in tasks} for name in methods}
    for seed in range(seeds):
        for task in tasks:
            for name, run in methods.items():
                found = kept.get(task.name, name, seed) if kept is not None else None
                if found is None:
                    found = run(task, seed)
                    if kept is not None:
                        kept.put(task.name, name, seed, found)
                results[name][task.name].append(found)
        tell(f"seed {seed} of {seeds} done")
    return results


def top_curve(task: Task, order: Sequence[int]) -> np.ndarray:
    """Return the share of the best 5 % found after each experiment (Top%), shape (len(order),)."""
    top = task.top
    return np.cumsum(top[list(order)]) / top.sum()


def enhancement(task: Task, order: Sequence[int], i: int) -> float:
    """Return EF(i): Top% after ``i`` experiments over its expectation i/n for random search."""
    i = min(i, len(order))
    return float(top_curve(task, order)[i - 1] / (i / len(task.y)))


def enhancement_area(task: Task, order: Sequence[int], budget: int) -> float:
    """Return EFauc: the area under Top% over the first ``budget`` experiments over that of random search (1)."""
    curve = top_curve(task, order)[:budget]
    return float(curve.sum() / (np.arange(1, len(curve) + 1) / len(task.y)).sum())


def acceleration(task: Task, orders: Sequence[Sequence[int]], share: float) -> float | None:
    """Return AF(share) of the mean curve: experiments random search needs over those the method needs.

    ``None`` where the mean Top% over ``orders`` does not reach ``share``.
    """
    mean = np.mean([top_curve(task, o) for o in orders], axis=0)
    reached = np.flatnonzero(mean >= share - 1e-12)
    return None if reached.size == 0 else float(np.ceil(share * len(task.y)) / (reached[0] + 1))


def interval(scores: Sequence[np.ndarray], level: float = 0.9, draws: int = 4000) -> tuple[float, float, float]:
    """Return mean, lower and upper bound of the mean over tasks, by resampling seeds inside each task.

    ``scores`` holds one array a task, one value a seed. For a paired comparison give differences of equal seeds.
    """
    rng = np.random.default_rng(0)
    means = np.mean([s[rng.integers(0, len(s), (draws, len(s)))].mean(axis=1) for s in scores], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(np.mean([s.mean() for s in scores])), float(low), float(high)
