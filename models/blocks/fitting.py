"""``fit``: how every network is trained: AdamW, one cycle, clipping, best epoch, a budget, going on after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.blocks import checkpoint
from models.errors import DataError

_SAVE_EVERY_S = 20.0
_FLOOR = -6.0  # least log width, in units of the target's scale


class Inputs(Protocol):
    """n inputs that can be gathered into batches on a device (``GraphSet``, ``DenseSet``)."""

    def __len__(self) -> int: ...
    def to(self, device: str) -> Inputs:
        """The same on another device."""
        ...

    def batch(self, rows: Tensor) -> Any:
        """What the network takes, of some rows."""
        ...


@dataclass
class DenseSet:
    """n inputs of equal shape, (n, ...), and numbers beside each, (n, d) or None."""

    values: Tensor
    extra: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: str) -> DenseSet:
        """The same on another device."""
        return DenseSet(self.values.to(device), None if self.extra is None else self.extra.to(device))

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Some rows, (b, ...) and (b, d)."""
        none = self.values.new_zeros((len(rows), 0))
        return self.values[rows], none if self.extra is None else self.extra[rows]


@dataclass
class Chosen:
    """Some rows of other inputs."""

    inputs: Inputs
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: str) -> Chosen:
        """The same on another device."""
        return Chosen(self.inputs.to(device), self.rows.to(device))

    def batch(self, rows: Tensor) -> Any:
        """What the network takes, of some of the rows."""
        return self.inputs.batch(self.rows[rows])


@dataclass(frozen=True)
class Schedule:
    """Hyper-parameters of a fit; every system gives its own."""

    epochs: int = 100
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    clip: float = 1.0


@dataclass
class Run:
    """Where and how long a fit runs, and who is told.

    Attributes:
        device: ``cpu``, ``cuda``, ...
        dtype: ``float32``, or ``bfloat16`` to multiply matrices in that (weights and sums stay in float32).
        budget_s: seconds after which the fit has ended; the cycle is stretched over them where the epochs take longer.
        epochs: instead of the schedule's.
        resume: file that keeps the state between epochs; a fit that finds its own file goes on from there.
        report: called after each epoch with (epoch, progress 0..1, training loss, validation MAE).
        warm: start from the network's present weights and target scale, with a fifth of the learning rate.
    """

    device: str = "cpu"
    dtype: str = "float32"
    budget_s: float | None = None
    epochs: int | None = None
    resume: Path | None = None
    report: Callable[[int, float, float, float], None] | None = None
    warm: bool = False


