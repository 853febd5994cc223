from __future__ import annotations

import numpy as np

from models.acquisition.initial import initial_design


def test_equal_seeds_give_equal_designs():
    X = np.random.default_rng(0).random((500, 3))
    every, none = np.arange(500), np.empty((0, 3))
    first = initial_design(X, every, none, 8, seed=3)
    assert first == initial_design(X, every, none, 8, seed=3)
    assert first != initial_design(X, every, none, 8, seed=4)
    assert len(set(first)) == 8


def test_every_cluster_is_visited_once():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5]])
    X = np.concatenate([c + 0.01 * rng.normal(size=(100, 2)) for c in centres])
    chosen = initial_design(X, np.arange(500), np.empty((0, 2)), 5, seed=0)
    assert sorted(row // 100 for row in chosen) == [0, 1, 2, 3, 4]


def test_what_is_taken_is_kept_away_from():
    X = np.concatenate([np.zeros((50, 2)), np.ones((50, 2))]) + 0.001 * np.arange(100)[:, None]
    taken = np.array([[0.02, 0.02]])
    assert all(initial_design(X, np.arange(100), taken, 1, seed=s)[0] >= 50 for s in range(10))


def test_covers_better_than_chance():
    rng = np.random.default_rng(1)
    X = rng.random((2000, 2))

    def farthest(rows):
        return np.sqrt(((X[:, None] - X[rows][None]) ** 2).sum(-1)).min(1).mean()

    design = np.mean([farthest(initial_design(X, np.arange(2000), np.empty((0, 2)), 8, seed=s)) for s in range(10)])
    chance = np.mean([farthest(rng.choice(2000, 8, replace=False)) for _ in range(10)])
    assert design < 0.9 * chance


def test_only_eligible_rows_and_no_more_than_there_are():
    X = np.zeros((10, 2))
    assert sorted(initial_design(X, np.array([2, 5]), np.zeros((1, 2)), 6, seed=0)) == [2, 5]
    assert initial_design(X, np.array([], dtype=int), np.zeros((1, 2)), 6, seed=0) == []
