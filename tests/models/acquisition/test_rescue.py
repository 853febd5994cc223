from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.acquisition import hyperparameters, surrogate
from models.acquisition.rescue import JITTERS, rescue
from models.acquisition.surrogate import GaussianProcess, fit_surrogate


def data(n=30):
    X = torch.from_numpy(np.random.default_rng(0).random((n, 2)))
    return X, torch.sin(6 * X[:, 0])


def test_where_fitting_fails_other_hyperparameters_come_first(monkeypatch):
    def fail(*_):
        raise RuntimeError("not positive definite")

    monkeypatch.setattr(surrogate, "fit_hyperparameters", fail)
    X, y = data()
    model, note = fit_surrogate(X, y, kernel="matern52", seed=0)
    assert isinstance(model, GaussianProcess)
    assert note == "GP fit failed (RuntimeError: not positive definite), used the priors' hyper-parameters"
    assert np.corrcoef(model.predict(X)[0], y)[0, 1] > 0.9


def test_then_as_much_jitter_as_it_takes(monkeypatch):
    true, tried = GaussianProcess.conditioned.__func__, []

    def singular(cls, X, y, *, noise, **other):
        tried.append(noise)
        if len(tried) < 3:
            raise RuntimeError("singular")
        return true(cls, X, y, noise=noise, **other)

    monkeypatch.setattr(GaussianProcess, "conditioned", classmethod(singular))
    found = rescue(*data(), "rbf", "odd")
    assert found is not None
    assert f"jitter {JITTERS[2]:g}" in found[1]
    assert np.diff(tried) == pytest.approx(np.diff(JITTERS[:3]))


def test_one_broken_row_does_not_cost_the_others():
    X, y = data()
    X[3, 0], y[5], y[6] = math.nan, math.inf, math.nan
    model, note = fit_surrogate(X, y, kernel="matern52", seed=0)
    assert isinstance(model, GaussianProcess)
    assert "not finite" in note
    assert torch.isfinite(torch.cat(model.predict(data()[0]))).all()


def test_the_prior_modes_are_those_the_fit_starts_from():
    found = rescue(*data(), "rbf", "odd")
    centre, spread = hyperparameters.lengthscale_prior(2)
    assert found is not None
    assert float(found[0].lengthscale[0]) == pytest.approx(math.exp(centre - spread**2))
