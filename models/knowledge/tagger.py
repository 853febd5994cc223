"""A small network that labels the words of a synthesis: hashed features, a recurrent layer, a chain on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from models.knowledge.corpus import LABELS, Document, Span
from models.knowledge.features import BUCKETS, padded, token_features
from models.knowledge.tokens import Token, sentences, tokenize

TAGS = ("O", *(f"{p}-{label}" for label in LABELS for p in "BI"))
SOURCES = ("annotated", "pcmsp", "actions")
SETTINGS = {
    "width": 48,
    "hidden": 80,
    "dropout": 0.45,
    "shared_epochs": 3,
    "own_epochs": 10,
    "rate": 3e-3,
    "version": 1,
}
"""Whatever changes the trained tagger."""

_BATCH = 32
_WORD_DROPOUT = 0.15


class Tagger(nn.Module):
    """Labels of tokens.

    Huang, Xu and Yu, arXiv:1508.01991 (2015): a bidirectional LSTM under a conditional random field. Each corpus has
    its own output and chain on shared layers, so that one learns from the other without taking over its habits.
    """

    citation = "Kim et al., Chem. Mater. 29, 9436 (2017), 10.1021/acs.chemmater.7b03500"

    def __init__(self, settings: dict[str, Any] = SETTINGS) -> None:
        super().__init__()
        width, hidden = settings["width"], settings["hidden"]
        self.embedding = nn.Embedding(BUCKETS, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        self.norm = nn.LayerNorm(width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.outputs = nn.ModuleDict({s: nn.Linear(2 * hidden + width, len(TAGS)) for s in SOURCES})
        self.chains = nn.ParameterDict({s: nn.Parameter(torch.zeros(len(TAGS) + 1, len(TAGS))) for s in SOURCES})
        self.drop = nn.Dropout(settings["dropout"])
        self.register_buffer("forbidden", _forbidden(), persistent=False)

    def scores(self, features: torch.Tensor, lengths: torch.Tensor, source: str) -> torch.Tensor:
        """Scores of tags, (batch, length, tags), from features (batch, length, features)."""
        if self.training:
            features = features * (torch.rand(features.shape) > _WORD_DROPOUT)
        x = self.drop(self.norm(self.embedding(features).sum(2)))
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = self.lstm(packed)
        out, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
        return self.outputs[source](self.drop(torch.cat([out, x], 2)))

    def loss(self, features: torch.Tensor, lengths: torch.Tensor, tags: torch.Tensor, source: str) -> torch.Tensor:
        """Mean negative log-likelihood a token."""
        scores = self.scores(features, lengths, source)
        chain = self.chains[source] + self.forbidden
        start, moves = chain[-1], chain[:-1]
        inside = torch.arange(tags.shape[1]) < lengths[:, None]
        alpha = start + scores[:, 0]
        gold = start[tags[:, 0]] + scores[:, 0].gather(1, tags[:, :1])[:, 0]
        for t in range(1, tags.shape[1]):
            step = torch.logsumexp(alpha[:, :, None] + moves, 1) + scores[:, t]
            alpha = torch.where(inside[:, t, None], step, alpha)
            moved = moves[tags[:, t - 1], tags[:, t]] + scores[:, t].gather(1, tags[:, t : t + 1])[:, 0]
            gold = gold + moved * inside[:, t]
        return (torch.logsumexp(alpha, 1) - gold).sum() / lengths.sum()

    @torch.no_grad()
    def tag(self, text: str, source: str = "annotated") -> list[Span]:
        """Spans of a text, in order, none overlapping."""
        tokens = tokenize(text)
        if not tokens:
            return []
        self.eval()
        ranges = sentences(text, tokens)
        rows = token_features(text, tokens, ranges)
        chain = (self.chains[source] + self.forbidden).numpy()
        spans: list[Span] = []
        for group in _in_groups(ranges, 64):
            features, lengths = _stacked([rows[a:b] for a, b in group])
            scores = self.scores(features, lengths, source).numpy()
            for (a, b), s in zip(group, scores):
                spans += _spans(tokens[a:b], _viterbi(s[: b - a], chain))
        return sorted(spans)


def train(documents: Sequence[Document], settings: dict[str, Any] = SETTINGS, seed: int = 0) -> Tagger:
    """Train on all corpora, then on the one whose labels are wanted.

    Args:
        documents: of any of the sources; ``annotated`` ones have the last word.
        settings: as :data:`SETTINGS`.
        seed: equal seeds and documents give equal taggers.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tagger = Tagger(settings)
    examples: dict[str, list[tuple[list[list[int]], list[int]]]] = {s: [] for s in SOURCES}
    for document in documents:
        examples[document.source] += _examples(document)
    epochs = settings["shared_epochs"] + settings["own_epochs"]
    plan = [_batches(examples, SOURCES if e < settings["shared_epochs"] else SOURCES[:1], rng) for e in range(epochs)]
    optimizer = torch.optim.Adam(tagger.parameters(), lr=settings["rate"])
    total = sum(map(len, plan)) or 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings["rate"], total_steps=total + 1, pct_start=0.1)
    tagger.train()
    for batches in plan:
        for source, chosen in batches:
            features, lengths = _stacked([examples[source][i][0] for i in chosen])
            tags = torch.zeros(features.shape[:2], dtype=torch.long)
            for row, i in zip(tags, chosen):
                known = examples[source][i][1]
                row[: len(known)] = torch.tensor(known)
            optimizer.zero_grad()
            tagger.loss(features, lengths, tags, source).backward()
            nn.utils.clip_grad_norm_(tagger.parameters(), 2.0)
            optimizer.step()
            schedule.step()
    return tagger.eval()


