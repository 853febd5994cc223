"""The tagger that ships no weights: trained at first use, kept in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.blocks.trained import trained
from models.knowledge.corpus import Document, Span, read_actions, read_annotated, read_pcmsp
from models.knowledge.tagger import SETTINGS, Tagger, train

_FILES = ("annotated_syntheses.jsonl.gz", "pcmsp.jsonl.gz", "synthesis_actions.jsonl.gz")


class StoredTagger:
    """A tagger out of arrays."""

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger

    def tag(self, text: str) -> list[Span]:
        """Spans of a text."""
        return self._tagger.tag(text)


def read_corpora(folder: Path) -> tuple[list[Document], list[Document]]:
    """The annotated paragraphs, and the two corpora of sentences that help."""
    annotated, pcmsp, actions = (folder / name for name in _FILES)
    return read_annotated(annotated), read_pcmsp(pcmsp) + read_actions(actions)


def trained_tagger(folder: Path) -> StoredTagger:
    """The tagger for the corpora in ``folder``. Raises DataError: one of the files is missing."""

    def make() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            own, others = read_corpora(folder)
            tagger = train([*own, *others], SETTINGS)
        finally:
            torch.set_num_threads(threads)
        return {name: value.numpy().astype(_kept_as(value)) for name, value in tagger.state_dict().items()}, {}

    arrays, _ = trained("extraction", [folder / name for name in _FILES], SETTINGS, make, 2)
    tagger = Tagger(SETTINGS)
    tagger.load_state_dict({k: torch.from_numpy(np.array(v, dtype=np.float32)) for k, v in arrays.items()})
    return StoredTagger(tagger.eval())


def _kept_as(value: torch.Tensor) -> type:
    """Half precision is enough for hashed words, and halves the file."""
    return np.float16 if value.ndim == 2 and len(value) > 9999 else np.float32
