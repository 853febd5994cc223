"""Structures a second on one device, and the share of its peak: what training and screening take of the hardware.

The peak is what the same device gives in the same run for one large matrix product in float32 (no TF32), which is what
the models' products are. Their operations are counted by torch's ``FlopCounterMode``: matrix products only, the
backward pass included, so that the share is a lower bound of what the device does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.blocks.fitting import Scaled, laplace_loss
from models.blocks.materials import Materials, read_materials
from models.registry import resolve

_SYSTEMS = ("cgcnn", "cgat", "alignn")
_ROWS = 1024  # fewer than have their graphs kept on disk
_REPEAT_S = 1.0  # of a rate's three measurements, at least


def table(data: Path, device: str) -> Iterator[str]:
    """Lines of a table of rates on ``device``, told as they are measured."""
    if device == "cpu":
        torch.set_num_threads(1)
    materials = read_materials(data / "structures/perov5.parquet").take(np.arange(_ROWS))
    peak = _peak(device)
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "one core"
    yield f"{name}, torch {torch.__version__}: {peak / 1e12:.3g} TFLOP/s in one large product; cells of 5 atoms"
    yield ""
    yield "| what | structures a second | GFLOP a structure, products only | share of the peak |\n|---|---|---|---|"
    for system in _SYSTEMS:
        for what, work in _works(system, materials, device):
            with FlopCounterMode(display=False) as counter:
                work()
            each = counter.get_total_flops() / _ROWS
            rate = _rate(work, _ROWS, device)
            yield f"| {what} | {rate:,.0f} | {each / 1e9:.3g} | {rate * each / peak:.1%} |"


def _works(system: str, materials: Materials, device: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """A training step over all rows, and a screening: with the graphs at hand, and with making them."""
    model: Any = resolve("properties", system)()
    scaled, graphs = Scaled(model.network()).to(device), model.prepare(materials).to(device)
    batch = model.schedule.batch if device == "cpu" else _ROWS
    optimizer = torch.optim.AdamW(scaled.parameters())

    def step() -> None:
        scaled.train()
        for rows in torch.arange(_ROWS, device=device).split(batch):
            mean, width = scaled(graphs.batch(rows))
            loss = laplace_loss(mean, width, torch.zeros((len(rows), 1), device=device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    yield f"`{system}`, a training step, batches of {batch}", step
    yield f"`{system}`, screening, graphs at hand", lambda: scaled.predict(graphs, device=device)
    yield (
        f"`{system}`, screening, graphs made by one core",
        lambda: scaled.predict(model.prepare(materials), device=device),
    )


def _peak(device: str) -> float:
    """FLOP/s of one large product."""
    side = 1024 if device == "cpu" else 8192
    one = torch.randn(side, side, device=device)
    return 2.0 * side**3 * _rate(lambda: one @ one, 1, device)


def _rate(work: Callable[[], Any], count: int, device: str) -> float:
    """Items a second of wall time, after a warm-up; best of three."""
    work()
    best = 0.0
    for _ in range(3):
        _wait(device)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < _REPEAT_S:
            work()
            _wait(device)
            done += count
        best = max(best, done / (time.perf_counter() - began))
    return best


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
