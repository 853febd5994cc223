"""The acquisition that looks for the best 5 % of a finite pool, or for its front."""

from __future__ import annotations

import numpy as np
import pytest
from arraypool import ArrayPool, ids, observe

from models.acquisition import RandomAcquisition, hypervolume, top
from models.acquisition.benchmark import Planner
from models.acquisition.front import expected_growth
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


SHINE = Objective(name="shine", reference=0.0)


def both(pool, row):
    x = pool.features[row]
    return observe(pool, row, {"loss": loss(x), "shine": float(1 - np.square(x - [0.8, 0.2]).sum())})


def front_reached(pool, acquisition, budget):
    """Share of the pool's hypervolume that is reached."""
    seen = []
    while len(seen) < budget:
        (choice,) = acquisition.choose(pool, seen, [], 1, seed=len(seen))
        seen.append(both(pool, int(choice.candidate.id[4:])))
    every, worst, signs = [both(pool, row) for row in range(len(pool))], [1.0, 0.0], [-1, 1]
    reached = [hypervolume(np.array([list(o.values.values()) for o in few]), worst, signs) for few in (seen, every)]
    return reached[0] / reached[1]


def test_of_two_objectives_it_finds_the_front_where_chance_does_not():
    pool = grid()
    chosen = front_reached(pool, TopAcquisition([LOSS, SHINE]), 16)
    chance = [front_reached(pool, RandomAcquisition(), 16) for _ in range(1)]
    assert chosen > 0.97 > max(chance)


def test_a_batch_for_the_front_spreads_and_says_how_it_was_chosen():
    pool = grid()
    seen = [both(pool, row) for row in (0, 30, 77, 120, 160)]
    chosen = TopAcquisition([LOSS, SHINE]).choose(pool, seen, [pool[50]], 4, seed=4)
    assert len(set(ids(chosen))) == 4 and {c.method for c in chosen} == {"growth of the front"}
    assert set(chosen[0].predicted) == {"loss", "shine"}


def test_a_front_that_nothing_feasible_has_reached_is_looked_for_where_it_may_be_feasible():
    pool, phase = grid(), Constraint(name="phase", at_least=0.5)

    def make(row):
        seen = both(pool, row)
        return seen.model_copy(update={"values": {**seen.values, "phase": float(pool.features[row][0])}})

    seen = [make(row) for row in range(len(pool)) if pool.features[row][0] < 0.35][::3]
    chosen = TopAcquisition([LOSS, SHINE], [phase]).choose(pool, seen, [], 3, seed=2)
    assert all(pool.features[int(c.candidate.id[4:])][0] > 0.4 for c in chosen)


def test_the_growth_of_a_front_is_what_sampling_says():
    rng = np.random.default_rng(0)
    front, reference = np.array([[0.0, 1.0], [1.0, 0.2]]), np.array([-1.0, -1.0])
    mean, std = [rng.normal(size=(2, 5)) for _ in range(2)], [rng.random((2, 5)) + 0.2 for _ in range(2)]
    expected = expected_growth(mean, std, front, reference)
    base, drawn = hypervolume(front, reference.tolist()), np.zeros(5)
    for n in range(5):
        for k in range(2):
            points = np.column_stack([rng.normal(mean[j][k, n], std[j][k, n], 2000) for j in range(2)])
            grown = [hypervolume(np.vstack([front, p]), reference.tolist()) - base for p in points]
            drawn[n] += np.mean(grown) / 2
    np.testing.assert_allclose(expected, drawn, rtol=0.12, atol=0.02)


def test_what_it_cannot_do_is_said_at_once():
    with pytest.raises(DataError, match="cost is computed"):
        TopAcquisition([Objective(name="cost", source="computed")])
    with pytest.raises(DataError, match="no use for noise"):
        TopAcquisition([LOSS], noise={"loss": 0.1})
