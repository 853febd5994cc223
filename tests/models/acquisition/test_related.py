from __future__ import annotations

import numpy as np
import pytest
import torch

from models.acquisition.related import Source, _Joint, _standardised, fit_related
from models.acquisition.skim import Skim
from models.acquisition.surrogate import fit_gaussian_process


def truth(X):
    return np.sin(6 * X[:, 0]) + X[:, 1]


def agreeing(X):
    return 3 * truth(X) + 0.3 * X[:, 2] + 10


def misleading(X):
    return np.cos(9 * X[:, 0] * X[:, 2])


def drawn(n, f, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    X = rng.random((n, 3))
    return torch.from_numpy(X), torch.from_numpy(f(X) + noise * rng.normal(size=n))


def error(process, mean, std):
    X, y = drawn(300, truth, seed=9, noise=0.0)
    return float((process.predict(X)[0] * std + mean - y).square().mean().sqrt())


def fitted(n, *sources, seed=1):
    X, y = drawn(n, truth, seed)
    mean, std = float(y.mean()), float(y.std())
    unitless = (y - mean) / std
    kin = [Source(f.__name__, *drawn(60, f, 3)) for f in sources]
    process = fit_related(X, unitless, kin, kernel="matern52")
    return process, error(process, mean, std), error(fit_gaussian_process(X, unitless), mean, std)


def test_few_values_and_a_source_that_agrees_are_better_than_few_values():
    process, with_source, alone = fitted(6, agreeing)
    assert with_source < 0.5 * alone
    assert float(process.relations.correlation[1]) > 0.8


@pytest.mark.parametrize("n", [12, 30])
def test_a_source_that_misleads_weighs_nothing(n):
    process, with_source, alone = fitted(n, misleading)
    assert abs(float(process.relations.correlation[1])) < 0.3
    assert with_source < 1.15 * alone


def test_of_two_sources_the_one_that_agrees_is_believed():
    process, with_both, alone = fitted(10, agreeing, misleading)
    good, bad = process.relations.correlation[1:].abs().tolist()
    assert good > 0.7 > 0.4 > bad
    assert with_both < 0.8 * alone


def test_before_the_first_value_the_source_is_the_belief():
    process = fit_related(
        torch.zeros(0, 3).double(), torch.zeros(0).double(), [Source("s", *drawn(60, agreeing))], kernel="rbf"
    )
    X, y = drawn(300, truth, seed=9, noise=0.0)
    mean, std = process.predict(X)
    assert np.corrcoef(mean, y)[0, 1] > 0.9
    assert float(std.min()) > 0.3  # and yet nothing is certain


def test_the_gradient_of_the_density_is_its_slope():
    (X, y), (S, s), (B, b) = drawn(12, truth), drawn(20, agreeing), drawn(20, misleading)
    rows, values = torch.cat([X, S, B]), torch.cat([_standardised(v) for v in (y, s, b)])
    tasks = torch.tensor([0] * 12 + [1] * 20 + [2] * 20)
    theta, steps = np.array([-0.5, 0.2, 0.3, -2, -1, -3, 0.5, -0.2]), 1e-5 * np.eye(8)
    for kernel in ("rbf", "matern52"):
        density = _Joint(rows, values, tasks, 3, kernel)
        slopes = [(density(theta + e)[0] - density(theta - e)[0]) / 2e-5 for e in steps]
        assert np.allclose(density(theta)[1], slopes, rtol=1e-4, atol=1e-3)


def test_believing_a_prediction_moves_no_mean_and_a_cheap_one_teaches_less():
    process = fitted(10, agreeing)[0]
    X = drawn(5, truth, 7)[0]
    mean, std = process.predict(X)
    in_full, cheap = process.believe(X[:1]), process.believe(X[:1], 1)
    for after in (in_full, cheap):
        assert torch.allclose(after.predict(X)[0], mean, atol=1e-8)
    assert float(in_full.predict(X)[1][0]) < float(cheap.predict(X)[1][0]) <= float(std[0]) + 1e-9


def test_a_measurement_moves_the_mean_as_much_as_was_said():
    process = fitted(10, agreeing)[0]
    x = drawn(1, truth, 8)[0]
    for task in (0, 1):
        before, after = (p.predict(x)[1] for p in (process, process.believe(x, task)))
        gone = (before.square() - after.square()).clamp_min(0).sqrt()
        assert float(process.informed_std(x, task)) == pytest.approx(float(gone), rel=1e-3)


def test_bounds_hold_for_a_process_with_sources():
    process = fitted(10, agreeing)[0]
    X = drawn(200, truth, 4)[0]
    look = Skim.of(process, X)
    mean, bound = look(X)
    exact_mean, std = process.predict(X)
    assert float((mean - exact_mean).abs().max()) <= look.margin + 1e-9
    assert bool((bound >= std - 1e-9).all())
