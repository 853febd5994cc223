"""Sums, means and softmaxes over segments of flat tensors: what graph networks need of scatter operations."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum of ``values`` (E, ...) into ``size`` rows by ``index`` (E,)."""
    return values.new_zeros((size, *values.shape[1:])).index_add(0, index, values)


def segment_mean(values: Tensor, index: Tensor, size: int, weight: Tensor | None = None) -> Tensor:
    """Weighted mean of ``values`` (E, d) by ``index``; 0 for a row without any."""
    if weight is None:
        weight = values.new_ones(len(values))
    total = segment_sum(weight, index, size).clamp_min(1e-12)
    return segment_sum(values * weight[:, None], index, size) / total[:, None]


def segment_softmax(logits: Tensor, index: Tensor, size: int, weight: Tensor | None = None) -> Tensor:
    """Softmax of ``logits`` (E, h) within each segment, each term counted ``weight`` (E,) times; sums to 1."""
    wide = index[:, None].expand_as(logits)
    top = logits.new_full((size, logits.shape[1]), -torch.inf).scatter_reduce(0, wide, logits.detach(), "amax")
    exponent = torch.exp(logits - top.index_select(0, index))
    if weight is not None:
        exponent = exponent * weight[:, None]
    return exponent / segment_sum(exponent, index, size).clamp_min(1e-12).index_select(0, index)


def ranges(start: Tensor, count: Tensor) -> Tensor:
    """Concatenation of ``arange(start_i, start_i + count_i)``."""
    shift = start - (torch.cumsum(count, 0) - count)
    return torch.arange(int(count.sum()), device=start.device) + torch.repeat_interleave(shift, count)
