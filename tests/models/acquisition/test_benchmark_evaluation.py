from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.acquisition import evaluation
from models.acquisition.benchmark import Planner
from models.acquisition.evaluation import Run, Task
from models.acquisition.peers import ForestLCB, RandomSearch, method, methods
from models.errors import DataError, UnknownNameError


def task(n: int = 100) -> Task:
    X = np.linspace(0, 1, n)[:, None]
    return Task("line", X, X[:, 0], ["x"])


def measured(name: str) -> Task:
    if not os.environ.get("ATHANOR_DATA") and os.environ.get("CI") != "true":
        pytest.skip("set ATHANOR_DATA to the folder of measured data")
    return evaluation.load_task(name)


def test_the_best_five_percent_are_rounded_up_and_ties_count() -> None:
    assert task(101).top.sum() == 6
    assert Task("tied", np.zeros((20, 1)), np.array([1.0] * 3 + [0.0] * 17), ["x"]).top.sum() == 3


def test_figures_of_merit_of_a_curve_known_by_hand() -> None:
    order = [99, 0, 98, 1]  # the best, a bad one, the second best, a bad one; five are best
    assert evaluation.top_curve(task(), order) == pytest.approx([0.2, 0.2, 0.4, 0.4])
    assert evaluation.enhancement(task(), order, 4) == pytest.approx(0.4 / 0.04)
    assert evaluation.enhancement_area(task(), order, 4) == pytest.approx(1.2 / 0.10)
    assert evaluation.acceleration(task(), [order], 0.4) == pytest.approx(40 / 3)
    assert evaluation.acceleration(task(), [order], 0.5) is None


def test_random_search_scores_one() -> None:
    areas = [
        evaluation.enhancement_area(task(), evaluation.run_campaign(RandomSearch, task(), s, 20).order, 20)
        for s in range(300)
    ]
    assert np.mean(areas) == pytest.approx(1.0, abs=0.15)


def test_every_method_starts_from_the_same_two_rows() -> None:
    first = evaluation.run_campaign(RandomSearch, task(), 4, 6).order[:2]
    assert evaluation.run_campaign(Planner, task(), 4, 6).order[:2] == first == tuple(evaluation.starting_rows(100, 4))


def test_a_budget_beyond_the_pool_ends_with_the_pool() -> None:
    assert sorted(evaluation.run_campaign(Planner, task(8), 0, 40).order) == list(range(8))


def test_a_planner_that_repeats_itself_is_caught() -> None:
    class Stuck:
        def __init__(self, *_: object) -> None: ...

        def suggest(self, observed: list[int], y: list[float], pending: list[int]) -> int:
            return observed[0]

    with pytest.raises(DataError, match="not free"):
        evaluation.run_campaign(Stuck, task(), 0, 5)


def test_replicates_are_averaged_over_distinct_values_and_text_is_encoded() -> None:
    table = pd.DataFrame({"metal": ["Ni", "Ni", "Fe", "Ni"], "T": [1, 1, 1, 1]})
    made = evaluation.make_task("t", table, np.array([1.0, 3.0, 5.0, 3.0]))
    assert set(made.feature_names) == {"T", "metal=Fe", "metal=Ni"}
    assert sorted(made.y) == [2.0, 5.0]


def test_the_interval_holds_the_mean_and_narrows_with_seeds() -> None:
    rng = np.random.default_rng(0)
    few, many = [evaluation.interval([rng.normal(2, 1, n) for _ in range(3)]) for n in (5, 200)]
    assert few[1] < few[0] < few[2]
    assert many[2] - many[1] < few[2] - few[1]


def test_unknown_pools_objectives_and_methods_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATHANOR_DATA", str(tmp_path))
    with pytest.raises(DataError, match="ATHANOR_DATA"):
        evaluation.load_task("liang2021/AgNP")
    with pytest.raises(UnknownNameError, match="athanor"):
        method("crystal-ball")
    assert methods()[0] == "athanor"


def test_measured_pools_have_the_published_sizes() -> None:
    assert [len(measured(name).y) for name in evaluation.LIANG] == [164, 100, 600]
    assert measured("liang2021/AgNP").y.max() == pytest.approx(-0.14836082)  # a loss: less is better
    with pytest.raises(DataError, match="no objective"):
        evaluation.load_task("liang2021/AgNP", "colour")
    with pytest.raises(DataError, match="no measured pool"):
        evaluation.load_task("liang2021/Gold")


@pytest.mark.slow
def test_the_planner_beats_random_search_on_measured_pools() -> None:
    for name in ("liang2021/AgNP", "liang2021/AutoAM"):
        pool = measured(name)
        areas = [
            evaluation.enhancement_area(pool, evaluation.run_campaign(Planner, pool, s, 20).order, 20) for s in range(4)
        ]
        assert np.mean(areas) > 1.5


def test_a_forest_is_a_method_too() -> None:
    run = evaluation.run_campaign(ForestLCB, task(30), 0, 4)
    assert isinstance(run, Run)
    assert len(set(run.order)) == 4


def test_importing_the_planner_loads_no_heavy_library() -> None:
    import subprocess

    heavy = "[m for m in ('torch', 'sklearn', 'pandas') if m in sys.modules]"
    code = f"import sys, models.acquisition.benchmark; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
