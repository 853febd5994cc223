from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from controller import bench_planning, cli
from models.acquisition import peers
from models.acquisition.evaluation import Run, Task


@pytest.fixture
def hill(tmp_path: Path) -> Path:
    X = np.linspace(0, 1, 60)
    pd.DataFrame({"x": X, "z": X**2 % 0.1, "y": -((X - 0.6) ** 2)}).to_csv(tmp_path / "hill.csv", index=False)
    return tmp_path / "hill.csv"


def test_the_command_prints_tables_and_writes_the_curves(hill, tmp_path, capsys):
    words = ["bench", "planning", str(hill), "--methods", "athanor", "random", "--seeds", "2", "--budget", "8"]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "| athanor |" in printed
    assert "- athanor - random:" in printed
    assert "EF@8 (90 %)" in printed
    assert "CPU s a suggestion" in printed
    assert len((tmp_path / "out" / "curves.csv").read_text().splitlines()) == 1 + 2 * 2 * 8
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000
    assert (tmp_path / "out" / "tables.md").read_text() == printed


def test_an_interrupted_benchmark_goes_on_where_it_was(hill, tmp_path, capsys, monkeypatch):
    words = ["bench", "planning", str(hill), "--methods", "random", "--budget", "6", "--out", str(tmp_path / "out")]
    played = []
    once = bench_planning.evaluation.run_campaign
    monkeypatch.setattr(bench_planning.evaluation, "run_campaign", lambda *a: played.append(a[2]) or once(*a))
    assert cli.main([*words, "--seeds", "2"]) == 0
    whole = (tmp_path / "out" / "curves.csv").read_text()
    capsys.readouterr()
    assert cli.main([*words, "--seeds", "3"]) == 0
    assert played == [0, 1, 2]
    assert "2 runs were played before" in capsys.readouterr().err
    assert (tmp_path / "out" / "curves.csv").read_text().startswith(whole)
    (tmp_path / "out" / "runs.csv").write_text("pool,budget\nhill,many\n")
    assert cli.main([*words, "--seeds", "1"]) == 2
    assert "runs.csv" in capsys.readouterr().err


def test_a_peer_that_is_not_installed_is_named_and_left_out(hill, capsys, monkeypatch):
    monkeypatch.setattr(peers, "_METHODS", {"random": ("numpy", peers.RandomSearch), "far": ("far_away", object)})
    assert cli.main(["bench", "planning", str(hill), "--seeds", "1", "--budget", "4"]) == 0
    said = capsys.readouterr()
    assert "far is left out: far_away is not installed (pip install 'athanor[peers]')" in said.err
    assert "| random |" in said.out


def test_asking_for_a_peer_that_is_not_installed_is_an_error_that_says_how_to_get_it(hill, capsys, monkeypatch):
    monkeypatch.setitem(peers._METHODS, "far", ("far_away", peers.RandomSearch))
    assert cli.main(["bench", "planning", str(hill), "--methods", "far"]) == 2
    assert "pip install 'athanor[peers]'" in capsys.readouterr().err


@pytest.mark.parametrize(("data", "words"), [("missing.csv", "missing.csv"), ("liang2021/Gold", "ATHANOR_DATA")])
def test_data_that_are_not_there_are_named(data, words, capsys, monkeypatch):
    monkeypatch.delenv("ATHANOR_DATA", raising=False)
    assert cli.main(["bench", "planning", data, "--methods", "random"]) == 2
    assert words in capsys.readouterr().err


def test_the_interval_of_an_acceleration_that_some_seeds_do_not_reach_is_open():
    X = np.linspace(0, 1, 100)[:, None]
    line = Task("line", X, X[:, 0], ["x"])
    good, bad = Run((99, 98, 97, 96), (0.1, 0.1)), Run((0, 1, 2, 3), (0.1, 0.1))
    always = bench_planning.report([line], {"m": {"line": [good, good]}}, 4)
    seldom = bench_planning.report([line], {"m": {"line": [good, good, good, bad]}}, 4)
    never = bench_planning.report([line], {"m": {"line": [bad, bad]}}, 4)
    assert "line 16.7 (16.7-16.7)" in always
    assert "line 12.5 (<" in seldom
    assert "not reached" in never


def test_several_objectives_are_compared_by_hypervolume_regret(tmp_path, capsys, monkeypatch):
    from models.acquisition import pareto_evaluation

    X = np.random.default_rng(0).random((40, 2))
    task = pareto_evaluation.make_pareto_task("arc", pd.DataFrame(X, columns=["a", "b"]), X, ["a", "b"])
    monkeypatch.setattr(pareto_evaluation, "load_pareto_task", lambda name: task)
    words = ["bench", "planning", "arc", "--multi", "--methods", "random", "top", "--seeds", "2", "--budget", "7"]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "Hypervolume regret at the end" in printed
    assert "random - top:" in printed
    assert len((tmp_path / "out" / "curves.csv").read_text().splitlines()) == 1 + 2 * 2 * 7
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000
    assert cli.main(["bench", "planning", "arc", "--multi", "--methods", "ouija"]) == 2


def test_the_benchmark_of_models_is_handed_its_own_words(monkeypatch, capsys):
    import benchmarks.models

    given: list[list[str]] = []
    monkeypatch.setattr(benchmarks.models, "main", lambda argv: given.append(argv) or 3)
    assert cli.main(["bench", "models", "accuracy", "--only", "perov5", "--seed", "7"]) == 3
    assert given == [["accuracy", "--only", "perov5", "--seed", "7"]]


def test_without_the_source_code_the_benchmark_of_models_says_where_it_is(monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "benchmarks.models", None)
    assert cli.main(["bench", "models", "speed"]) != 0
    assert "comes with the source code" in capsys.readouterr().err
