"""How fast a planner finds the Pareto front of a measured pool: tasks, protocol, hypervolume regret."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from models.acquisition.evaluation import Run, campaigns_folder, play
from models.acquisition.hypervolume import hypervolume
from models.errors import DataError

STARTS = 5
HEUSLER = "heusler"
MULTI = ("olympus/suzuki_i", "olympus/suzuki_iii", "olympus/liquid_toluene", "olympus/lnp3", HEUSLER)
"""What is run unless told otherwise: two of two objectives from reactions, one from liquids, two of three."""


@dataclass(frozen=True)
class ParetoTask:
    """A measured pool with several objectives.

    Attributes:
        name: how tables call it.
        X: features, (n, d).
        Y: objectives, (n, m), signs turned so that more is better, scaled so that the pool's range is 1.
        reference: (m,) worst values still of interest, in the units of ``Y``.
        feature_names, objective_names: of the columns.
    """

    name: str
    X: np.ndarray
    Y: np.ndarray
    reference: np.ndarray
    feature_names: list[str]
    objective_names: list[str]


class ParetoPlanner(Protocol):
    """What is scored: it sees the pool and the values measured so far, and names the next row."""

    def suggest(self, observed: list[int], Y: np.ndarray) -> int:
        """Return a row that is not observed; every column of ``Y`` (k, m) is to be maximised."""
        ...


MakeParetoPlanner = Callable[[ParetoTask, int], ParetoPlanner]
"""``(task, seed) -> planner``; of the task it may read all but the values."""


def load_pareto_task(name: str) -> ParetoTask:
    """Load ``heusler`` or a set of the campaigns folder with several objectives (``olympus/lnp3``).

    Raises:
        DataError: no such file, or it has one objective only.
    """
    return _heusler() if name == HEUSLER else _campaign(name)


def make_pareto_task(
    name: str, table: Any, Y: np.ndarray, objective_names: Sequence[str], reference: Sequence[float] | None = None
) -> ParetoTask:
    """Return a task from a pandas table of parameters and objectives to maximise, one row a measurement.

    Replicates are averaged. ``reference`` is in the units of ``Y``; left out, it is the worst value of each objective.
    """
    import pandas as pd

    text = [c for c in table.columns if not pd.api.types.is_numeric_dtype(table[c])]
    encoded = pd.get_dummies(table, columns=text, prefix_sep="=", dtype=float)
    goals = [f"\0{j}" for j in range(Y.shape[1])]
    rows: Any = encoded.assign(**{g: np.asarray(Y[:, j], float) for j, g in enumerate(goals)}).dropna()
    mean = rows.groupby(list(encoded.columns), sort=True)[goals].mean().reset_index()
    values = mean[goals].to_numpy(float)
    worst = values.min(axis=0) if reference is None else np.asarray(reference, float)
    width = np.maximum(np.ptp(values, axis=0), 1e-300)
    columns = [str(c) for c in encoded.columns]
    X = mean[list(encoded.columns)].to_numpy(float)
    return ParetoTask(name, X, values / width, worst / width, columns, list(objective_names))


def _campaign(name: str) -> ParetoTask:
    import pandas as pd

    folder = campaigns_folder()
    described = json.loads((folder / "datasets_meta.json").read_text())
    several = {
        key.removesuffix(".gz").removesuffix(".csv"): key
        for key, meta in described.items()
        if len(meta.get("objectives") or []) > 1 and (folder / key).is_file()
    }
    if name not in several:
        there = ", ".join([*sorted(several), HEUSLER])
        raise DataError(f"no measured pool {name!r} with several objectives: there are {there}")
    meta = described[several[name]]
    table: Any = pd.read_csv(folder / several[name])
    signs = np.array([1.0 if str(goal).startswith("max") else -1.0 for goal in meta["goal"]])
    parameters = [c for c in table.columns if c in meta["params"]]
    Y = table[meta["objectives"]].to_numpy(float) * signs
    return make_pareto_task(name.split("/")[-1], table[parameters], Y, meta["objectives"])


def _heusler() -> ParetoTask:
    """Full Heuslers: Curie temperature up, formation energy below zero and down, moment above 2 muB and up."""
    import pandas as pd

    from models import elements
    from models.features import composition_features

    path = Path(campaigns_folder()).parent / "compositions" / "heusler_full.csv.gz"
    if not path.is_file():
        raise DataError(f"{path}: not there; the Heusler table belongs to the data folder")
    table: Any = pd.read_csv(path)
    table = table[~table["suspect_row"].astype(bool)].reset_index(drop=True)
    sites = table[["X", "Y", "Z"]]
    symbols = sorted(set(sites.to_numpy().ravel()))
    amounts = sum(
        np.array([[float(s == e) for e in symbols] for s in sites[site]]) * count
        for site, count in (("X", 2.0), ("Y", 1.0), ("Z", 1.0))
    )
    features, names = composition_features(np.asarray(amounts), symbols)
    described = pd.DataFrame(features, columns=names)
    for site in sites:
        for prop in ("valence_electrons", "moment_muB", "electronegativity", "radius_A"):
            described[f"{site}_{prop}"] = elements.values(prop, list(sites[site]))
    described["inverse"] = (table["structure_type"].str.lower() != "l21").astype(float)
    wanted = {
        "curie_temperature_K": 1.0,
        "formation_energy_eV_per_atom": -1.0,
        "total_moment_muB_per_fu": 1.0,
    }
    Y = table[list(wanted)].to_numpy(float) * np.array(list(wanted.values()))
    return make_pareto_task(HEUSLER, described, Y, list(wanted), reference=(0.0, 0.0, 2.0))


def run_pareto(make: MakeParetoPlanner, task: ParetoTask, seed: int, budget: int) -> Run:
    """Run one campaign of ``budget`` experiments, the five random first ones counted; they are equal for all methods.

    Raises:
        DataError: the planner named a row that does not exist or was measured before.
    """
    n = len(task.Y)
    start = [int(i) for i in np.random.default_rng(1000 + seed).choice(n, min(STARTS, n), replace=False)]
    planner = make(task, seed)
    who = f"{type(planner).__name__} on {task.name}"
    return play(lambda order: planner.suggest(order, task.Y[order]), start, n, budget, who)


def regret_curve(task: ParetoTask, order: Sequence[int]) -> np.ndarray:
    """Return the share of the pool's hypervolume that is not yet dominated after each experiment, (len(order),)."""
    whole = hypervolume(task.Y, task.reference.tolist())
    rows = list(order)
    reached = [hypervolume(task.Y[rows[: i + 1]], task.reference.tolist()) for i in range(len(rows))]
    return 1.0 - np.array(reached) / whole
