from __future__ import annotations

import numpy as np
import pytest
import torch
from arraypool import ArrayPool, observe

from models.acquisition import BayesAcquisition
from models.acquisition.feasibility import _Density, fit_feasibility
from models.acquisition.problem import SYNTHESIS, build_problem
from models.observation import Constraint, Objective

M = Objective(name="M")


def works(process, x):
    mean, std = process.predict(torch.as_tensor(x, dtype=torch.float64).reshape(len(x), -1))
    return torch.special.ndtr(mean / std).numpy()


def test_the_gradient_of_the_evidence_is_its_slope():
    X = torch.rand(25, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.where(X[:, 0] < 0.5, 1.0, -1.0).double()
    theta, step = np.array([-0.5, 0.3, 1.0]), 1e-4 * np.eye(3)
    for kernel in ("rbf", "matern52"):
        value = lambda t, kernel=kernel: _Density(X, labels, kernel)(t)[0]  # noqa: E731
        slopes = [(value(theta + e) - value(theta - e)) / 2e-4 for e in step]
        assert np.allclose(_Density(X, labels, kernel)(theta)[1], slopes, atol=1e-3)


def test_what_lies_beside_failures_is_expected_to_fail():
    X = torch.rand(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    process = fit_feasibility(X, (X[:, 0] < 0.5).double(), kernel="matern52")
    good, edge, bad = works(process, [[0.1, 0.5], [0.5, 0.5], [0.9, 0.5]])
    assert good > 0.75
    assert bad < edge < good
    assert bad < 0.2


def test_failures_by_chance_are_expected_as_often_as_they_come():
    X = torch.rand(200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    made = (torch.rand(200, generator=torch.Generator().manual_seed(2)) < 0.7).double()
    expected = works(fit_feasibility(X, made, kernel="matern52"), X.numpy())
    assert abs(expected.mean() - float(made.mean())) < 0.05
    assert expected.min() > 0.3


def test_one_failure_among_successes_and_the_reverse_are_no_certainty():
    X = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    one_failed = works(fit_feasibility(X, torch.tensor([1.0, 1, 1, 1, 0]), kernel="matern52"), X.numpy())
    one_worked = works(fit_feasibility(X, torch.tensor([0.0, 0, 0, 0, 1]), kernel="matern52"), X.numpy())
    assert one_failed[0] > one_failed[4] > 0.05
    assert one_worked[0] < one_worked[4] < 0.95


def test_a_failure_that_a_constraint_explains_is_not_counted_twice():
    pool = ArrayPool(np.arange(6.0)[:, None])
    seen = [
        observe(pool, 0, {"M": 1.0, "phase": 0.9}),
        observe(pool, 1, {"phase": 0.1}, "failed_synthesis"),
        observe(pool, 2, {"phase": 0.9}, "failed_synthesis"),  # the right phase, and then it fell to dust
        observe(pool, 3, {}, "failed_synthesis"),
    ]
    phase = Constraint(name="phase", at_least=0.5)
    problem = build_problem(pool, seen, [], [M], [phase])
    assert np.array_equal(problem.values[SYNTHESIS], [1.0, np.nan, 0.0, 0.0], equal_nan=True)
    assert SYNTHESIS not in build_problem(pool, seen[:2], [], [M], [phase]).values
    assert SYNTHESIS not in build_problem(pool, seen, [], [M], [phase], learn_failures=False).values


POOL = ArrayPool(np.random.default_rng(3).random((400, 3)))


def make(row):
    x = POOL.features[row]
    if x[0] > 0.5:  # it melts
        return observe(POOL, row, {}, "failed_synthesis")
    return observe(POOL, row, {"M": float(np.exp(2 * x[0]) - 3 * (x[1] - 0.4) ** 2)})  # best at the edge


def chooser(failures):
    return BayesAcquisition([M], initial=6, shortlist=16, mc_samples=16, failures=failures)


def test_a_choice_that_has_seen_failures_avoids_them():
    seen = [make(row) for row in range(30)]
    learnt, ignored = (chooser(how).choose(POOL, seen, [], 6, seed=0) for how in ("learn", "ignore"))
    failing = [
        sum(make(int(c.candidate.id[4:])).outcome != "measured" for c in choices) for choices in (learnt, ignored)
    ]
    assert failing[0] <= 3
    assert failing[1] >= failing[0] + 2
    assert all(0 < c.predicted[SYNTHESIS].mean < 1 for c in learnt)


@pytest.mark.slow
def test_a_campaign_with_an_infeasible_half_fails_less_and_finds_more_when_it_learns_from_failures():
    def campaign(failures, seed):
        seen = []
        while len(seen) < 26:
            choices = chooser(failures).choose(POOL, seen, [], 2, seed=100 * seed + len(seen))
            seen += [make(int(c.candidate.id[4:])) for c in choices]
        return sum(o.outcome == "failed_synthesis" for o in seen), max(o.values.get("M", -9.0) for o in seen)

    learnt, ignored = ([campaign(how, seed) for seed in range(3)] for how in ("learn", "ignore"))
    assert sum(n for n, _ in learnt) < 0.8 * sum(n for n, _ in ignored)
    assert np.mean([best for _, best in learnt]) > np.mean([best for _, best in ignored]) + 0.05
