from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.acquisition.backend import load_botorch
from models.acquisition.hyperparameters import Density, fit_hyperparameters
from models.acquisition.surrogate import _single_task_gp


@pytest.fixture(autouse=True)
def one_thread():
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


def data(n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    y = np.sin(5 * X[:, 0]) + X[:, -1] ** 2 + 0.1 * rng.normal(size=n)
    return torch.from_numpy(X), torch.from_numpy((y - y.mean()) / y.std())


def at(found):
    return np.append(np.log(found.lengthscale.numpy()), math.log(found.noise))


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_the_gradient_is_that_of_the_density(kernel):
    density = Density(*data(20, 3), kernel)
    theta = np.array([-0.5, 0.3, 1.0, -2.5])
    steps = 1e-5 * np.eye(4)
    numeric = [(density(theta + step)[0] - density(theta - step)[0]) / 2e-5 for step in steps]
    assert density(theta)[1] == pytest.approx(numeric, abs=1e-7)


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_no_fit_of_botorch_is_more_probable(kernel):
    load_botorch()
    from botorch.optim.fit import fit_gpytorch_mll_scipy
    from gpytorch.mlls import ExactMarginalLogLikelihood

    X, y = data(40, 3)
    model = _single_task_gp(X, y, kernel, None)
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll_scipy(likelihood)

    def density():
        model.train()
        with torch.no_grad():
            return float(likelihood(model(*model.train_inputs), model.train_targets))

    best = density()
    found = fit_hyperparameters(X, y, kernel)
    scales = {"covar_module.lengthscale": found.lengthscale, "likelihood.noise": found.noise}
    model.initialize(**scales, **{"mean_module.constant": found.mean})
    assert density() > best - 1e-4
    assert density() == pytest.approx(-Density(X, y, kernel)(at(found))[0], abs=1e-6)


def test_with_many_values_a_start_from_a_part_of_them_ends_near_the_optimum():
    X, y = data(260, 4)
    found = fit_hyperparameters(X, y)
    value, gradient = Density(X, y, "matern52")(at(found))
    assert np.abs(gradient).max() < 5e-3
    few = fit_hyperparameters(X[:40], y[:40])
    assert value < Density(X, y, "matern52")(at(few))[0]


def test_values_that_say_nothing_leave_the_modes_of_the_priors():
    found = fit_hyperparameters(torch.rand(6, 4).double(), torch.zeros(6).double())
    assert found.noise == pytest.approx(math.exp(-3.0))
    assert found.lengthscale.tolist() == pytest.approx([math.exp(math.sqrt(2) - 3) * 2] * 4)


def test_what_is_not_finite_is_refused():
    with pytest.raises(ArithmeticError, match="not finite"):
        fit_hyperparameters(torch.rand(3, 1).double(), torch.tensor([0.0, float("inf"), 1.0]).double())
