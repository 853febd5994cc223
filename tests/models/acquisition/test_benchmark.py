from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.acquisition.benchmark import Planner, top_probability
from models.acquisition.pool_gp import PoolGP, Posterior, Prior, log_density, standardise, unit_cube
from models.errors import DataError

GRID = np.stack(np.meshgrid(np.linspace(0, 1, 15), np.linspace(0, 1, 15)), axis=-1).reshape(-1, 2)
HILL = -np.square(GRID - [0.8, 0.3]).sum(axis=1)


def campaign(X: np.ndarray, y: np.ndarray, experiments: int, seed: int = 0) -> list[int]:
    order = [int(i) for i in np.random.default_rng(seed).choice(len(y), 2, replace=False)]
    planner = Planner(X, [f"x{i}" for i in range(X.shape[1])], seed)
    while len(order) < experiments:
        order.append(planner.suggest(order, [float(y[i]) for i in order], []))
    return order


def test_a_campaign_on_a_hill_finds_far_more_of_the_best_than_random_search() -> None:
    best = np.argsort(-HILL)[:12]
    found = np.mean([len(set(campaign(GRID, HILL, 20, seed)) & set(best)) for seed in range(3)])
    assert found >= 6  # random search: 20 * 12 / 225, about 1


def test_a_feature_that_does_not_matter_and_one_in_other_units_do_not_stop_it() -> None:
    noise = np.random.default_rng(1).normal(size=(len(GRID), 1))
    order = campaign(np.hstack([GRID * [1e9, 1e-9], noise]), HILL, 25)
    assert len(set(order) & set(np.argsort(-HILL)[:12])) >= 4


def test_equal_arguments_give_equal_choices_whatever_was_asked_before() -> None:
    asked, fresh = Planner(GRID, ["a", "b"], 3), Planner(GRID, ["a", "b"], 3)
    asked.suggest([1, 2], [0.0, 1.0], [])
    assert asked.suggest([1, 2, 30], [0.0, 1.0, 2.0], []) == fresh.suggest([1, 2, 30], [0.0, 1.0, 2.0], [])


def test_what_is_pending_is_neither_chosen_again_nor_ignored() -> None:
    order = campaign(GRID, HILL, 12)
    values = [float(HILL[i]) for i in order]
    planner = Planner(GRID, ["a", "b"], 0)
    pending: list[int] = []
    for _ in range(4):
        pending.append(planner.suggest(order, values, pending))
    assert len({*order, *pending}) == len(order) + 4
    alone = planner.score(order, values, [])
    assert not np.allclose(planner.score(order, values, pending), alone)


def test_failed_measurements_are_not_repeated() -> None:
    choice = Planner(GRID, ["a", "b"], 0).suggest([0, 5, 9], [float("nan"), 1.0, float("inf")], [])
    assert choice not in (0, 5, 9)


def test_the_last_row_is_chosen_and_then_there_is_none() -> None:
    planner = Planner(GRID[:4], ["a", "b"], 0)
    assert planner.suggest([0, 1, 3], [1.0, 2.0, 3.0], []) == 2
    with pytest.raises(DataError, match="enlarge the pool"):
        planner.suggest([0, 1, 3], [1.0, 2.0, 3.0], [2])


def test_values_and_rows_must_match() -> None:
    with pytest.raises(DataError, match="one value a row"):
        Planner(GRID, ["a", "b"], 0).suggest([0, 1], [1.0], [])


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        Planner(np.empty((0, 2)), ["a", "b"], 0)


def test_a_singular_model_falls_back_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def singular(*_: object) -> Posterior:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(PoolGP, "posterior", singular)
    assert Planner(GRID, ["a", "b"], 0).suggest([0, 1], [1.0, 2.0], []) not in (0, 1)
    assert "random" in caplog.text


