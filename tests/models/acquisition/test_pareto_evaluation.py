from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from models.acquisition import pareto_evaluation as evaluation
from models.acquisition.pareto_peers import RandomSearch, pareto_method, pareto_methods
from models.errors import DataError, UnknownNameError


def trade_off(n: int = 60) -> evaluation.ParetoTask:
    """A quarter circle of best compromises, the rest inside it."""
    X = np.random.default_rng(0).random((n, 2))
    angle, radius = X[:, 0] * np.pi / 2, 0.4 + 0.6 * X[:, 1]
    Y = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return evaluation.make_pareto_task("arc", pd.DataFrame(X, columns=["a", "b"]), Y, ["east", "north"], (0.0, 0.0))


def test_regret_begins_at_one_and_ends_at_nothing_once_the_front_is_found():
    task = trade_off()
    everything = evaluation.regret_curve(task, range(60))
    assert everything[-1] == pytest.approx(0)
    assert (np.diff(everything) <= 1e-12).all()
    corner = evaluation.make_pareto_task("c", pd.DataFrame({"x": [0, 1, 2]}), np.array([[1, 1], [0, 3], [3, 0]]), "ab")
    assert evaluation.regret_curve(corner, [1, 0]) == pytest.approx([1, 0])  # the ends lie on the reference: no volume


def test_what_does_not_reach_the_reference_counts_for_nothing():
    Y = np.array([[3.0, -1.0], [1.0, 1.0], [2.0, 0.5]])
    task = evaluation.make_pareto_task("t", pd.DataFrame({"x": [0, 1, 2]}), Y, ["a", "b"], (0.0, 0.0))
    assert evaluation.regret_curve(task, [0])[0] == pytest.approx(1)


def test_replicates_are_averaged_and_text_is_encoded():
    table = pd.DataFrame({"metal": ["Ni", "Ni", "Fe"]})
    task = evaluation.make_pareto_task("t", table, np.array([[1.0, 2.0], [3.0, 2.0], [0.0, 6.0]]), ["a", "b"])
    assert task.feature_names == ["metal=Fe", "metal=Ni"]
    assert sorted(map(tuple, task.Y * [2.0, 4.0])) == [(0.0, 6.0), (2.0, 2.0)]


def test_every_method_starts_from_the_same_rows_and_repeats_itself_with_the_seed():
    task = trade_off()
    first = evaluation.run_pareto(RandomSearch, task, 3, 8)
    assert evaluation.run_pareto(RandomSearch, task, 3, 8).order == first.order
    assert evaluation.run_pareto(pareto_method("pareto"), task, 3, 6).order[:5] == first.order[:5]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["top", "pareto", pytest.param("qlognehvi", marks=SLOW), pytest.param("parego", marks=SLOW)]
)
def test_the_methods_find_the_front_sooner_than_chance(name):
    task = trade_off()
    chance = [evaluation.regret_curve(task, evaluation.run_pareto(RandomSearch, task, s, 12).order) for s in range(40)]
    chosen = evaluation.regret_curve(task, evaluation.run_pareto(pareto_method(name), task, 0, 12).order)
    assert chosen[-1] < np.mean([c[-1] for c in chance])


def test_a_planner_that_repeats_itself_and_a_method_nobody_knows_are_named():
    class Stuck:
        def __init__(self, *_: object) -> None: ...

        def suggest(self, observed: list[int], Y: np.ndarray) -> int:
            return observed[0]

    with pytest.raises(DataError, match="not free"):
        evaluation.run_pareto(Stuck, trade_off(), 0, 7)
    with pytest.raises(UnknownNameError, match="parego"):
        pareto_method("crystal-ball")
    assert pareto_methods()[0] == "top"


def test_measured_pools_have_their_objectives_and_references():
    if not os.environ.get("ATHANOR_DATA") and os.environ.get("CI") != "true":
        pytest.skip("set ATHANOR_DATA to the folder of measured data")
    task = evaluation.load_pareto_task("heusler")
    assert task.objective_names[0] == "curie_temperature_K"
    assert len(task.Y) > 2000
    good = (task.reference < task.Y).all(axis=1)
    assert 50 < good.sum() < len(task.Y)
    reaction = evaluation.load_pareto_task("olympus/suzuki_i")
    assert reaction.objective_names == ["yield", "turnover"]
    with pytest.raises(DataError, match="several objectives"):
        evaluation.load_pareto_task("olympus/agnp")
