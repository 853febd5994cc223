"""The taggers that ship no weights: trained at first use, kept in the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.blocks.trained import part, trained
from models.knowledge.corpus import Document, Span, read_actions, read_annotated, read_pcmsp
from models.knowledge.tagger import SETTINGS, Guesses, Tagger, chosen, examples, train_on

_FILES = ("annotated_syntheses.jsonl.gz", "pcmsp.jsonl.gz", "synthesis_actions.jsonl.gz")
MEMBERS = 3
"""Taggers that are asked."""


class Taggers:
    """Taggers that differ by their seed; the mean of what they believe is asked."""

    def __init__(self, taggers: Sequence[Tagger]) -> None:
        self._taggers = taggers

    @classmethod
    def fit(cls, documents: Sequence[Document], settings: Mapping[str, Any], members: int = MEMBERS) -> Taggers:
        """Train on documents, of which the annotated ones have the last word."""
        taught = {document: examples(document) for document in documents}
        return cls([train_on(taught, settings, seed) for seed in range(members)])

    def tag(self, text: str) -> list[Span]:
        """Spans of a text, in order, none overlapping."""
        found: Guesses = {}
        for tagger in self._taggers:
            for span, probability in tagger.guesses(text).items():
                found[span] = found.get(span, 0.0) + probability / len(self._taggers)
        return chosen(found)

    def arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint; half precision is enough for hashed words, and halves the file."""
        return {
            f"{k}.{name}": value.numpy().astype(np.float16 if name == "embedding.weight" else np.float32)
            for k, tagger in enumerate(self._taggers)
            for name, value in tagger.state_dict().items()
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any], members: int) -> Taggers:
        """What :meth:`arrays` gave, as taggers."""
        taggers = []
        for k in range(members):
            tagger = Tagger(settings)
            tagger.load_state_dict(
                {name: torch.from_numpy(np.array(v, dtype=np.float32)) for name, v in part(str(k), arrays).items()}
            )
            taggers.append(tagger.eval())
        return cls(taggers)


def read_corpora(folder: Path) -> tuple[list[Document], list[Document]]:
    """The annotated paragraphs, and the two corpora of sentences that help."""
    annotated, pcmsp, actions = (folder / name for name in _FILES)
    return read_annotated(annotated), read_pcmsp(pcmsp) + read_actions(actions)


def trained_tagger(folder: Path) -> Taggers:
    """The taggers for the corpora in ``folder``. Raises DataError: one of the files is missing."""

    def make() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            own, others = read_corpora(folder)
            return Taggers.fit([*own, *others], SETTINGS).arrays(), {}
        finally:
            torch.set_num_threads(threads)

    settings = {**SETTINGS, "members": MEMBERS}
    arrays, _ = trained("extraction", [folder / name for name in _FILES], settings, make, 3)
    return Taggers.restored(arrays, SETTINGS, MEMBERS)