@settings(max_examples=40, deadline=None)
@given(
    X=st.integers(1, 12).flatmap(
        lambda n: st.lists(
            st.lists(st.one_of(st.floats(), st.sampled_from([0.0, 1.0])), min_size=2, max_size=2),
            min_size=n,
            max_size=n,
        )
    ),
    y=st.lists(st.one_of(st.floats(), st.just(1.0)), min_size=12, max_size=12),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_odd_numbers_never_end_a_campaign(X: list[list[float]], y: list[float], seed: int, data: st.DataObject) -> None:
    rows = data.draw(st.permutations(range(len(X))))
    seen = data.draw(st.integers(0, len(X) - 1))
    waiting = data.draw(st.integers(0, len(X) - 1 - seen))
    observed, pending = rows[:seen], rows[seen : seen + waiting]
    choice = Planner(np.array(X), ["a", "b"], seed).suggest(observed, y[:seen], pending)
    assert choice in rows[seen + waiting :]


def test_the_probabilities_add_up_to_five_percent_of_the_pool() -> None:
    rng = np.random.default_rng(0)
    beliefs = Posterior(rng.normal(size=(8, 200)), rng.uniform(0.1, 1, (8, 200)), np.array([0.0, 3.0]))
    p = top_probability(beliefs, [4, 7])
    assert p.sum() == pytest.approx(10, rel=0.01)
    assert p[7] > 0.99


def test_the_process_returns_to_what_was_measured_and_is_unsure_elsewhere() -> None:
    rows = list(range(0, len(GRID), 7))
    beliefs = PoolGP(GRID, 0, Prior(noise=1e-6)).posterior(rows, [float(HILL[i]) for i in rows])
    assert np.abs(beliefs.mean.mean(axis=0)[rows] - beliefs.observed).max() < 0.1
    few = PoolGP(GRID, 0).posterior([0, 1], [0.0, 1.0])
    assert few.std.mean(axis=0)[-1] > few.std.mean(axis=0)[0]


def test_each_draw_is_the_textbook_process() -> None:
    X, rows, y = np.array([[0.0], [1.0], [2.0], [4.0]]), [0, 2], [1.0, 3.0]
    gp = PoolGP(X, 0, Prior(density=0, density_spread=0))
    theta = np.array([[np.log(0.7), np.log(0.05)]] * 2)  # a smooth and a rough one
    index = np.array(rows)
    r = np.sqrt(5) * 0.5 * (2 / 4 + 2 / 3) / 0.7  # rows 0 and 2 lie half of 2/4 and half of the rank's 2/3 apart
    K = 1.0 + (1.05 + 1e-5) * np.eye(2)
    K[0, 1] = K[1, 0] = 1.0 + (1 + r + r**2 / 3) * np.exp(-r)
    assert gp._kernel(theta, index, index, np.float64)[1, 0, 1] == pytest.approx(1.0 + np.exp(-r / np.sqrt(5)))
    target = standardise(np.array(y))
    evidence, root, weighted = gp._factor(theta, index, target)
    assert root[0] @ root[0].T == pytest.approx(K)
    assert root[0] @ weighted[0] == pytest.approx(target)
    quadratic = target @ np.linalg.solve(K, target)
    assert evidence[0] == pytest.approx(-0.5 * np.linalg.slogdet(K)[1] - 3.0 * np.log(2.0 + 0.5 * quadratic))


def test_an_even_design_has_no_density_and_a_crowded_corner_has_much() -> None:
    assert (PoolGP(GRID, 0).trend == 0).all()
    rng = np.random.default_rng(0)
    crowded = np.vstack([rng.random((60, 2)), 0.9 + 0.02 * rng.random((60, 2))])
    trend = PoolGP(crowded, 0).trend
    assert trend[60:].mean() > trend[:60].mean() + 0.5
    assert (PoolGP(crowded, 0, Prior(density=0, density_spread=0)).trend == 0).all()


def test_density_of_a_large_pool_is_read_from_a_sample_of_it() -> None:
    rng = np.random.default_rng(0)
    density = log_density(np.vstack([rng.random((4000, 3)), 0.5 + 0.05 * rng.random((1000, 3))]))
    assert density[4000:].mean() > density[:4000].mean() + 0.5


def test_features_are_scaled_and_holes_filled() -> None:
    cube = unit_cube(np.array([[1.0, 5.0, np.nan], [3.0, 5.0, 2.0], [np.nan, 5.0, 4.0], [2.0, 5.0, np.inf]]))
    assert cube == pytest.approx(np.array([[0, 0.5], [1, 0], [0.5, 1], [0.5, 0.5]]))


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20))
def test_standard_values_keep_the_order(values: list[float]) -> None:
    y = np.array(values)
    z = standardise(y)
    order = np.argsort(y, kind="stable")
    assert (np.diff(z[order]) >= -1e-9).all()
    assert abs(z.mean()) < 1e-9
