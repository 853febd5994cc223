"""The choice among bounds equals the choice by scoring everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.acquisition.backend import load_botorch
from models.acquisition.beliefs import Beliefs, Incumbents
from models.acquisition.ceiling import Worth
from models.acquisition.expected import log_expected_hypervolume_improvement
from models.acquisition.problem import Exact, Problem, Scale
from models.acquisition.race import Race
from models.acquisition.surrogate import Forest, GaussianProcess, fit_surrogate
from models.acquisition.sweep import sweep
from models.observation import Constraint, Objective

Y, WIDTH, COST = Objective(name="y"), Objective(name="width", direction="minimize"), Objective(name="cost")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def process(X, y, noise, lengthscale, kernel="matern52"):
    scale = torch.full((X.shape[1],), lengthscale, dtype=torch.float64)
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    return GaussianProcess.conditioned(X, y, mean=0.1, noise=noise, lengthscale=scale, kernel=kernel)


def one_objective(pool_X, X, y, pending_X, **settings):
    beliefs = Beliefs((Y,), (), {"y": process(X, y, **settings)}, {"y": Scale()}, "")
    return Problem(pool_X, X, pending_X, np.ones(len(pool_X), bool), {"y": y}, {}, (), ()), beliefs


def chosen(problem, beliefs, q, **settings):
    race, picks = Race(problem, beliefs, **settings), []
    for _ in range(min(q, len(problem.pool_X))):
        rows, _ = race.best(problem, Incumbents.of(problem, beliefs), 1)
        picks.append(int(rows[0]))
        problem = problem.with_pending(picks[-1])
    return picks, race


def brute_force(problem, beliefs, q):
    """Expected improvement of every candidate anew at every pick, all algebra from scratch."""
    gp, free, picks = beliefs.surrogates["y"], np.ones(len(problem.pool_X), bool), []
    believed = problem.pending_X
    pool = torch.from_numpy(np.asarray(problem.pool_X, dtype=float))
    for _ in range(min(q, len(free))):
        extra = torch.from_numpy(believed)
        X, y = torch.cat([gp.X, extra]), torch.cat([gp.y, gp.predict(extra)[0]])
        same = {"mean": gp.mean, "noise": gp.noise, "lengthscale": gp.lengthscale, "kernel": gp.kernel}
        mean, std = GaussianProcess.conditioned(X, y, **same).predict(pool)
        reached = max(float(gp.predict(gp.X)[0].max()), *(float(v) for v in gp.predict(extra)[0]), -math.inf)
        best, top = np.array([[reached]]), np.array([[np.inf]])
        score = log_expected_hypervolume_improvement(mean[:, None], std[:, None], best, top).numpy()
        score[~free] = -np.inf
        ties = np.flatnonzero(score >= score.max() - 1e-9 * max(1.0, abs(score.max())))
        picks.append(int(ties[0]))
        free[picks[-1]] = False
        believed = np.concatenate([believed, pool[picks[-1:]].numpy()])
    return picks


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 200),
    d=st.integers(1, 4),
    levels=st.sampled_from([3, 1000]),
    observed=st.integers(1, 20),
    pending=st.integers(0, 3),
    q=st.integers(1, 6),
    noise=st.sampled_from([1e-4, 0.1]),
    lengthscale=st.sampled_from([0.1, 0.5, 3.0]),
    kernel=st.sampled_from(["rbf", "matern52"]),
    admit=st.integers(1, 40),
)
def test_picks_are_those_of_scoring_the_whole_pool_at_each_pick(
    seed, n, d, levels, observed, pending, q, noise, lengthscale, kernel, admit
):
    rng = np.random.default_rng(seed)

    def points(k):  # with few levels many candidates are equal: ties
        return rng.integers(0, levels, (k, d)) / (levels - 1)

    X = points(observed)
    y = np.sin(5 * X[:, 0]) + 0.3 * rng.normal(size=observed)
    settings = {"noise": noise, "lengthscale": lengthscale, "kernel": kernel}
    problem, beliefs = one_objective(points(n), X, y, points(pending), **settings)
    assert chosen(problem, beliefs, q, admit=admit)[0] == brute_force(problem, beliefs, q)


def large(n=6000, d=6, seed=0, **settings):
    rng = np.random.default_rng(seed)
    X = rng.random((60, d))
    y = np.sin(4 * X).sum(1) + 0.1 * rng.normal(size=60)
    y = (y - y.mean()) / y.std()
    settings = {"noise": 0.01, "lengthscale": 1.0, **settings}
    return one_objective(rng.random((n, d)), X, y, rng.random((4, d)), **settings)


@pytest.mark.slow
def test_picks_are_those_of_botorch():
    load_botorch()
    from botorch.acquisition import LogExpectedImprovement

    problem, beliefs = large(1500)
    gp, free, expected = beliefs.surrogates["y"], problem.eligible.copy(), []
    for _ in range(4):
        believed = gp.believe(torch.from_numpy(problem.pending_X))
        best_f = float(torch.cat([gp.predict(gp.X)[0], gp.predict(torch.from_numpy(problem.pending_X))[0]]).max())
        score = LogExpectedImprovement(believed.to_botorch(6), best_f)
        with torch.no_grad():
            values = score(torch.from_numpy(problem.pool_X)[:, None]).numpy()
        expected.append(int(np.argmax(np.where(free, values, -np.inf))))
        free[expected[-1]] = False
        problem = problem.with_pending(expected[-1])
    problem, _ = large(1500)
    assert chosen(problem, beliefs, 4, admit=100)[0] == expected


def test_most_of_a_pool_is_looked_at_once_and_scored_never():
    problem, beliefs = large()
    looked = []

    def counted(X, exact, ceiling, bounds, least):
        looked.append(int((bounds >= least).sum()))
        return sweep(X, exact, ceiling, bounds, least)

    picks, race = chosen(problem, beliefs, 8, sweep=counted, admit=500)
    assert picks == brute_force(problem, beliefs, 8)
    assert looked[0] == 6000
    assert sum(looked) < 2 * 6000
    assert (race._scored >= 0).sum() < 0.25 * 6000


def test_a_second_pass_looks_only_at_what_may_win():
    # The first pick is believed to be far beyond all data: every score falls so far that old bounds are no use.
    rng = np.random.default_rng(0)
    X = 0.5 * rng.random((60, 6))
    problem, beliefs = one_objective(rng.random((3000, 6)), X, X.sum(1), np.empty((0, 6)), noise=0.1, lengthscale=8.0)
    looked = []

    def counted(X, exact, ceiling, bounds, least):
        looked.append(int((bounds >= least).sum()))
        return sweep(X, exact, ceiling, bounds, least)

    picks, _ = chosen(problem, beliefs, 4, sweep=counted, admit=20)
    assert picks == brute_force(problem, beliefs, 4)
    assert len(looked) > 1
    assert max(looked[1:]) < 3000


def test_the_best_come_in_order_of_their_present_scores():
    problem, beliefs = large(3000)
    race = Race(problem, beliefs, admit=50)
    problem = problem.with_pending(7).with_pending(1234)
    incumbents = Incumbents.of(problem, beliefs)
    rows, scores = race.best(problem, incumbents, 40)
    every = beliefs.believe(torch.from_numpy(problem.pending_X)).appraise(torch.from_numpy(problem.pool_X), {})
    exact = np.where(problem.eligible, Worth.over(incumbents).of(every)[0].numpy(), -np.inf)
    assert rows.tolist() == np.argsort(-exact, kind="stable")[:40].tolist()
    assert scores == pytest.approx(exact[rows], abs=1e-8)


def test_fewer_come_only_where_fewer_are_left():
    problem, beliefs = large(60)
    for row in range(57):
        problem = problem.without(row)
    rows, _ = Race(problem, beliefs, admit=1).best(problem, Incumbents.of(problem, beliefs), 10)
    assert sorted(rows.tolist()) == [57, 58, 59]


def several(rng, n, found, forest=False):
    """Two modelled objectives, one known, and a constraint of each kind."""
    X, pool_X, pending_X = rng.random((25, 3)), rng.random((n, 3)), rng.random((2, 3))
    values = {"y": np.sin(5 * X[:, 0]), "width": X[:, 1] + 0.1 * rng.normal(size=25), "phase": X[:, 2] - 0.5}
    inside = Constraint(name="phase", at_least=-0.1, at_most=0.2) if found else Constraint(name="phase", at_least=2.0)
    scales = {name: Scale.of(v) for name, v in values.items()} | {"cost": Scale()}
    surrogates = {
        name: process(X, scales[name].to_unitless(v), noise=0.01, lengthscale=0.6) for name, v in values.items()
    }
    if forest:
        surrogates["phase"] = Forest(fit_forest(X, scales["phase"].to_unitless(values["phase"])), 25, 0.1)
    cost = {"cost": Exact(pool_X[:, 0] - pool_X[:, 1], X[:, 0] - X[:, 1], pending_X[:, 0] - pending_X[:, 1])}
    beliefs = Beliefs((Y, WIDTH, COST), (inside,), surrogates, scales, "")
    return Problem(pool_X, X, pending_X, rng.random(n) < 0.9, values, cost, (inside,), ()), beliefs


def fit_forest(X, y):
    from sklearn.ensemble import RandomForestRegressor

    return tuple(RandomForestRegressor(10, random_state=0).fit(X.astype(np.float32), y).estimators_)


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize("forest", [True, False])
def test_several_objectives_and_constraints_too(found, forest):
    problem, beliefs = several(np.random.default_rng(5), 1200, found, forest)
    race = Race(problem, beliefs, admit=30)
    for _ in range(4):
        incumbents = Incumbents.of(problem, beliefs)
        assert incumbents.found is found
        rows, scores = race.best(problem, incumbents, 3)
        seen = beliefs.believe(torch.from_numpy(problem.pending_X))
        seen = seen.appraise(torch.from_numpy(problem.pool_X), {"cost": problem.exact["cost"].pool})
        exact = np.where(problem.eligible, Worth.over(incumbents).of(seen)[0].numpy(), -np.inf)
        assert rows.tolist() == np.argsort(-exact, kind="stable")[:3].tolist()
        assert scores == pytest.approx(exact[rows], abs=1e-8)
        problem = problem.with_pending(int(rows[0]))


def test_a_pool_where_nothing_can_improve_still_has_an_order():
    X, pool_X = np.zeros((1, 1)), np.linspace(0, 1, 50)[:, None]
    known = {"cost": Exact(-np.arange(50.0), np.array([100.0]), np.empty(0))}
    problem = Problem(pool_X, X, np.empty((0, 1)), np.ones(50, bool), {}, known, (), ())
    beliefs = Beliefs((COST,), (), {}, {"cost": Scale()}, "")
    rows, scores = Race(problem, beliefs, admit=4).best(problem, Incumbents.of(problem, beliefs), 3)
    assert rows.tolist() == [0, 1, 2]
    assert np.isneginf(scores).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("lengthscale", [1.0, 8.0])
def test_a_gpu_gives_the_same_picks(lengthscale):
    problem, beliefs = large(200_000, lengthscale=lengthscale, noise=0.1)

    def here(*arguments):
        return sweep(*arguments, device=torch.device("cpu"))

    assert chosen(problem, beliefs, 8)[0] == chosen(problem, beliefs, 8, sweep=here)[0]


def test_a_forest_stands_in_where_no_process_fits(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("singular")

    monkeypatch.setattr(GaussianProcess, "conditioned", fail)
    model, note = fit_surrogate(torch.zeros(5, 1).double(), torch.full((5,), torch.nan).double(), kernel="rbf", seed=0)
    assert isinstance(model, Forest)
    assert "not finite" in note
