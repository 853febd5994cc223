from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from arraypool import ArrayPool, observe

from models.acquisition import BayesAcquisition
from models.acquisition.knowledge import fit_informed
from models.acquisition.surrogate import fit_gaussian_process
from models.errors import DataError
from models.observation import Objective
from models.spaces import build_space

M = Objective(name="M")
KEPT = ("mean", "noise", "lengthscale", "kernel", "noises", "trend")


def data(f, n, d, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    return torch.from_numpy(X), torch.from_numpy(f(X) + noise * rng.normal(size=n))


def rmse(process, f, d):
    X, y = data(f, 300, d, seed=5, noise=0.0)
    return float((process.predict(X)[0] - y).square().mean().sqrt())


def test_a_direction_that_is_known_helps_where_there_are_no_data():
    rise = lambda X: 2.0 * X[:, 0] - 1.0 + 0.2 * np.sin(9 * X[:, 1])  # noqa: E731
    X, y = data(rise, 12, 2)
    X[:, 0] *= 0.4  # the right half is unseen
    y = torch.from_numpy(rise(X.numpy()))
    told = fit_informed(X, y, kernel="matern52", signs=np.array([1.0, 0.0]))
    assert float(told.trend[0]) > 0
    assert rmse(told, rise, 2) < 0.8 * rmse(fit_gaussian_process(X, y), rise, 2)


def test_a_direction_that_is_wrong_does_little_harm():
    fall = lambda X: 1.0 - 2.0 * X[:, 0]  # noqa: E731
    X, y = data(fall, 15, 2)
    told = fit_informed(X, y, kernel="matern52", signs=np.array([1.0, 0.0]))
    assert float(told.trend[0]) == pytest.approx(0.0, abs=1e-6)
    assert rmse(told, fall, 2) < 1.2 * rmse(fit_gaussian_process(X, y), fall, 2) + 1e-3


def test_botorch_sees_the_same_process_with_its_trend_and_its_noises():
    X, y = data(lambda X: 2 * X[:, 0] + np.sin(5 * X[:, 1]), 15, 2)
    process = fit_informed(X, y, kernel="matern52", signs=np.array([1.0, np.nan]), noise=0.02)
    noises = torch.linspace(0.01, 0.3, 15, dtype=torch.float64)
    uneven = replace(process, noises=noises)
    uneven = uneven.conditioned(X, y, **{k: getattr(uneven, k) for k in KEPT})
    at = torch.rand(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for one in (process, uneven):
        theirs = one.to_botorch(2).posterior(at)
        mean, std = one.predict(at)
        assert torch.allclose(theirs.mean[:, 0], mean, atol=1e-6)
        assert torch.allclose(theirs.variance[:, 0].sqrt(), std, atol=1e-5)


@pytest.mark.parametrize(("direction", "sign"), [("increasing", 1.0), ("decreasing", -1.0)])
def test_a_direction_of_the_campaign_is_the_slope_of_its_model(direction, sign):
    pool = ArrayPool(np.random.default_rng(1).random((30, 2)))
    seen = [observe(pool, r, {"M": float(sign * pool.features[r, 1])}) for r in range(6)]
    told = BayesAcquisition([M], monotone={"M": {"x1": direction}})
    trend = told.beliefs(told.problem(pool, seen, []), 0).surrogates["M"].trend
    assert trend is not None
    assert sign * float(trend[1]) > 0.5
    assert float(trend[0]) == 0.0
    wrong = BayesAcquisition([M], monotone={"M": {"x1": "decreasing" if sign > 0 else "increasing"}})
    assert float(wrong.beliefs(wrong.problem(pool, seen, []), 0).surrogates["M"].trend[1]) == pytest.approx(
        0.0, abs=1e-6
    )


def test_a_direction_leaves_the_choice_to_monte_carlo():
    pool = ArrayPool(np.random.default_rng(1).random((60, 2)))
    seen = [observe(pool, r, {"M": float(pool.features[r, 0] ** 2)}) for r in range(8)]
    told = BayesAcquisition([M], initial=1, shortlist=8, mc_samples=8, monotone={"M": {"x0": "increasing"}})
    choice = told.choose(pool, seen, [], 1, seed=0)[0]
    assert (choice.method, choice.note) == ("qLogNEI", "")


def test_noise_that_is_known_is_the_noise_of_the_model():
    X, y = data(lambda X: np.sin(7 * X[:, 0]), 20, 1, noise=0.0)
    for noise in (0.3, 1e-3):
        assert fit_informed(X, y, kernel="rbf", noise=noise).noise == pytest.approx(noise)
    pool = ArrayPool(np.linspace(0, 1, 50)[:, None])
    seen = [observe(pool, r, {"M": 1e3 * np.sin(7 * r / 50)}) for r in range(0, 50, 5)]
    stds = [
        BayesAcquisition([M], initial=1, shortlist=4, mc_samples=8, noise={"M": std}).choose(pool, seen, [], 1, seed=0)
        for std in (1.0, 400.0)
    ]
    assert stds[0][0].predicted["M"].std < 400.0 < stds[1][0].predicted["M"].std


def test_a_crude_estimate_is_a_feature_with_a_slope():
    rng = np.random.default_rng(0)
    X = rng.random((200, 6))
    crude = np.sin(5 * X[:, 0]) + X[:, 1] * X[:, 2] * 3 - 2 * np.cos(4 * X[:, 3])
    truth = 2 * crude + 0.3 * X[:, 4]
    pool = ArrayPool(X, {"crude": crude})
    pool.featurize = lambda candidates: np.array([[c.parameters[f"x{j}"] for j in range(6)] for c in candidates])
    seen = []
    for row in range(12):
        o = observe(pool, row, {"M": float(truth[row])})
        told = {**o.candidate.parameters, "crude": float(crude[row])}
        seen.append(o.model_copy(update={"candidate": o.candidate.model_copy(update={"parameters": told})}))

    def expected(**known):
        acquisition = BayesAcquisition([M], initial=1, shortlist=16, mc_samples=16, **known)
        choices = acquisition.choose(pool, seen, [], 10, seed=0)
        return np.mean([truth[int(c.candidate.id[4:])] for c in choices])

    assert expected(crude=["crude"]) > expected() + 0.2


def spaces_and_table(folder, f):
    rng = np.random.default_rng(3)
    lines = ["x,y,old_M"] + [f"{x:.4f},{y:.4f},{f(x, y):.5f}" for x, y in rng.random((40, 2))]
    (folder / "old.csv").write_text("\n".join(lines))
    space = build_space({"kind": "parameters", "parameters": {"x": {"low": 0, "high": 1}, "y": {"low": 0, "high": 1}}})
    return space


def test_an_earlier_campaign_shows_where_to_begin(tmp_path):
    from models.pool import CandidatePool
    from models.roles import Condition

    best = lambda x, y: -((x - 0.7) ** 2) - (y - 0.2) ** 2  # noqa: E731
    space = spaces_and_table(tmp_path, lambda x, y: 5 * best(x, y) + 3)
    pool = CandidatePool(space)
    pool.absorb(space.propose(200, Condition(seed=1)))
    seen = [observe(pool, r, {"M": best(*pool[r].parameters.values())}) for r in (0, 1, 2)]
    table = {"file": "old.csv", "columns": {"M": "old_M"}}
    told = BayesAcquisition([M], initial=2, shortlist=16, mc_samples=16, prior=[table], base_dir=str(tmp_path))
    choice = told.choose(pool, seen, [], 1, seed=0)[0]
    assert best(*choice.candidate.parameters.values()) > -0.02
    assert choice.method == "logEI"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"monotone": {"M": {"x": "up"}}}, "monotone.M.x"),
        ({"nois": {"M": 1.0}}, "nois"),
        ({"prior": [{"file": "none.csv"}]}, "none.csv"),
    ],
)
def test_mistakes_are_named(settings, said):
    with pytest.raises(DataError, match=said):
        BayesAcquisition([M], **settings)


def test_unknown_features_and_quantities_are_named():
    acquisition = BayesAcquisition([M], monotone={"M": {"tempreature": "increasing"}})
    with pytest.raises(DataError, match="tempreature"):
        acquisition.check(("temperature",))
    with pytest.raises(DataError, match="'Q' is no measured quantity"):
        BayesAcquisition([M], noise={"Q": 1.0}).check(("x",))


def test_a_table_without_the_quantity_is_refused_with_its_columns(tmp_path):
    spaces_and_table(tmp_path, lambda x, y: x)
    with pytest.raises(DataError, match="old_M"):
        BayesAcquisition([M], prior=[{"file": "old.csv"}], base_dir=str(tmp_path))
