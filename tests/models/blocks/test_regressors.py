"""Forests, support vectors, Gaussian processes, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest

from models.blocks.calibration import AdaptiveFactor, conformal_factor, coverage
from models.blocks.kernels import GaussianProcess, SupportVectors
from models.blocks.relevance import RelevanceProcess, likelihood_loss
from models.blocks.scales import Scale, choose_scale
from models.blocks.stacking import Stack
from models.blocks.trees import Forest
from models.errors import DataError, NotFittedError


def problem(n: int = 150, seed: int = 0):
    draw = np.random.default_rng(seed)
    X = draw.uniform(-1, 1, size=(n, 4))
    X[:, 3] = 7.0  # a column that says nothing
    return X, 1000.0 + 100.0 * np.sin(3 * X[:, 0]) + 30.0 * X[:, 1] + draw.normal(size=n)


MAKERS = [
    *(lambda: Forest(trees=60), lambda: Forest(trees=60, bootstrap=True), SupportVectors, GaussianProcess),
    *(lambda: Stack(trees=40, rounds=60), lambda: Stack(trees=40, rounds=60, kernel=True)),
    *(lambda: Stack(trees=40, rounds=60, processes=("relevance", "alike")), RelevanceProcess),
]


@pytest.mark.parametrize("make", MAKERS)
def test_a_regressor_learns_and_comes_back_from_its_arrays(make):
    X, y = problem()
    regressor = make()
    regressor.fit(X[:120], y[:120])
    mean, std = regressor.predict(X[120:])
    assert np.abs(mean - y[120:]).mean() < 0.5 * np.abs(y - np.median(y)).mean()
    assert (std >= 0).all() and std.mean() > 0
    copy = make()
    copy.restore(regressor.arrays())
    assert np.array_equal(copy.predict(X[120:])[0], mean)
    assert np.array_equal(copy.predict(X[120:])[1], std)


def test_a_stack_leans_on_the_part_that_errs_least_on_rows_that_none_has_seen():
    draw = np.random.default_rng(3)
    X = draw.uniform(-1, 1, size=(400, 4))
    y = np.where(draw.uniform(size=400) < 0.15, 40.0, 0.0)  # mostly nought, and nothing foretells when not
    stack = Stack(trees=40, rounds=40)
    stack.fit(X[:200], y[:200])
    equal = np.abs(stack.predict(X[300:])[0] - y[300:]).mean()
    assert len(set(stack.arrays()["weights"].tolist())) == 1
    stack.weigh(X[200:205], y[200:205])
    assert len(set(stack.arrays()["weights"].tolist())) == 1  # five rows choose nothing
    stack.weigh(X[200:300], y[200:300])
    weights = stack.arrays()["weights"]
    assert weights.sum() == pytest.approx(1.0) and weights.min() >= 0
    assert int(weights.argmax()) in (1, 4)  # the medians, which are nought
    assert np.abs(stack.predict(X[300:])[0] - y[300:]).mean() < equal


def test_a_stack_that_learns_again_from_all_rows_knows_them_and_keeps_its_weights():
    X, y = problem()
    stack = Stack(trees=40, rounds=60)
    stack.fit(X[:100], y[:100])
    stack.weigh(X[100:], y[100:])
    before = np.abs(stack.predict(X[100:])[0] - y[100:]).mean()
    weights = stack.arrays()["weights"]
    stack.fit_again(X, y)
    assert np.abs(stack.predict(X[100:])[0] - y[100:]).mean() < 0.7 * before
    assert np.array_equal(stack.arrays()["weights"], weights)


def test_a_stack_without_time_has_fewer_trees_and_with_time_the_same_as_without_a_budget():
    X, y = problem()
    free, rich, poor = (Stack(trees=40, rounds=60) for _ in range(3))
    free.fit(X, y)
    rich.fit(X, y, budget_s=1000.0)
    poor.fit(X, y, budget_s=1e-6)
    assert np.array_equal(rich.predict(X)[0], free.predict(X)[0])
    assert [len(stack.arrays()["forest/nodes"]) for stack in (free, rich, poor)] == [40, 40, 10]
    assert [len(stack.arrays()["boosting/roots"]) for stack in (free, rich, poor)] == [60, 60, 20]


def test_a_stack_that_was_not_fitted_or_is_damaged_says_so():
    with pytest.raises(NotFittedError):
        Stack().predict(np.zeros((2, 3)))
    stack = Stack(trees=5, rounds=5)
    stack.fit(*problem(40))
    arrays = stack.arrays()
    del arrays["weights"]
    with pytest.raises(DataError, match="lacks weights"):
        Stack().restore(arrays)


def test_a_skewed_target_is_learned_on_a_scale_that_left_out_rows_prefer_and_another_as_it_is():
    draw = np.random.default_rng(5)
    X = draw.uniform(-1, 1, size=(600, 4))
    y = np.exp(2 * X.sum(axis=1) + 0.3 * draw.normal(size=600))
    scale = choose_scale(X, y)
    assert scale.unit > 0 and scale.back(scale.forward(y)) == pytest.approx(y)
    assert choose_scale(X, X[:, 0] + 0.1 * draw.normal(size=600)) == Scale()
    plain, scaled = Stack(trees=40, rounds=60), Stack(trees=40, rounds=60)
    scaled.fit(X[:400], y[:400])
    plain.fit(X[:400], y[:400], budget_s=9.0)  # no time to choose
    errors = [np.abs(stack.predict(X[400:])[0] - y[400:]).mean() for stack in (scaled, plain)]
    assert errors[0] < errors[1]
    copy = Stack(trees=40, rounds=60)
    copy.restore(scaled.arrays())
    assert np.array_equal(copy.predict(X)[0], scaled.predict(X)[0])


def test_a_forest_walks_as_scikit_learn_does():
    from sklearn.ensemble import ExtraTreesRegressor

    X, y = problem()
    forest = Forest(trees=20, features=0.5, seed=3)
    forest.fit(X, y)
    theirs = ExtraTreesRegressor(20, max_features=0.5, random_state=3).fit(X.astype(np.float32), y)
    assert forest.predict(X)[0] == pytest.approx(theirs.predict(X.astype(np.float32)), abs=1e-9)


@pytest.mark.parametrize("make", MAKERS)
def test_an_unfitted_regressor_says_so(make):
    with pytest.raises((NotFittedError, DataError)):
        make().arrays()


def test_a_damaged_forest_is_refused_and_not_walked_for_ever():
    X, y = problem()
    forest = Forest(trees=3)
    forest.fit(X, y)
    arrays = forest.arrays()
    arrays["left_child"] = np.where(arrays["left_child"] > 0, 0, arrays["left_child"])  # a circle
    with pytest.raises(DataError, match="damaged"):
        Forest().restore(arrays)


def test_the_gradient_of_the_likelihood_is_its_slope():
    X, y = problem(60)
    Z, t = X[:, :3] / X[:, :3].std(axis=0), (y - y.mean()) / y.std()
    point = np.array([-0.5, 0.3, -1.0, -2.0])
    _, gradient = likelihood_loss(point, Z, t)
    for j, step in enumerate(0.01 * np.eye(4)):
        slope = (likelihood_loss(point + step, Z, t)[0] - likelihood_loss(point - step, Z, t)[0]) / 0.02
        assert gradient[j] == pytest.approx(slope, rel=1e-2)


def test_a_process_bears_rows_that_are_the_same_and_say_different_things():
    X, y = problem()
    process = RelevanceProcess()
    process.fit(np.repeat(X, 3, axis=0), np.concatenate([[value, value + 20.0, value - 20.0] for value in y]))
    assert np.abs(process.predict(X)[0] - y).mean() < 15.0


def test_a_process_of_relevances_finds_the_feature_among_many_that_say_nothing():
    draw = np.random.default_rng(4)
    X = draw.normal(size=(300, 40))
    y = np.sin(2 * X[:, 0]) + 0.05 * draw.normal(size=300)
    knows, alike = RelevanceProcess(), GaussianProcess()
    for process in (knows, alike):
        process.fit(X[:200], y[:200])
    assert int(knows.arrays()["weight"].argmax()) == 0
    wrong, wrong_alike = (np.abs(p.predict(X[200:])[0] - y[200:]).mean() for p in (knows, alike))
    assert wrong < 0.6 * wrong_alike
    same = RelevanceProcess(alike=True)
    same.fit(X[:200], y[:200])
    assert len(set(same.arrays()["weight"])) == 1
    poor = RelevanceProcess(drawn=50)
    poor.fit(X[:200], y[:200], budget_s=1e-6)
    assert len(poor.arrays()["seen"]) == 50


def test_a_stack_has_a_process_only_where_rows_are_few_and_its_checkpoint_says_so(monkeypatch):
    X, y = problem()
    monkeypatch.setattr("models.blocks.stacking._PROCESS_ROWS", 100)
    few, many = (Stack(trees=10, rounds=20, processes=("relevance",)) for _ in range(2))
    few.fit(X[:80], y[:80])
    few.fit_again(X, y)  # more rows than the limit, but the weights are of all parts
    many.fit(X, y)
    assert [len(stack.arrays()["weights"]) for stack in (few, many)] == [6, 5]
    copy = Stack(trees=10, rounds=20, processes=("relevance",))
    copy.restore(many.arrays())
    assert np.array_equal(copy.predict(X)[0], many.predict(X)[0])
    with pytest.raises(DataError, match="weighs 5 parts"):
        copy.restore(few.arrays() | {"weights": np.full(5, 0.2)})


def test_a_process_is_less_sure_far_away():
    X, y = problem()
    process = GaussianProcess()
    process.fit(X[:, :2], y)
    near, far = process.predict(X[:5, :2])[1], process.predict(X[:5, :2] + 10)[1]
    assert far.min() > 2 * near.max()


def test_conformal_intervals_cover_what_they_say_whatever_the_errors_look_like():
    draw = np.random.default_rng(0)
    covered = []
    for _ in range(40):
        scale = draw.uniform(0.5, 2.0, 400)
        error = draw.standard_t(2.5, 400) * scale
        factor = conformal_factor(error[:200], np.zeros(200), scale[:200])
        covered.append(coverage(error[200:], np.zeros(200), factor * scale[200:]))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


def test_an_infinite_sample_of_gaussians_needs_no_factor():
    error = np.random.default_rng(0).normal(size=20_000)
    assert conformal_factor(error, np.zeros(20_000), np.ones(20_000)) == pytest.approx(1.0, abs=0.02)


def test_under_drift_fifty_results_bring_the_intervals_back():
    draw = np.random.default_rng(1)
    before = []
    after = []
    for _ in range(30):
        adaptive = AdaptiveFactor(np.abs(draw.normal(size=200)))
        shifted = 2.5 * draw.normal(size=250)
        before.append(coverage(shifted[50:], np.zeros(200), np.full(200, adaptive.factor)))
        for error in shifted[:50]:
            adaptive.update(error, 0.0, 1.0)
        after.append(coverage(shifted[50:], np.zeros(200), np.full(200, adaptive.factor)))
    assert np.mean(before) < 0.6
    assert 0.85 <= np.mean(after) <= 0.95
