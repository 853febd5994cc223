from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ablation import AS_IT_SHIPS, VARIANTS, play, table
from models.acquisition import benchmark
from models.acquisition.evaluation import Run, Task

RNG = np.random.default_rng(0)
CROWDED = np.concatenate([RNG.random((40, 2)), 0.8 + 0.05 * RNG.random((20, 2))])
VALUES = np.exp(3 * CROWDED[:, 0]) - CROWDED[:, 1] ** 2
SEEN = [0, 5, 9, 17, 23, 31, 45]


def beliefs(variant: str) -> np.ndarray:
    with VARIANTS[variant]():
        return benchmark.Planner(CROWDED, ["a", "b"], 0).score(SEEN, VALUES[SEEN].tolist(), [])


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != AS_IT_SHIPS])
def test_what_is_changed_changes_what_is_believed_and_is_put_back(variant: str):
    before = beliefs(AS_IT_SHIPS)
    assert np.abs(beliefs(variant) - before).max() > 1e-4
    assert (beliefs(AS_IT_SHIPS) == before).all()


def test_the_table_sets_every_variant_against_the_planner_as_it_ships():
    task = Task("hill", CROWDED, VALUES, ["a", "b"])
    names = [AS_IT_SHIPS, "values by rank only"]
    runs = {name: {"hill": [play(name, task, seed, 6) for seed in range(2)]} for name in names}
    lines = list(table([task], runs, 6))
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in names]
    same = {name: {"hill": [Run((0, 1, 2), ())]} for name in names}
    assert "+0.00 (+0.00 to +0.00)" in list(table([task], same, 3))[-1]
