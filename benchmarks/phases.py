"""Weight fractions of weighed mixtures out of their diffraction patterns, only the elements known.

    python -m benchmarks.phases [FILE.jsonl.gz] [--json OUT]

Without a file: ``xrd/dara.jsonl.gz`` in ``ATHANOR_DATA``. Patterns without ``weight_fraction`` are left out. A fraction
counts by composition: polymorphs of one formula are added.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections import Counter
from pathlib import Path

from models.characterization import analyse
from models.characterization.pattern import pattern_of_record
from models.elements import parse_formula


def composition(formula: str) -> tuple[tuple[str, float], ...]:
    counts = parse_formula(formula)
    total = sum(counts.values())
    return tuple(sorted((e, round(n / total, 4)) for e, n in counts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    file = arguments.file or Path(os.environ["ATHANOR_DATA"]) / "xrd" / "dara.jsonl.gz"
    with gzip.open(file, "rt") as handle:
        rows = [row for row in map(json.loads, handle) if row.get("weight_fraction")]
    results = []
    for row in rows:
        true = {composition(f): w for f, w in row["weight_fraction"].items()}
        elements = sorted({e for f in row["weight_fraction"] for e in parse_formula(f)})
        began = time.process_time()
        found = analyse(pattern_of_record(row), elements)
        seconds = time.process_time() - began
        got: Counter[tuple[tuple[str, float], ...]] = Counter()
        for phase in found.phases:
            got[composition(phase.formula)] += phase.weight_fraction
        error = sum(abs(got[c] - w) for c, w in true.items()) / len(true)
        even = sum(abs(1 / len(true) - w) for w in true.values()) / len(true)
        missed = sum(c not in got for c in true)
        extra = sum(w for c, w in got.items() if c not in true)
        told = ", ".join(f"{p.formula} {p.weight_fraction:.3f}" for p in found.phases)
        results.append((error, even, missed, extra, seconds))
        print(f"{row.get('name', ''):<48} {error:.3f} {missed:>6} {extra:>6.3f} {seconds:>6.2f} s  {told}", flush=True)
    n = len(results)
    error, even, missed, extra, seconds = (sum(r[i] for r in results) for i in range(5))
    slowest = max(r[4] for r in results)
    print(f"\n{n} patterns: mean absolute error {error / n:.4f} (equal split {even / n:.3f}), {missed} phases missed,")
    print(f"{extra / n:.4f} of the weight in phases that are not there;")
    print(f"{seconds / n:.2f} CPU s a pattern, {slowest:.2f} at most")
    if arguments.json:
        summary = {"patterns": n, "mae": error / n, "missed": missed, "extra": extra / n, "cpu_s": seconds / n}
        arguments.json.write_text(json.dumps(summary))


if __name__ == "__main__":
    main()
