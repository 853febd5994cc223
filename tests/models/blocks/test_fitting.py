"""Fitting: best epoch, scale in the checkpoint, resuming, budgets, warm starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.blocks import checkpoint
from models.blocks.fitting import DenseSet, Run, Scaled, Schedule, fit, laplace_loss, one_cycle
from models.errors import DataError


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Dropout(0.1), nn.Linear(16, 2))

    def forward(self, batch):
        return self.inner(batch[0])


def problem(n: int = 200):
    X = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    y = 500.0 + 40.0 * X[:, :1] - 10.0 * X[:, 1:2]
    return DenseSet(torch.from_numpy(X)), y.astype(float), np.arange(n - 40), np.arange(n - 40, n)


def fresh() -> Scaled:
    torch.manual_seed(0)
    return Scaled(Line())


QUICK = Schedule(epochs=12, batch=16, learning_rate=0.02)


def test_a_line_is_learned_in_its_own_unit():
    data, y, train, valid = problem()
    model = fresh()
    history = fit(model, data, y, train, valid, QUICK)
    mean, std = model.predict(data)
    assert np.abs(mean[valid] - y[valid]).mean() < 0.2 * np.abs(y - np.median(y)).mean()
    assert (std > 0).all()
    assert history.best_epoch == 1 + int(np.argmin([row[2] for row in history.rows]))


def test_what_is_left_is_the_epoch_with_the_least_validation_error():
    data, y, train, valid = problem()
    model = fresh()
    history = fit(model, data, y, train, valid, QUICK)
    error = np.abs(model.predict(data)[0][valid] - y[valid]).mean()
    assert error == pytest.approx(min(row[2] for row in history.rows), rel=1e-4)


def test_the_target_scale_is_in_the_state():
    data, y, train, valid = problem()
    model = fresh()
    fit(model, data, y, train, valid, QUICK)
    copy = fresh()
    copy.load_state_dict(model.state_dict())
    assert np.array_equal(copy.predict(data)[0], model.predict(data)[0])
    assert float(copy.centre[0]) == pytest.approx(np.median(y[train]), rel=1e-2)


def test_missing_targets_do_not_count():
    data, y, train, valid = problem()
    y[::3] = np.nan
    model = fresh()
    fit(model, data, y, train, valid, QUICK)
    assert np.isfinite(model.predict(data)[0]).all()
    loss = laplace_loss(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([[1.0], [float("nan")]]))
    assert float(loss) == pytest.approx(1.0 + 0.3)


class Killed(Exception):
    pass


def test_a_killed_fit_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("models.blocks.fitting._SAVE_EVERY_S", 0.0)
    data, y, train, valid = problem()
    whole = fresh()
    fit(whole, data, y, train, valid, QUICK)

    def kill(epoch: int, *_: float) -> None:
        if epoch == 7:
            raise Killed

    file = tmp_path / "state"
    with pytest.raises(Killed):
        fit(fresh(), data, y, train, valid, QUICK, run=Run(resume=file, report=kill))
    assert file.exists()
    seen: list[int] = []
    again = fresh()
    fit(again, data, y, train, valid, QUICK, run=Run(resume=file, report=lambda epoch, *_: seen.append(epoch)))
    assert seen[0] == 7  # the seventh epoch was done, but not kept: it is done again
    for mine, theirs in zip(again.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_state_of_another_network_is_refused(tmp_path):
    checkpoint.save(tmp_path / "state", {"model/x": np.zeros(2)}, {"epoch": 1})
    data, y, train, valid = problem()
    with pytest.raises(DataError, match="another model"):
        fit(fresh(), data, y, train, valid, QUICK, run=Run(resume=tmp_path / "state"))


def test_a_budget_ends_the_fit_and_the_cycle():
    data, y, train, valid = problem()
    told: list[float] = []
    run = Run(budget_s=0.3, epochs=10**6, report=lambda _epoch, progress, *_: told.append(progress))
    fit(fresh(), data, y, train, valid, QUICK, run=run)
    assert told[-1] == pytest.approx(1.0, abs=0.2)
    assert len(told) < 10**6


def test_a_warm_start_keeps_the_scale_and_what_was_learned():
    data, y, train, valid = problem()
    model = fresh()
    fit(model, data, y, train, valid, QUICK)
    before, scale = np.abs(model.predict(data)[0] - y).mean(), model.scale.clone()
    shifted = y + 1.0
    fit(model, data, shifted, train, valid, QUICK, run=Run(warm=True, epochs=2))
    assert torch.equal(model.scale, scale)
    assert np.abs(model.predict(data)[0] - shifted).mean() < before + 3.0


def test_no_training_rows_are_refused():
    data, y, _, valid = problem()
    with pytest.raises(DataError, match="no rows"):
        fit(fresh(), data, y, np.zeros(0, dtype=int), valid, QUICK)


def test_the_cycle_rises_and_falls_to_nothing():
    rates = [one_cycle(x) for x in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert int(np.argmax(rates)) == 20
    assert rates[-1] < 1e-3 < rates[0] < 0.1


def test_a_checkpoint_comes_back_as_it_was_and_runs_nothing(tmp_path):
    file = tmp_path / "c.npz"
    checkpoint.save(file, {"a/b": np.arange(6).reshape(2, 3)}, {"x": [1, "y"]})
    arrays, header = checkpoint.load(file)
    assert np.array_equal(arrays["a/b"], [[0, 1, 2], [3, 4, 5]])
    assert header == {"x": [1, "y"]}
    with pytest.raises(ValueError, match="pickle"):
        checkpoint.save(file, {"evil": np.array([object()])}, {})
    assert np.array_equal(checkpoint.load(file)[0]["a/b"], arrays["a/b"])


def test_a_pickle_is_no_checkpoint(tmp_path):
    import pickle

    (tmp_path / "p").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "p")


def test_a_truncated_checkpoint_is_refused(tmp_path):
    file = tmp_path / "c.npz"
    checkpoint.save(file, {"a": np.arange(1000)}, {})
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match="not a checkpoint"):
        checkpoint.load(file)