class Scaled(nn.Module):
    """A network that sees targets standardised; the scale is part of its state, so a checkpoint cannot lose it.

    ``network(batch)`` gives (size, 2 t): t standardised means, then t logarithms of widths. A network with
    ``physical = True`` gives the means in the target's own unit.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, targets: int = 1) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("centre", torch.zeros(targets))
        self.register_buffer("scale", torch.ones(targets))

    def set_scale(self, y: Tensor) -> None:
        """Take median and mean absolute deviation of the training targets (n, t); nan is missing."""
        for k in range(y.shape[1]):
            known = y[~torch.isnan(y[:, k]), k]
            if len(known):
                self.centre[k] = known.median()
                self.scale[k] = max(float((known - known.median()).abs().mean()), 1e-8)

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Standardised means and log widths, (size, t) each."""
        mean, width = self.network(batch).float().chunk(2, dim=1)
        if getattr(self.network, "physical", False):
            mean = (mean - self.centre) / self.scale
        return mean, width.clamp(_FLOOR, 6.0)

    @torch.no_grad()
    def predict(self, data: Inputs, *, device: str = "cpu", batch: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations in the target's unit, float64 (n, t) each."""
        batch = batch or (256 if device == "cpu" else 2048)  # what a processor's cache holds
        self.eval().to(device)
        data = data.to(device)
        means, stds = [], []
        for rows in torch.arange(len(data), device=device).split(batch):
            mean, width = self(data.batch(rows))
            means.append((mean * self.scale + self.centre).double().cpu())
            stds.append((width.exp() * self.scale * math.sqrt(2.0)).double().cpu())  # a Laplace width is std / sqrt 2
        if not means:
            return np.zeros((0, len(self.centre))), np.zeros((0, len(self.centre)))
        return torch.cat(means).numpy(), torch.cat(stds).numpy()


@dataclass
class History:
    """Rows of (epoch, training loss, validation MAE in the target's unit), and the epoch that was kept."""

    rows: list[tuple[int, float, float]] = field(default_factory=list)
    best_epoch: int = 0


def laplace_loss(mean: Tensor, width: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error for the means, and the negative log likelihood of a Laplace for the widths alone.

    The width sees the error but does not weigh it, so that hard rows are not given up. nan targets do not count.
    """
    known = ~torch.isnan(target)
    error = (mean - torch.where(known, target, mean.detach())).abs()
    spread = width + error.detach() * torch.exp(-width)
    return torch.where(known, error + 0.3 * spread, torch.zeros_like(error)).sum() / known.sum().clamp_min(1)


def fit(
    model: Scaled, data: Inputs, y: np.ndarray, train: np.ndarray, valid: np.ndarray, schedule: Schedule, *,
    seed: int = 0, run: Run | None = None,
) -> History:  # fmt: skip
    """Train ``model`` in place and leave it with the weights of the epoch whose validation error was least.

    Equal data, seed and device give equal weights, also when the fit was killed and resumed (not under a time budget).

    Args:
        model: is moved to the device.
        data: n inputs.
        y: (n, t) targets, nan where missing.
        train, valid: row numbers. Without validation rows the last epoch is kept.
        schedule: of the system.
        seed: order of the batches, dropout.
        run: device, budget, resuming.

    Raises:
        DataError: no training rows.
    """
    run = run or Run()
    if not len(train):
        raise DataError("no rows to train on; check the target column and the split")
    device = run.device
    target = torch.as_tensor(y, dtype=torch.float32)
    if not run.warm:
        model.set_scale(target[torch.as_tensor(train)])
    model.to(device)
    data, target = data.to(device), target.to(device)
    scaled = (target - model.centre) / model.scale
    rate = schedule.learning_rate * (0.2 if run.warm else 1.0)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": plain, "weight_decay": 0.0}], lr=rate
    )
    epochs = run.epochs or schedule.epochs
    steps = math.ceil(len(train) / schedule.batch)
    state = _Progress(best=_copy(model), history=History())
    if run.resume is not None and run.resume.exists():
        state = _resume(run.resume, model, optimizer, device)
    began = saved = time.monotonic()
    rows, valid_rows = torch.as_tensor(train, device=device), torch.as_tensor(valid, device=device)
    while state.epoch < epochs and state.progress < 1.0:
        generator = torch.Generator().manual_seed(_mix(seed, state.epoch))
        torch.manual_seed(_mix(seed, state.epoch) + 1)
        order = rows[torch.randperm(len(rows), generator=generator).to(device)]
        model.train()
        total = torch.zeros((), device=device)
        for step, chunk in enumerate(order.split(schedule.batch)):
            spent = state.spent_s + time.monotonic() - began
            state.progress = (state.epoch * steps + step) / (epochs * steps)
            if run.budget_s is not None:
                state.progress = max(state.progress, spent / run.budget_s)
            if state.progress >= 1.0:
                break
            if len(chunk) == 1 and len(order) > 1:
                continue  # a batch of one row has no statistics
            for group in optimizer.param_groups:
                group["lr"] = rate * one_cycle(state.progress)
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=run.dtype == "bfloat16"):
                mean, width = model(data.batch(chunk))
            loss = laplace_loss(mean, width, scaled[chunk])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
            optimizer.step()
            total += loss.detach() * len(chunk)
        state.epoch += 1
        error = _error(model, data, target, valid_rows) if len(valid) else float("nan")
        if not len(valid) or error < state.least:
            state.least, state.best, state.history.best_epoch = error, _copy(model), state.epoch
        state.history.rows.append((state.epoch, float(total) / len(rows), error))
        if run.report is not None:
            run.report(state.epoch, min(1.0, max(state.progress, state.epoch / epochs)), *state.history.rows[-1][1:])
        if run.resume is not None and time.monotonic() - saved > _SAVE_EVERY_S:
            saved = time.monotonic()
            _save(run.resume, model, optimizer, state, state.spent_s + saved - began)
    model.load_state_dict(state.best)
    model.eval()
    return state.history


def one_cycle(progress: float) -> float:
    """Share of the highest learning rate: a cosine up over the first 20 %, a cosine down to nothing over the rest."""
    if progress < 0.2:
        return 0.05 + 0.95 * 0.5 * (1 - math.cos(math.pi * progress / 0.2))
    return 0.5 * (1 + math.cos(math.pi * (progress - 0.2) / 0.8)) + 1e-4


@dataclass
class _Progress:
    best: dict[str, Tensor]
    history: History
    epoch: int = 0
    progress: float = 0.0
    spent_s: float = 0.0
    least: float = float("inf")


@torch.no_grad()
def _error(model: Scaled, data: Inputs, target: Tensor, rows: Tensor) -> float:
    """Mean absolute error, each target in units of its scale where there are several, else in its own unit."""
    model.eval()
    total, count = 0.0, 0
    unit = model.scale if target.shape[1] == 1 else torch.ones_like(model.scale)
    for chunk in rows.split(512):
        mean, _ = model(data.batch(chunk))
        error = (mean - (target[chunk] - model.centre) / model.scale).abs() * unit
        known = ~torch.isnan(error)
        total, count = total + float(error[known].sum()), count + int(known.sum())
    return total / max(count, 1)


def _mix(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch * 7919 + 17) % (2**31)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: _Progress, spent_s: float) -> None:
    arrays = {f"model/{k}": v.cpu().numpy() for k, v in model.state_dict().items()}
    arrays |= {f"best/{k}": v.cpu().numpy() for k, v in state.best.items()}
    for index, slot in optimizer.state_dict()["state"].items():
        arrays |= {f"adam/{index}/{k}": v.cpu().numpy() for k, v in slot.items()}
    header = {"epoch": state.epoch, "progress": state.progress, "spent_s": spent_s, "least": state.least}
    checkpoint.save(path, arrays, header | {"rows": state.history.rows, "best_epoch": state.history.best_epoch})


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> _Progress:
    arrays, header = checkpoint.load(path)
    try:
        model.load_state_dict({k: torch.from_numpy(v) for k, v in checkpoint.nested(arrays, "model").items()})
        best = {k: torch.from_numpy(v).to(device) for k, v in checkpoint.nested(arrays, "best").items()}
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in checkpoint.nested(arrays, "adam").items():
            index, _, key = name.partition("/")
            slots.setdefault(int(index), {})[key] = torch.from_numpy(value)
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        history = History([(int(e), float(a), float(b)) for e, a, b in header["rows"]], header["best_epoch"])
        return _Progress(best, history, header["epoch"], header["progress"], header["spent_s"], header["least"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} is of another model ({error}); delete it to begin again") from error
