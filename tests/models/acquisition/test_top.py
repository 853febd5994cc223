"""The acquisition that looks for the best 5 % of a finite pool."""

from __future__ import annotations

import numpy as np
import pytest
from arraypool import ArrayPool, ids, observe

from models.acquisition import RandomAcquisition, top
from models.acquisition.benchmark import Planner
from models.acquisition.top import TopAcquisition
from models.errors import DataError
from models.observation import Constraint, Objective

LOSS = Objective(name="loss", direction="minimize")


def grid(n=14):
    """Even designs in two dimensions, from corner to corner of the unit square."""
    side = np.linspace(0.0, 1.0, n)
    return ArrayPool(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2))


def loss(x):
    return float(np.square(x - [0.3, 0.75]).sum())


def measure(pool, row):
    return observe(pool, row, {"loss": loss(pool.features[row])})


def found(pool, acquisition, budget, q=1):
    """How many of the best 5 % were measured."""
    losses = np.array([loss(x) for x in pool.features])
    best, seen = set(np.argsort(losses)[: len(pool) // 20]), []
    while len(seen) < budget:
        seen += [measure(pool, int(c.candidate.id[4:])) for c in acquisition.choose(pool, seen, [], q, seed=len(seen))]
    return len(best & {int(o.candidate.id[4:]) for o in seen})


@pytest.mark.parametrize("q", [1, 3])
def test_it_finds_the_best_of_a_pool_where_chance_does_not(q):
    pool = grid()
    assert found(pool, TopAcquisition([LOSS]), 18, q) >= 6 > 3 >= found(pool, RandomAcquisition(), 18, q)


def test_it_chooses_what_the_benchmarked_planner_chooses():
    pool = grid()
    rows = [0, 30, 77, 120, 160]
    seen = [measure(pool, row) for row in rows]
    for pending in ([], [45, 91]):
        acquisition = TopAcquisition([LOSS])
        problem = acquisition.problem(pool, seen, [pool[row] for row in pending])
        planner = Planner(np.asarray(problem.pool_X), list(problem.columns), 5)
        row = planner.suggest(rows, [-loss(pool.features[row]) for row in rows], pending)
        (choice,) = acquisition.choose(pool, seen, [pool[row] for row in pending], 1, seed=5)
        assert choice.candidate.id == f"row-{row}" and choice.method == "top 5 %"
        assert choice.predicted["loss"].std > 0 and choice.runner_up is not None


def test_equal_arguments_give_equal_choices_and_none_is_taken_twice():
    pool = grid(6)
    seen, pending = [measure(pool, row) for row in (0, 9, 20)], [pool[7]]
    chosen = [ids(TopAcquisition([LOSS]).choose(pool, seen, pending, 40, seed=3)) for _ in range(2)]
    assert chosen[0] == chosen[1] and len(set(chosen[0])) == 36 - 4
    assert not {"row-0", "row-9", "row-20", "row-7"} & set(chosen[0])


def test_what_was_observed_outside_the_pool_counts():
    pool, wide = grid(8), ArrayPool(np.array([[0.31, 0.74], [0.9, 0.1], [0.5, 0.5]]), ids=["a", "b", "c"])

    def gap(values):
        """How far from ``a`` the choice is when that was measured at a, b and c."""
        seen = [observe(wide, row, {"loss": value}) for row, value in enumerate(values)]
        (choice,) = TopAcquisition([LOSS]).choose(pool, seen, [], 1, seed=1)
        assert choice.method == "top 5 %"
        return float(np.square(pool.features[int(choice.candidate.id[4:])] - [0.31, 0.74]).sum())

    assert gap([0.0, 1.0, 1.0]) < gap([1.0, 0.0, 1.0])


def test_it_stays_away_from_where_syntheses_fail_and_constraints_are_missed():
    pool, phase = grid(), Constraint(name="phase", at_least=0.5)

    def make(row):
        x = pool.features[row]
        if x[1] > 0.6:  # where the loss is least nothing forms
            return observe(pool, row, {"phase": 0.0}, "failed_synthesis")
        return observe(pool, row, {"loss": loss(x), "phase": 1.0})

    seen = [make(int(row)) for row in np.random.default_rng(1).choice(len(pool), 40, replace=False)]
    chosen = TopAcquisition([LOSS], [phase]).choose(pool, seen, [], 6, seed=2)
    assert all(pool.features[int(c.candidate.id[4:])][1] <= 0.62 for c in chosen)
    assert all(c.feasibility > 0.5 for c in chosen)


def test_of_too_many_candidates_the_improvement_decides(monkeypatch):
    pool = grid(8)
    monkeypatch.setattr(top, "_LARGEST", 10)
    (choice,) = TopAcquisition([LOSS]).choose(pool, [measure(pool, row) for row in (0, 9, 20)], [], 1, seed=1)
    assert choice.method == "qLogNEI"


def test_what_it_cannot_do_is_said_at_once():
    with pytest.raises(DataError, match="one measured objective"):
        TopAcquisition([LOSS, Objective(name="cost")])
    with pytest.raises(DataError, match="one measured objective"):
        TopAcquisition([Objective(name="cost", source="computed")])
    with pytest.raises(DataError, match="no use for noise"):
        TopAcquisition([LOSS], noise={"loss": 0.1})
