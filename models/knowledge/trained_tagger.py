"""The tagger that ships no weights: trained at first use, kept in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.blocks.threads import torch_threads
from models.blocks.trained import trained
from models.knowledge.corpus import Span, read_annotated
from models.knowledge.tagger import SETTINGS, Tagger, train

CORPUS = "annotated_syntheses.jsonl.gz"


class StoredTagger:
    """A tagger out of arrays."""

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger

    def tag(self, text: str) -> list[Span]:
        """Spans of a text."""
        return self._tagger.tag(text)


def trained_tagger(folder: Path) -> StoredTagger:
    """The tagger for the corpus in ``folder``. Raises DataError: it is missing."""

    def make() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        with torch_threads(1):
            tagger = train(read_annotated(folder / CORPUS), SETTINGS)
        return {name: value.numpy().astype(_kept_as(value)) for name, value in tagger.state_dict().items()}, {}

    arrays, _ = trained("extraction", [folder / CORPUS], SETTINGS, make, 2)
    tagger = Tagger(SETTINGS)
    tagger.load_state_dict({k: torch.from_numpy(np.array(v, dtype=np.float32)) for k, v in arrays.items()})
    return StoredTagger(tagger.eval())


def _kept_as(value: torch.Tensor) -> type:
    """Half precision is enough for hashed words, and halves the file."""
    return np.float16 if value.ndim == 2 and len(value) > 9999 else np.float32
