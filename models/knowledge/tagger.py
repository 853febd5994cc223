"""A small network that labels the words of a synthesis: hashed features, a recurrent layer, a chain on top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from models.knowledge.chain import TAGS, chain_loss, forbidden, span_probabilities
from models.knowledge.clues import Clues
from models.knowledge.corpus import Document, Span
from models.knowledge.features import BUCKETS, token_features
from models.knowledge.tokens import Token, sentences, tokenize

SETTINGS = {
    "width": 48,
    "hidden": 80,
    "dropout": 0.45,
    "epochs": 14,
    "rate": 3e-3,
    "version": 5,
}
"""Whatever changes the trained tagger."""

LIKELY_ENOUGH = 0.45
"""Least probability of a span that is told. Below one half: F1 gains as much by a find as it loses by two errors."""

_BATCH = 28
"""Sentences of some whole texts, or a few more."""
_WORD_DROPOUT = 0.15

Guesses = dict[Span, float]
"""Spans of a text, which may overlap, with their probabilities."""
_Words = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A sentence: all features in one row; how many each word has; number of each word, the same where it comes again."""
_Example = tuple[list[_Words], list[list[int]]]  # a text's sentences, with their tags


class Tagger(nn.Module):
    """Labels of words.

    Huang, Xu and Yu, arXiv:1508.01991 (2015): a bidirectional LSTM under a conditional random field. Beside its own
    surroundings each word sees the mean of those that it, or its formula by another name, has elsewhere in the text
    (Luo, Xiao and Zhao, arXiv:1911.02257, 2019, keep such a memory of words). The network also learns what is not
    asked for (what a substance does, words that are no spans): the roles come out better.

    Args:
        settings: as :data:`SETTINGS`.
    """

    citation = "Kim et al., Chem. Mater. 29, 9436 (2017), 10.1021/acs.chemmater.7b03500"
    forbidden: torch.Tensor

    def __init__(self, settings: Mapping[str, Any] = SETTINGS) -> None:
        super().__init__()
        width, hidden = settings["width"], settings["hidden"]
        self.embedding = nn.EmbeddingBag(BUCKETS, width, mode="sum", sparse=True)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.norm = nn.LayerNorm(width)
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.behind = nn.LSTM(width, hidden, batch_first=True)
        self.output = nn.Linear(2 * hidden + width, len(TAGS))
        self.from_elsewhere = nn.Linear(2 * hidden, len(TAGS), bias=False)
        nn.init.zeros_(self.from_elsewhere.weight)
        self.moves = nn.Parameter(torch.zeros(len(TAGS) + 1, len(TAGS)))
        self.drop = nn.Dropout(settings["dropout"])
        self.register_buffer("forbidden", forbidden(), persistent=False)

    def scores(self, texts: Sequence[Sequence[_Words]]) -> torch.Tensor:
        """Scores of tags, (sentences, longest, tags), of some texts; behind a sentence's end they mean nothing."""
        features, counts = (np.concatenate([words[k] for text in texts for words in text]) for k in (0, 1))
        if self.training:
            kept = torch.rand(len(features)).numpy() > _WORD_DROPOUT
            word = np.repeat(np.arange(len(counts)), counts)
            features, counts = features[kept], np.bincount(word[kept], minlength=len(counts))
        begin = np.cumsum(counts) - counts
        words = self.embedding(torch.from_numpy(features), torch.from_numpy(begin))
        words = _with_nothing(self.drop(self.norm(words)))
        # Packed sequences would be far slower: each direction runs over sentences that are padded at its far end.
        length = np.array([len(w[1]) for text in texts for w in text])
        place, offset = np.arange(length.max())[None], (np.cumsum(length) - length)[:, None]
        inside = place < length[:, None]
        turned = np.where(inside, length[:, None] - 1 - place, place)
        at = torch.from_numpy(np.where(inside, offset + place, len(counts)))
        x, back = words[at], words[torch.from_numpy(np.where(inside, offset + turned, len(counts)))]
        behind = self.behind(back)[0].gather(
            1, torch.from_numpy(turned)[:, :, None].expand(-1, -1, self.behind.hidden_size)
        )
        around = torch.cat([self.ahead(x)[0], behind], 2)
        elsewhere = _with_nothing(_mean_elsewhere(around[torch.from_numpy(inside)], _same(texts)))[at]
        return self.output(self.drop(torch.cat([around, x], 2))) + self.from_elsewhere(self.drop(elsewhere))

    def chain(self) -> torch.Tensor:
        """(tags + 1, tags): what it is worth to go from one tag to another; last row: to begin with it."""
        return self.moves + self.forbidden

    @torch.no_grad()
    def guesses(self, text: str) -> Guesses:
        """What may be a span of the text, with its probability."""
        found: Counter[Span] = Counter()
        tokens = tokenize(text)
        if not tokens:
            return {}
        self.eval()
        ranges = sentences(text, tokens)
        chain = self.chain().numpy().astype(float)
        scores = self.scores([_rows(text, tokens, ranges)]).numpy().astype(float)
        for (begin, end), s in zip(ranges, scores):
            for a, b, label, probability in span_probabilities(s[: end - begin], chain):
                span = Span(tokens[begin + a].start, tokens[begin + b - 1].end, label.split(".")[0])
                found[span] += probability  # pyright: ignore[reportArgumentType]
        return dict(found)

    def tag(self, text: str) -> list[Span]:
        """Spans of a text, in order, none overlapping."""
        return chosen(self.guesses(text))


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
    rng = np.random.default_rng(seed)
    tagger = Tagger(settings)
    examples = [_example(document) for document in documents if document.complete and document.text.strip()]
    plan = [batch for _ in range(settings["epochs"]) for batch in _batches(examples, rng)]
    dense = [p for name, p in tagger.named_parameters() if not name.startswith("embedding")]
    optimizer = torch.optim.Adam(dense, lr=settings["rate"])
    of_words = torch.optim.SparseAdam([tagger.embedding.weight], lr=settings["rate"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings["rate"], total_steps=len(plan) + 2, pct_start=0.1
    )
    tagger.train()
    for picked in plan:
        true = [torch.tensor(tags) for text in picked for tags in text[1]]
        tags = nn.utils.rnn.pad_sequence(true, batch_first=True)
        optimizer.zero_grad()
        of_words.zero_grad()
        scores = tagger.scores([text[0] for text in picked])
        chain_loss(scores, tagger.chain(), tags, torch.tensor([len(t) for t in true])).backward()
        nn.utils.clip_grad_norm_(dense, 2.0)
        of_words.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        of_words.step()
        schedule.step()
    return tagger.eval()


def _mean_elsewhere(words: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Of each word (words, features): the mean of the others with its number; zero where it stands alone."""
    count = torch.bincount(same).to(words.dtype)[same][:, None]
    total = words.new_zeros(int(same.max()) + 1, words.shape[1]).index_add(0, same, words)
    return (total[same] - words) / (count - 1).clamp_min(1) * (count > 1)


def _same(texts: Sequence[Sequence[_Words]]) -> torch.Tensor:
    """Numbers of all words; no word of one text has that of a word of another."""
    numbers, shift = [], 0
    for text in texts:
        numbers.append(np.concatenate([words[2] for words in text]) + shift)
        shift = int(numbers[-1].max()) + 1
    return torch.from_numpy(np.concatenate(numbers))


def _with_nothing(words: torch.Tensor) -> torch.Tensor:
    """With a row of zeros at the end: what stands where a sentence is over."""
    return torch.cat([words, words.new_zeros(1, words.shape[1])])


def _example(document: Document) -> _Example:
    tokens = tokenize(document.text)
    ranges = sentences(document.text, tokens)
    tags = _tags(tokens, document)
    return _rows(document.text, tokens, ranges), [tags[a:b] for a, b in ranges]


def _rows(text: str, tokens: Sequence[Token], ranges: Sequence[tuple[int, int]]) -> list[_Words]:
    features = token_features(text, tokens, ranges)
    names = [formula or token.text.lower() for formula, token in zip(Clues(text, tokens).formulas, tokens)]
    same = np.unique(names, return_inverse=True)[1]
    return [
        (
            np.array([f for word in features[a:b] for f in word], dtype=np.int64),
            np.array([len(word) for word in features[a:b]], dtype=np.int64),
            same[a:b],
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


def _batches(examples: Sequence[_Example], rng: np.random.Generator) -> list[list[_Example]]:
    """Whole texts in random order, so many together that they have ``_BATCH`` sentences or a few more."""
    batches: list[list[_Example]] = [[]]
    for i in rng.permutation(len(examples)):
        if sum(len(text[1]) for text in batches[-1]) >= _BATCH:
            batches.append([])
        batches[-1].append(examples[i])
    return [batch for batch in batches if batch]
