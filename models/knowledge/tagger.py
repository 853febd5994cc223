"""A small network that labels the words of a synthesis: hashed features, a recurrent layer, a chain on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from models.knowledge.chain import TAGS, chain_loss, forbidden, span_probabilities
from models.knowledge.corpus import Document, Span
from models.knowledge.features import BUCKETS, token_features
from models.knowledge.tokens import Token, sentences, tokenize

SOURCES = ("annotated", "pcmsp", "actions")
SETTINGS = {
    "width": 48,
    "hidden": 80,
    "dropout": 0.45,
    "shared_epochs": 3,
    "own_epochs": 10,
    "rate": 3e-3,
    "version": 4,
}
"""Whatever changes the trained tagger."""

LIKELY_ENOUGH = 0.45
"""Least probability of a span that is told. Below one half: F1 gains as much by a find as it loses by two errors."""

_BATCH = 32
_WORD_DROPOUT = 0.15

Guesses = dict[Span, float]
"""Spans of a text, which may overlap, with their probabilities."""
_Words = tuple[np.ndarray, np.ndarray]  # all features of a sentence in one row; how many each word has
_Example = tuple[_Words, list[int]]  # with the tags


class Tagger(nn.Module):
    """Labels of words.

    Huang, Xu and Yu, arXiv:1508.01991 (2015): a bidirectional LSTM under a conditional random field. Each corpus has
    its own output and chain on shared layers, so that one learns from the other without taking over its habits.
    """

    citation = "Kim et al., Chem. Mater. 29, 9436 (2017), 10.1021/acs.chemmater.7b03500"

    def __init__(self, settings: Mapping[str, Any] = SETTINGS) -> None:
        super().__init__()
        width, hidden = settings["width"], settings["hidden"]
        self.embedding = nn.EmbeddingBag(BUCKETS, width, mode="sum", sparse=True)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.norm = nn.LayerNorm(width)
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.behind = nn.LSTM(width, hidden, batch_first=True)
        self.outputs = nn.ModuleDict({s: nn.Linear(2 * hidden + width, len(TAGS)) for s in SOURCES})
        self.chains = nn.ParameterDict({s: nn.Parameter(torch.zeros(len(TAGS) + 1, len(TAGS))) for s in SOURCES})
        self.drop = nn.Dropout(settings["dropout"])
        self.register_buffer("forbidden", forbidden(), persistent=False)

    def scores(self, batch: Sequence[_Words], source: str) -> torch.Tensor:
        """Scores of tags, (batch, length, tags), of some sentences; behind a sentence's end they mean nothing."""
        features, counts = (np.concatenate([words[k] for words in batch]) for k in (0, 1))
        if self.training:
            kept = torch.rand(len(features)).numpy() > _WORD_DROPOUT
            word = np.repeat(np.arange(len(counts)), counts)
            features, counts = features[kept], np.bincount(word[kept], minlength=len(counts))
        begin = np.cumsum(counts) - counts
        words = self.embedding(torch.from_numpy(features), torch.from_numpy(begin))
        words = self.drop(self.norm(words))
        words = torch.cat([words, words.new_zeros(1, words.shape[1])])
        # Packed sequences would be far slower: each direction runs over sentences that are padded at its far end.
        length = np.array([len(w[1]) for w in batch])
        place, offset = np.arange(length.max())[None], (np.cumsum(length) - length)[:, None]
        inside = place < length[:, None]
        turned = np.where(inside, length[:, None] - 1 - place, place)
        x = words[torch.from_numpy(np.where(inside, offset + place, len(counts)))]
        back = words[torch.from_numpy(np.where(inside, offset + turned, len(counts)))]
        behind = self.behind(back)[0].gather(
            1, torch.from_numpy(turned)[:, :, None].expand(-1, -1, self.behind.hidden_size)
        )
        return self.outputs[source](self.drop(torch.cat([self.ahead(x)[0], behind, x], 2)))

    def chain(self, source: str) -> torch.Tensor:
        """(tags + 1, tags): what it is worth to go from one tag to another; last row: to begin with it."""
        return self.chains[source] + self.forbidden

    @torch.no_grad()
    def guesses(self, text: str, source: str = "annotated") -> Guesses:
        """What may be a span of the text, with its probability."""
        tokens = tokenize(text)
        if not tokens:
            return {}
        self.eval()
        ranges = sentences(text, tokens)
        rows = _rows(text, tokens, ranges)
        chain = self.chain(source).numpy().astype(float)
        found: Guesses = {}
        for at in range(0, len(ranges), 2 * _BATCH):
            scores = self.scores(rows[at : at + 2 * _BATCH], source).numpy().astype(float)
            for (begin, end), s in zip(ranges[at : at + 2 * _BATCH], scores):
                for a, b, label, probability in span_probabilities(s[: end - begin], chain):
                    found[Span(tokens[begin + a].start, tokens[begin + b - 1].end, label)] = probability
        return found

    def tag(self, text: str, source: str = "annotated") -> list[Span]:
        """Spans of a text, in order, none overlapping."""
        return chosen(self.guesses(text, source))


