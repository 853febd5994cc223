"""From a table to a trained ensemble, and back from the disk."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from models.blocks import checkpoint
from models.blocks.materials import Materials, read_materials
from models.errors import DataError
from models.predictors import training
from models.predictors.members import Ensemble
from models.predictors.splits import folds, make_split
from models.predictors.training import Order, train
from tests.models.tables import as_frame, ionic_target, salts

TABLE = salts()
TARGET = ionic_target(TABLE)


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "salts.parquet"
    split = np.array(["train"] * 120 + ["val"] * 30 + ["test"] * 30)[np.random.default_rng(0).permutation(180)]
    as_frame(TABLE, y=TARGET, split=split, fold=np.arange(180) % 3).to_parquet(file)
    return file


def order(table, out, **changes) -> Order:
    return replace(Order("cgcnn", table, ("y",), out, members=2, epochs=3), **changes)


def test_training_writes_metrics_a_card_plots_and_a_model_that_says_the_same_again(table, tmp_path):
    out = tmp_path / "m"
    metrics = train(order(table, out, split="split"))
    assert metrics == json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["n"] == 30
    assert set(metrics["test"]) >= {"mae", "rmse", "coverage90", "n"}
    card = (out / "card.md").read_text()
    assert metrics["data_sha256"] in card and "10.1103/PhysRevLett.120.145301" in card and "Domain" in card
    assert (out / "parity.png").stat().st_size > 5000 and (out / "learning_curve.png").stat().st_size > 5000
    assert not (out / "parts").exists()
    materials = read_materials(table)
    test = np.flatnonzero(materials.columns["split"] == "test")
    mean, std, flags = Ensemble.load(out).predict(materials.take(test))
    assert np.abs(mean[:, 0] - TARGET[test]).mean() == pytest.approx(metrics["test"]["mae"], rel=1e-5)
    assert not any(flags)
    assert (std > 0).all()


def test_a_test_file_judges_and_teaches_nothing(table, tmp_path):
    held = as_frame(TABLE.take(np.arange(20)), y=TARGET[:20] + 1000.0)
    held.to_parquet(tmp_path / "held.parquet")
    metrics = train(order(table, tmp_path / "m", model="melting-gp", test=tmp_path / "held.parquet"))
    assert metrics["test"]["mae"] == pytest.approx(1000, rel=0.01)
    assert metrics["test"]["n"] == 20
    assert metrics["n_train"] == 180


def test_a_test_file_that_cannot_judge_is_refused_before_any_training(table, tmp_path):
    as_frame(TABLE.take(np.arange(20))).to_parquet(tmp_path / "held.parquet")
    with pytest.raises(DataError, match="no column 'y'"):
        train(order(table, tmp_path / "m", test=tmp_path / "held.parquet"))
    assert not (tmp_path / "m").exists()


def test_official_folds_judge_in_turn(table, tmp_path):
    metrics = train(order(table, tmp_path / "m", model="melting-gp", split="fold"))
    assert metrics["test"]["n"] == 180
    assert metrics["members"] == 3 * 2
    assert metrics["test"]["mae"] < metrics["test"]["mae_of_the_median"]


class Killed(Exception):
    pass


def test_training_goes_on_after_a_kill_and_ends_where_it_would_have(table, tmp_path, monkeypatch):
    monkeypatch.setattr("models.blocks.fitting._SAVE_EVERY_S", 0.0)
    whole = train(order(table, tmp_path / "whole"))

    def kill(words: str, _share: float) -> None:
        if words.startswith("member 2 of 2, epoch 2"):
            raise Killed

    broken = order(table, tmp_path / "broken")
    with pytest.raises(Killed):
        train(broken, kill)
    assert (broken.out / "parts").exists() and not (broken.out / "metrics.json").exists()
    told: list[str] = []
    again = train(broken, lambda words, _share: told.append(words))
    assert not any(words.startswith("member 1 of 2") for words in told), "the first member was finished"
    assert again["version"] == whole["version"]
    assert again["test"] == whole["test"]


@pytest.mark.slow
def test_trees_learn_from_all_rows_in_the_end_and_intervals_come_from_rows_left_out(table, tmp_path):
    frame = as_frame(TABLE, y=np.random.default_rng(0).normal(size=180))  # nothing to learn, everything to remember
    frame.to_csv(tmp_path / "t.csv", index=False)
    metrics = train(order(tmp_path / "t.csv", tmp_path / "m", model="melting"))
    mean, std, _ = Ensemble.load(tmp_path / "m").predict(TABLE)
    judged = set((tmp_path / "m" / "test_predictions.csv").read_text().split())
    seen = np.array([not any(line.startswith(f"{formula},") for line in judged) for formula in TABLE.formulas])
    truth = frame["y"].to_numpy()
    assert np.abs(mean[seen, 0] - truth[seen]).mean() < 0.6 * metrics["validation"]["mae"]
    assert metrics["validation"]["coverage90"] >= 0.9
    assert np.median(1.645 * std[~seen, 0]) > metrics["validation"]["mae"]


@pytest.mark.parametrize("model", ["melting-gp", "pairs"])
def test_a_second_learning_goes_on_after_a_kill_and_ends_where_it_would_have(table, tmp_path, model):
    whole = train(order(table, tmp_path / "whole", model=model, epochs=2))

    def kill(words: str, _share: float) -> None:
        if words == "member 2 of 2, all rows":
            raise Killed

    broken = order(table, tmp_path / "broken", model=model, epochs=2)
    with pytest.raises(Killed):
        train(broken, kill)
    told: list[str] = []
    again = train(broken, lambda words, _share: told.append(words))
    assert "member 1 of 2, all rows" not in told, "it was finished"
    assert again["version"] == whole["version"]


def test_a_folder_of_another_training_is_left_alone(table, tmp_path):
    train(order(table, tmp_path / "m", model="melting-gp"))
    with pytest.raises(DataError, match="holds a trained model already"):
        train(order(table, tmp_path / "m", model="melting-gp"))
    (tmp_path / "m" / "metrics.json").unlink()
    with pytest.raises(DataError, match="another training \\(seed differ\\)"):
        train(order(table, tmp_path / "m", model="melting-gp", seed=5))


def test_training_starts_from_a_trained_model(table, tmp_path):
    train(order(table, tmp_path / "first", epochs=6))
    warm = train(order(table, tmp_path / "warm", epochs=1, start=tmp_path / "first"))
    cold = train(order(table, tmp_path / "cold", epochs=1))
    assert warm["validation"]["mae"] < cold["validation"]["mae"]


def test_a_budget_is_kept_and_may_cost_members(table, tmp_path, monkeypatch):
    metrics = train(order(table, tmp_path / "m", budget_s=3.0, epochs=10**6, members=5))
    assert metrics["members"] == 1
    assert metrics["test"]["n"] == 18


def test_equal_seeds_give_equal_models(table, tmp_path):
    versions = [
        train(order(table, tmp_path / name, seed=seed))["version"] for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert versions[0] == versions[1] != versions[2]


def test_what_cannot_be_judged_has_a_flag_and_no_number(table, tmp_path):
    train(order(table, tmp_path / "m", model="cgcnn"))
    cells = [*TABLE.cells[:2], None]
    strange = Materials.build(["LiO", "PuO", "LiF"], cells)
    assert cells[0] is not None
    lead = replace(cells[0], numbers=np.array([82, 8]))
    strange.cells[1] = lead
    strange = Materials.build(["LiO", "PbO", "LiF", "LiXx"], [cells[0], lead, None, cells[0]])
    mean, std, flags = Ensemble.load(tmp_path / "m").predict(strange)
    assert flags[0] == "" and np.isfinite(mean[0, 0])
    assert "out of domain" in flags[1] and "Pb" in flags[1]
    assert "no ordered crystal" in flags[2] and np.isnan(mean[2, 0]) and np.isnan(std[2, 0])
    assert "Xx" in flags[3] and np.isnan(mean[3, 0])


def test_a_damaged_model_is_refused(table, tmp_path):
    train(order(table, tmp_path / "m", model="melting-gp"))
    file = tmp_path / "m" / "model.npz"
    arrays, header = checkpoint.load(file)
    arrays["factor"] = arrays["factor"] * 2
    checkpoint.save(file, arrays, header)
    with pytest.raises(DataError, match="damaged"):
        Ensemble.load(tmp_path / "m")


def test_rows_that_cannot_be_used_are_counted(tmp_path):
    frame = as_frame(salts(edges=False), y=TARGET)
    frame.loc[[0, 1], "formula"] = ["=z", "Xx2"]
    frame.loc[2, "y"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    metrics = train(order(tmp_path / "t.csv", tmp_path / "m", model="melting-gp"))
    assert sum(metrics["dropped"].values()) == 3
    with pytest.raises(DataError, match="can be used, 20 are needed"):
        train(order(tmp_path / "t.csv", tmp_path / "n", model="cgcnn"))


def test_no_composition_is_on_two_sides():
    table = Materials.build([f"Fe{i % 30 + 1}O" for i in range(120)])
    for rows in folds(table, np.arange(120), 5, 0):
        rest = np.setdiff1d(np.arange(120), rows)
        assert not {table.formulas[i] for i in rows} & {table.formulas[i] for i in rest}
    drawn = make_split(table, np.arange(120), None, own_test=False, seed=0)
    assert not {table.formulas[i] for i in drawn.test} & {table.formulas[i] for i in drawn.train}
    assert len(drawn.test) + len(drawn.train) == 120


def test_a_split_without_a_training_part_trains_on_what_there_is():
    table = Materials.build([f"Fe{i + 1}O" for i in range(40)], columns={"split": np.array(["val"] * 40)})
    split = make_split(table, np.arange(40), "split", own_test=True, seed=0)
    assert len(split.train) == 40
    assert "40 validation rows train" in split.words


def test_validation_rows_teach_and_test_rows_never_do():
    parts = np.array(["train"] * 30 + ["valid"] * 6 + ["test"] * 4)
    table = Materials.build([f"Fe{i + 1}O" for i in range(40)], columns={"split": parts})
    split = make_split(table, np.arange(40), "split", own_test=False, seed=0)
    assert split.train.tolist() == list(range(36)) and split.test.tolist() == list(range(36, 40))


def test_a_column_that_is_no_split_is_refused():
    table = Materials.build(["FeO", "Fe2O3"], columns={"kind": np.array(["a", "b"])})
    with pytest.raises(DataError, match="names no training rows"):
        make_split(table, np.arange(2), "kind", own_test=True, seed=0)
    with pytest.raises(DataError, match="to split by"):
        make_split(table, np.arange(2), "none", own_test=True, seed=0)


def test_reasons_are_counted_together():
    assert training._count(["'AmO2' has what is no element: Am", "'EsO' has what is no element: Es"]) == {
        "a formula has what is no element": 2
    }
