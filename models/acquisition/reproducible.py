"""The state of torch while models are fitted and asked: equal arguments give equal answers, nothing is left behind."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.acquisition.backend import load_botorch


@contextmanager
def reproducible(threads: int, seed: int) -> Iterator[None]:
    """Fixed torch threads and random state, put back afterwards; BoTorch's advice to people is kept from the logs."""
    load_botorch()
    from botorch.exceptions.warnings import BotorchWarning
    from linear_operator.utils.warnings import NumericalWarning
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # scipy's and numpy's BLAS too: their threads spin while they wait, ten times what small problems need
        with threadpool_limits(threads), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", category=BotorchWarning)
            warnings.simplefilter("ignore", category=NumericalWarning)
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
