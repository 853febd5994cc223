"""A linear chain over the words of a sentence: how likely its tags are, and how likely each span is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from models.knowledge.corpus import FINER, KINDS, LABELS

SPANS = (*LABELS, *FINER)
"""What has a beginning and an inside in the chain."""
TAGS = ("O", *(f"{p}-{label}" for label in SPANS for p in "BI"), *KINDS)
_TINY = 1e-30
_FORBIDDEN = -1e4


class _LogLikelihood(torch.autograd.Function):
    """Written out, because its gradient is what forward and backward sums give: several times faster."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: torch.autograd.function.FunctionCtx,
        scores: torch.Tensor,
        chain: torch.Tensor,
        tags: torch.Tensor,
        lengths: torch.Tensor,
    ) -> torch.Tensor:
        count, longest, kinds = scores.shape
        start, moves = chain[-1], chain[:-1]
        inside = torch.arange(longest) < lengths[:, None]
        step, most = moves.exp(), scores.max(2, keepdim=True).values
        weight = (scores - most).exp()
        first = start + scores[:, 0]
        peak = first.max(1, keepdim=True).values
        ahead = (first - peak).exp()
        total = ahead.sum(1, keepdim=True)
        log_total = peak + total.log()
        aheads = [ahead / total]
        for t in range(1, longest):
            grown = (aheads[-1] @ step) * weight[:, t]
            total = grown.sum(1, keepdim=True).clamp_min(_TINY)
            here = inside[:, t : t + 1]
            log_total = log_total + (total.log() + most[:, t]) * here
            aheads.append(torch.where(here, grown / total, aheads[-1]))
        behind = torch.ones(count, kinds)
        behinds, pairs = [behind], torch.zeros(kinds, kinds)
        for t in range(longest - 1, 0, -1):
            here, right = inside[:, t : t + 1], weight[:, t] * behind
            pair = aheads[t - 1][:, :, None] * step * right[:, None, :]
            pair = pair / pair.sum((1, 2), keepdim=True).clamp_min(_TINY)
            pairs += (pair * here[:, :, None]).sum(0)
            left = right @ step.T
            behind = torch.where(here, left / left.sum(1, keepdim=True).clamp_min(_TINY), behind)
            behinds.append(behind)
        marginal = torch.stack(aheads, 1) * torch.stack(behinds[::-1], 1)
        marginal = marginal / marginal.sum(2, keepdim=True).clamp_min(_TINY) * inside[:, :, None]
        true = torch.zeros_like(scores).scatter_(2, tags[:, :, None], 1.0) * inside[:, :, None]
        moved = (tags[:, :-1] * kinds + tags[:, 1:])[inside[:, 1:]]
        counted = torch.bincount(moved, minlength=kinds * kinds).reshape(kinds, kinds)
        gold = (scores * true).sum() + start[tags[:, 0]].sum() + (moves * counted).sum()
        begun = (marginal[:, 0] - true[:, 0]).sum(0, keepdim=True)
        words = lengths.sum()
        ctx.save_for_backward((marginal - true) / words, torch.cat([pairs - counted, begun]) / words)
        return (log_total.sum() - gold) / words

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: torch.Tensor):  # type: ignore[override]
        of_scores, of_chain = ctx.saved_tensors  # type: ignore[attr-defined]
        return of_scores * gradients[0], of_chain * gradients[0], None, None


def chain_loss(scores: torch.Tensor, chain: torch.Tensor, tags: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood a word of tags under a conditional random field.

    Args:
        scores: (batch, length, tags).
        chain: (tags + 1, tags): what it is worth to go from one tag to another; last row: to begin with it.
        tags: (batch, length) true ones.
        lengths: (batch,) words of each sentence.
    """
    return _LogLikelihood.apply(scores, chain, tags, lengths)


def forbidden() -> torch.Tensor:
    """Large and negative where an inside tag follows anything but its own label; the last row: a sentence's begin."""
    table = torch.zeros(len(TAGS) + 1, len(TAGS))
    for j, tag in enumerate(TAGS):
        if tag.startswith("I-"):
            allowed = {TAGS.index(f"B-{tag[2:]}"), j}
            for i in range(len(TAGS) + 1):
                if i not in allowed:
                    table[i, j] = _FORBIDDEN
    return table


def span_probabilities(
    scores: np.ndarray, chain: np.ndarray, least: float = 0.02
) -> Iterator[tuple[int, int, str, float]]:
    """First word, word after the last, one of ``SPANS`` and probability of every span that is at least so probable.

    Args:
        scores: (words, tags).
        chain: (tags + 1, tags).
    """
    first, moves = _posterior(scores, chain)
    for k, label in enumerate(SPANS):
        begin, within = 1 + 2 * k, 2 + 2 * k
        for start in np.flatnonzero(first[:, begin] > least):
            going, tag, end = float(first[start, begin]), begin, int(start) + 1
            while going > least:
                further = float(moves[end - 1][tag, within]) if end < len(scores) else 0.0
                if going * (1 - further) > least:
                    yield int(start), end, label, going * (1 - further)
                going, tag, end = going * further, within, end + 1


def _posterior(scores: np.ndarray, chain: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """(words, tags) probability of each tag, and of each move to the next word's tag given this word's."""
    step = np.exp(chain[:-1])
    weight = np.exp(scores - scores.max(1, keepdims=True))
    behind = np.ones_like(weight)
    for t in range(len(scores) - 1, 0, -1):
        left = step @ (weight[t] * behind[t])
        behind[t - 1] = left / left.sum()
    now = np.exp(chain[-1] - chain[-1].max()) * weight[0] * behind[0]
    tags, moves = [now / now.sum()], []
    for t in range(1, len(scores)):
        move = step * (weight[t] * behind[t])
        moves.append(move / np.maximum(move.sum(1, keepdims=True), _TINY))
        tags.append(tags[-1] @ moves[-1])
    return np.array(tags), moves
