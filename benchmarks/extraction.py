"""How well spans of synthesis paragraphs are found: cross-validation on annotated papers, coarse labels.

    python -m benchmarks.extraction [--folds 5] [--only 1] [--json OUT]

A span counts where start, end and label are right. ``--only N`` runs the first N folds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from models.knowledge.corpus import LABELS, Document, Span, read_annotated
from models.knowledge.recipes import with_measures
from models.knowledge.tagger import train
from models.knowledge.trained_tagger import CORPUS

MATERIALS = ("target", "precursor", "material")


class Tally:
    """True and false positives and misses a label."""

    def __init__(self) -> None:
        self.right: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()

    def add(self, found: Sequence[Span], true: Sequence[Span]) -> None:
        self.right.update(s.label for s in set(found) & set(true))
        self.wrong.update(s.label for s in set(found) - set(true))
        self.missed.update(s.label for s in set(true) - set(found))

    def f1(self, labels: Sequence[str]) -> tuple[float, float, float]:
        right, wrong, missed = (sum(c[x] for x in labels) for c in (self.right, self.wrong, self.missed))
        precision, recall = right / max(1, right + wrong), right / max(1, right + missed)
        return precision, recall, 2 * right / max(1, 2 * right + wrong + missed)


def merged(spans: Sequence[Span]) -> list[Span]:
    """With one label for all substances."""
    return [Span(s.start, s.end, "material" if s.label in MATERIALS else s.label) for s in spans]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    own = read_annotated(Path(os.environ["ATHANOR_DATA"]) / "knowledge" / CORPUS)
    fold = np.random.default_rng(0).permutation(len(own)) % arguments.folds
    exact, coarse, seconds = Tally(), Tally(), []
    for k in range(arguments.only or arguments.folds):
        began = time.process_time()
        tagger = train([d for d, f in zip(own, fold) if f != k])
        seconds.append(time.process_time() - began)
        for document in _of_fold(own, fold, k):
            spans = with_measures(document.text, tagger.tag(document.text))
            exact.add(spans, document.spans)
            coarse.add(merged(spans), merged(document.spans))
        print(f"fold {k}: {seconds[-1]:.0f} CPU s of training, F1 so far {exact.f1(LABELS)[2]:.3f}", flush=True)
    print(f"\n{'label':<14} precision recall    F1")
    for name, labels in [*((x, [x]) for x in LABELS), ("all", LABELS), ("temp., time", ["temperature", "time"])]:
        print(f"{name:<14} {exact.f1(labels)[0]:9.3f} {exact.f1(labels)[1]:6.3f} {exact.f1(labels)[2]:6.3f}")
    print(f"{'one material':<14} {coarse.f1(LABELS)[0]:9.3f} {coarse.f1(LABELS)[1]:6.3f} {coarse.f1(LABELS)[2]:6.3f}")
    if arguments.json:
        summary = {x: exact.f1([x])[2] for x in LABELS} | {"all": exact.f1(LABELS)[2], "train_cpu_s": max(seconds)}
        arguments.json.write_text(json.dumps(summary))


def _of_fold(documents: Sequence[Document], fold: np.ndarray, k: int) -> list[Document]:
    return [d for d, f in zip(documents, fold) if f == k]


if __name__ == "__main__":
    main()
