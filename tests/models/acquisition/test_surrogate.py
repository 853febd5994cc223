from __future__ import annotations

import numpy as np
import pytest
import torch

from models.acquisition import surrogate
from models.acquisition.surrogate import Forest, GaussianProcess, Ignorance, fit_gaussian_process, fit_surrogate


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as BayesAcquisition does: small matrices only wait for a second thread
    yield
    torch.set_num_threads(threads)


def data(n=25, d=3, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    y = np.sin(5 * X[:, 0]) + X[:, 1] + noise * rng.normal(size=n)
    return torch.from_numpy(X), torch.from_numpy((y - y.mean()) / y.std())


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_posterior_equals_botorch(kernel):
    X, y = data()
    gp = fit_gaussian_process(X, y, kernel=kernel)
    points = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean, std = gp.predict(points)
    with torch.no_grad():
        posterior = gp.to_botorch(4).posterior(torch.cat([points, 100 * torch.ones(50, 1).double()], 1))
    assert torch.allclose(mean, posterior.mean[:, 0], atol=1e-6)
    assert torch.allclose(std, posterior.variance[:, 0].sqrt(), atol=1e-6)


def test_learns_a_function():
    X, y = data(60)
    new_X, new_y = data(60, noise=0.0, seed=1)
    mean, std = fit_gaussian_process(X, y).predict(new_X)
    assert float((mean - new_y).square().mean()) < 0.1 * float(new_y.var())
    assert (std > 0).all()


def test_believing_shrinks_the_spread_and_keeps_the_mean():
    X, y = data()
    gp = fit_gaussian_process(X, y)
    point = torch.full((1, 3), 0.99, dtype=torch.float64)
    before, after = gp.predict(point), gp.believe(point).predict(point)
    assert float(after[1]) < 0.7 * float(before[1])
    assert float(after[0]) == pytest.approx(float(before[0]), abs=1e-6)


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_believing_step_by_step_is_conditioning_from_scratch(kernel):
    X, y = data()
    gp = fit_gaussian_process(X, y, kernel=kernel)
    new, points = (torch.rand(k, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (4, 50))
    new = torch.cat([new, new[:1]])  # one twice
    fitted = {"mean": gp.mean, "noise": gp.noise, "lengthscale": gp.lengthscale, "kernel": gp.kernel}
    scratch = GaussianProcess.conditioned(torch.cat([X, new]), torch.cat([y, gp.predict(new)[0]]), **fitted)
    grown = gp.believe(new[:2]).believe(new[2:2]).believe(new[2:])
    for ours, expected in zip(grown.predict(points), scratch.predict(points), strict=True):
        assert torch.allclose(ours, expected, atol=1e-9)
    assert torch.allclose(grown.y, scratch.y, atol=1e-9)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("constant", [True, False])
def test_few_or_constant_values_fit(rows, constant):
    X = torch.linspace(0, 1, rows, dtype=torch.float64)[:, None].repeat(1, 2)
    gp = fit_gaussian_process(X, torch.zeros(rows).double() if constant else X[:, 0])
    mean, std = gp.predict(torch.rand(5, 2).double())
    assert torch.isfinite(mean).all()
    assert torch.isfinite(std).all()


def test_duplicate_rows_that_disagree_are_noise():
    X = torch.full((12, 2), 0.5, dtype=torch.float64)
    y = torch.tensor([-1.0, 1.0] * 6, dtype=torch.float64)
    mean, _ = fit_gaussian_process(X, y).predict(X[:1])
    assert abs(float(mean)) < 0.2


def test_a_fit_that_fails_becomes_a_forest_and_says_so(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("not positive definite")

    monkeypatch.setattr(surrogate.GaussianProcess, "conditioned", fail)
    X, y = data(60)
    model, note = fit_surrogate(X, y, kernel="rbf", seed=1)
    assert isinstance(model, Forest)
    assert "not positive definite" in note
    mean, std = model.predict(X)
    assert np.corrcoef(mean, y)[0, 1] > 0.8
    assert (std > 0).all()


def test_no_data_is_ignorance():
    model, note = fit_surrogate(torch.empty(0, 3).double(), torch.empty(0).double(), kernel="rbf", seed=0)
    assert isinstance(model, Ignorance)
    assert note


def test_hyperparameters_identify_the_data():
    X, y = data()
    first = fit_gaussian_process(X, y).hyperparameters
    assert first == fit_gaussian_process(X, y).hyperparameters
    assert first != fit_gaussian_process(X, -2 * y).hyperparameters
    assert isinstance(fit_gaussian_process(X, y), GaussianProcess)