def _examples(document: Document) -> list[tuple[list[list[int]], list[int]]]:
    tokens = tokenize(document.text)
    if not tokens:
        return []
    ranges = sentences(document.text, tokens)
    rows = token_features(document.text, tokens, ranges)
    tags = _tags(tokens, document.spans)
    return [(rows[a:b], tags[a:b]) for a, b in ranges]


def _tags(tokens: Sequence[Token], spans: Sequence[Span]) -> list[int]:
    """BIO tags; a token belongs to a span when its middle does."""
    tags = [0] * len(tokens)
    for span in spans:
        inside = [i for i, t in enumerate(tokens) if span.start <= (t.start + t.end - 1) / 2 < span.end]
        for k, i in enumerate(inside):
            tags[i] = TAGS.index(f"{'I' if k else 'B'}-{span.label}")
    return tags


def _spans(tokens: Sequence[Token], tags: Sequence[int]) -> list[Span]:
    spans: list[Span] = []
    start: int | None = None
    label = ""
    for i, tag in enumerate([*tags, 0]):
        name = TAGS[tag]
        if start is not None and name != f"I-{label}":
            spans.append(Span(tokens[start].start, tokens[i - 1].end, label))
            start = None
        if name.startswith("B-"):
            start, label = i, name[2:]
    return spans


def _forbidden() -> torch.Tensor:
    """Large and negative where an inside tag follows anything but its own label; the last row: a sentence's begin."""
    table = torch.zeros(len(TAGS) + 1, len(TAGS))
    for j, tag in enumerate(TAGS):
        if tag.startswith("I-"):
            allowed = {TAGS.index(f"B-{tag[2:]}"), j}
            for i in range(len(TAGS) + 1):
                if i not in allowed:
                    table[i, j] = -1e4
    return table


def _viterbi(scores: np.ndarray, chain: np.ndarray) -> list[int]:
    best = chain[-1] + scores[0]
    back = []
    for row in scores[1:]:
        total = best[:, None] + chain[:-1]
        back.append(total.argmax(0))
        best = total.max(0) + row
    path = [int(best.argmax())]
    for pointer in reversed(back):
        path.append(int(pointer[path[-1]]))
    return path[::-1]


def _stacked(rows: Sequence[Sequence[Sequence[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = [len(r) for r in rows]
    tables = [padded(r) for r in rows]
    out = np.zeros((len(rows), max(lengths), max(t.shape[1] for t in tables)), np.int64)
    for i, table in enumerate(tables):
        out[i, : table.shape[0], : table.shape[1]] = table
    return torch.from_numpy(out), torch.tensor(lengths)


def _in_groups(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _batches(examples: dict[str, list[Any]], sources: Sequence[str], rng: np.random.Generator) -> list[tuple[str, Any]]:
    """Batches of sentences of like length, in random order."""
    batches = []
    for source in sources:
        length = np.array([len(e[1]) for e in examples[source]]) + rng.uniform(0, 8, len(examples[source]))
        batches += [(source, g) for g in _in_groups(np.argsort(length).tolist(), _BATCH)]
    return [batches[i] for i in rng.permutation(len(batches))]