def chosen(guesses: Guesses) -> list[Span]:
    """The guesses that are likely enough, in order, the likelier of two that overlap."""
    kept: list[Span] = []
    for span, probability in sorted(guesses.items(), key=lambda guess: (-guess[1], guess[0])):
        if probability >= LIKELY_ENOUGH and all(span.end <= k.start or span.start >= k.end for k in kept):
            kept.append(span)
    return sorted(kept)


def train(documents: Sequence[Document], settings: Mapping[str, Any] = SETTINGS, seed: int = 0) -> Tagger:
    """Train on all corpora, then on the one whose labels are wanted.

    Args:
        documents: of any of the sources; ``annotated`` ones have the last word.
        settings: as :data:`SETTINGS`.
        seed: equal seeds and documents give equal taggers.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tagger = Tagger(settings)
    of: dict[str, list[_Example]] = {s: [] for s in SOURCES}
    for document in documents:
        of[document.source] += _examples(document)
    epochs = settings["shared_epochs"] + settings["own_epochs"]
    plan = [_batches(of, SOURCES if e < settings["shared_epochs"] else SOURCES[:1], rng) for e in range(epochs)]
    dense = [p for name, p in tagger.named_parameters() if not name.startswith("embedding")]
    optimizer = torch.optim.Adam(dense, lr=settings["rate"])
    of_words = torch.optim.SparseAdam([tagger.embedding.weight], lr=settings["rate"])
    total = sum(map(len, plan)) or 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings["rate"], total_steps=total + 1, pct_start=0.1)
    tagger.train()
    for batches in plan:
        for source, picked in batches:
            lengths = torch.tensor([len(of[source][i][1]) for i in picked])
            tags = torch.zeros(len(picked), int(lengths.max()), dtype=torch.long)
            for row, i in zip(tags, picked):
                row[: len(of[source][i][1])] = torch.tensor(of[source][i][1])
            optimizer.zero_grad()
            of_words.zero_grad()
            scores = tagger.scores([of[source][i][0] for i in picked], source)
            chain_loss(scores, tagger.chain(source), tags, lengths).backward()
            nn.utils.clip_grad_norm_(dense, 2.0)
            of_words.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]
            optimizer.step()
            of_words.step()
            schedule.step()
    return tagger.eval()


def _examples(document: Document) -> list[_Example]:
    tokens = tokenize(document.text)
    if not tokens:
        return []
    ranges = sentences(document.text, tokens)
    tags = _tags(tokens, document.spans)
    return [(words, tags[a:b]) for words, (a, b) in zip(_rows(document.text, tokens, ranges), ranges)]


def _rows(text: str, tokens: Sequence[Token], ranges: Sequence[tuple[int, int]]) -> list[_Words]:
    features = token_features(text, tokens, ranges)
    return [
        (
            np.array([f for word in features[a:b] for f in word], dtype=np.int64),
            np.array([len(word) for word in features[a:b]], dtype=np.int64),
        )
        for a, b in ranges
    ]


def _tags(tokens: Sequence[Token], spans: Sequence[Span]) -> list[int]:
    """BIO tags; a token belongs to a span when its middle does."""
    tags = [0] * len(tokens)
    for span in spans:
        inside = [i for i, t in enumerate(tokens) if span.start <= (t.start + t.end - 1) / 2 < span.end]
        for k, i in enumerate(inside):
            tags[i] = TAGS.index(f"{'I' if k else 'B'}-{span.label}")
    return tags


def _batches(of: Mapping[str, Sequence[_Example]], sources: Sequence[str], rng: np.random.Generator) -> list[Any]:
    """Batches of sentences of like length, in random order: (source, numbers of sentences)."""
    batches = []
    for source in sources:
        length = np.array([len(tags) for _, tags in of[source]]) + rng.uniform(0, 8, len(of[source]))
        order = np.argsort(length).tolist()
        batches += [(source, order[i : i + _BATCH]) for i in range(0, len(order), _BATCH)]
    return [batches[i] for i in rng.permutation(len(batches))]
