"""A small network that labels the words of a synthesis: hashed features, a recurrent layer, a chain on top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from models.knowledge.chain import TAGS, chain_loss, forbidden, span_probabilities
from models.knowledge.corpus import Document, Span
from models.knowledge.features import BUCKETS, token_features
from models.knowledge.tokens import Token, sentences, tokenize

SETTINGS = {
    "width": 48,
    "hidden": 80,
    "dropout": 0.45,
    "epochs": 14,
    "rate": 3e-3,
    "members": 2,
    "version": 5,
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
    """Labels of words: some networks of one form, whose probabilities are averaged.

    Args:
        settings: as :data:`SETTINGS`.
    """

    citation = "Kim et al., Chem. Mater. 29, 9436 (2017), 10.1021/acs.chemmater.7b03500"

    def __init__(self, settings: Mapping[str, Any] = SETTINGS) -> None:
        super().__init__()
        self.members = nn.ModuleList(Network(settings) for _ in range(settings["members"]))

    def guesses(self, text: str) -> Guesses:
        """What may be a span of the text, with its probability."""
        found: Counter[Span] = Counter()
        tokens = tokenize(text)
        if not tokens:
            return {}
        ranges = sentences(text, tokens)
        rows = _rows(text, tokens, ranges)
        for network in self.members:
            for (begin, _), guessed in zip(ranges, network.guesses(rows)):  # pyright: ignore[reportCallIssue]
                for a, b, label, probability in guessed:
                    span = Span(tokens[begin + a].start, tokens[begin + b - 1].end, label.split(".")[0])
                    found[span] += probability / len(self.members)  # pyright: ignore[reportArgumentType]
        return dict(found)

    def tag(self, text: str) -> list[Span]:
        """Spans of a text, in order, none overlapping."""
        return chosen(self.guesses(text))


class Network(nn.Module):
    """Scores of the tags of words.

    Huang, Xu and Yu, arXiv:1508.01991 (2015): a bidirectional LSTM under a conditional random field. It also learns
    what is not asked for (what a substance does, and words that are no spans): the roles come out better.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        width, hidden = settings["width"], settings["hidden"]
        self.embedding = nn.EmbeddingBag(BUCKETS, width, mode="sum", sparse=True)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.norm = nn.LayerNorm(width)
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.behind = nn.LSTM(width, hidden, batch_first=True)
        self.output = nn.Linear(2 * hidden + width, len(TAGS))
        self.moves = nn.Parameter(torch.zeros(len(TAGS) + 1, len(TAGS)))
        self.drop = nn.Dropout(settings["dropout"])
        self.register_buffer("forbidden", forbidden(), persistent=False)

    def scores(self, batch: Sequence[_Words]) -> torch.Tensor:
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
        return self.output(self.drop(torch.cat([self.ahead(x)[0], behind, x], 2)))

    def chain(self) -> torch.Tensor:
        """(tags + 1, tags): what it is worth to go from one tag to another; last row: to begin with it."""
        return self.moves + self.forbidden

    @torch.no_grad()
    def guesses(self, rows: Sequence[_Words]) -> list[list[tuple[int, int, str, float]]]:
        """Of each sentence: first word, word after the last, label and probability of what may be a span."""
        self.eval()
        chain, found = self.chain().numpy().astype(float), []
        for at in range(0, len(rows), 2 * _BATCH):
            batch = rows[at : at + 2 * _BATCH]
            for words, s in zip(batch, self.scores(batch).numpy().astype(float)):
                found.append(list(span_probabilities(s[: len(words[1])], chain)))
        return found


def chosen(guesses: Guesses) -> list[Span]:
    """The guesses that are likely enough, in order, the likelier of two that overlap."""
    kept: list[Span] = []
    for span, probability in sorted(guesses.items(), key=lambda guess: (-guess[1], guess[0])):
        if probability >= LIKELY_ENOUGH and all(span.end <= k.start or span.start >= k.end for k in kept):
            kept.append(span)
    return sorted(kept)


def train(documents: Sequence[Document], settings: Mapping[str, Any] = SETTINGS, seed: int = 0) -> Tagger:
    """Train on those documents that are completely annotated.

    Args:
        documents: with their spans.
        settings: as :data:`SETTINGS`.
        seed: equal seeds and documents give equal taggers.
    """
    torch.manual_seed(seed)
    tagger = Tagger(settings)
    examples = [example for document in documents if document.complete for example in _examples(document)]
    for k, network in enumerate(tagger.members):
        _fit(network, examples, settings, np.random.default_rng((seed, k)))  # pyright: ignore[reportArgumentType]
    return tagger.eval()


def _fit(network: Network, examples: Sequence[_Example], settings: Mapping[str, Any], rng: np.random.Generator) -> None:
    plan = [batch for _ in range(settings["epochs"]) for batch in _batches(examples, rng)]
    dense = [p for name, p in network.named_parameters() if not name.startswith("embedding")]
    optimizer = torch.optim.Adam(dense, lr=settings["rate"])
    of_words = torch.optim.SparseAdam([network.embedding.weight], lr=settings["rate"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings["rate"], total_steps=len(plan) + 2, pct_start=0.1
    )
    network.train()
    for picked in plan:
        lengths = torch.tensor([len(examples[i][1]) for i in picked])
        tags = torch.zeros(len(picked), int(lengths.max()), dtype=torch.long)
        for row, i in zip(tags, picked):
            row[: len(examples[i][1])] = torch.tensor(examples[i][1])
        optimizer.zero_grad()
        of_words.zero_grad()
        scores = network.scores([examples[i][0] for i in picked])
        chain_loss(scores, network.chain(), tags, lengths).backward()
        nn.utils.clip_grad_norm_(dense, 2.0)
        of_words.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        of_words.step()
        schedule.step()


def _examples(document: Document) -> list[_Example]:
    tokens = tokenize(document.text)
    if not tokens:
        return []
    ranges = sentences(document.text, tokens)
    tags = _tags(tokens, document)
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


def _tags(tokens: Sequence[Token], document: Document) -> list[int]:
    """Tags, of the finest label known; a token belongs to a span when its middle does."""
    finest = {(s.start, s.end): s.label for s in document.finer if "." in s.label}
    tags = [0] * len(tokens)
    for span in document.finer:
        if f"B-{span.label}" not in TAGS:
            for i in _within(tokens, span):
                tags[i] = TAGS.index(span.label)
    for span in document.spans:
        for k, i in enumerate(_within(tokens, span)):
            label = finest.get((span.start, span.end), span.label)
            tags[i] = TAGS.index(f"{'I' if k else 'B'}-{label}")
    return tags


def _within(tokens: Sequence[Token], span: Span) -> list[int]:
    return [i for i, t in enumerate(tokens) if span.start <= (t.start + t.end - 1) / 2 < span.end]


def _batches(examples: Sequence[_Example], rng: np.random.Generator) -> list[list[int]]:
    """Numbers of sentences of like length, in random order of batches."""
    length = np.array([len(tags) for _, tags in examples]) + rng.uniform(0, 8, len(examples))
    order = np.argsort(length).tolist()
    batches = [order[i : i + _BATCH] for i in range(0, len(order), _BATCH)]
    return [batches[i] for i in rng.permutation(len(batches))]
