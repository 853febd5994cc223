"""`athanor models`, `athanor train`, `athanor predict` as a user has them."""

from __future__ import annotations

import csv
import json

from controller.cli import main
from tests.models.tables import as_frame, ionic_target, salts


def test_a_user_gets_from_a_table_to_predictions(tmp_path, capsys):
    table = salts(edges=False)
    as_frame(table, y=ionic_target(table)).to_csv(tmp_path / "t.csv", index=False)
    train = [
        "train",
        "--model",
        "roost",
        "--data",
        str(tmp_path / "t.csv"),
        "--target",
        "y",
        "--out",
        str(tmp_path / "m"),
    ]
    assert main([*train, "--epochs", "2", "--members", "2", "--seed", "3"]) == 0
    assert "inside the 90 % interval" in capsys.readouterr().out
    assert json.loads((tmp_path / "m" / "metrics.json").read_text())["test"]["n"] == 18
    (tmp_path / "new.csv").write_text("formula\nKCl\nXx3\n")
    assert main(["predict", str(tmp_path / "m"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert float(rows[0]["mean"]) < 0 < float(rows[0]["std"]) and rows[0]["flag"] == ""
    assert rows[1]["mean"] == "" and "Xx" in rows[1]["flag"]


def test_the_models_are_listed_for_people_and_programs(capsys):
    assert main(["models", "list"]) == 0
    assert "roost" in capsys.readouterr().out
    assert main(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"cgcnn", "ward", "alignn"} <= {row["name"] for row in listed}
    assert all(row["citation"] and row["inputs"] in ("formula", "structure") for row in listed)


def test_mistakes_are_told_with_what_to_do(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("formula,y\n" + "".join(f"Fe{i + 1}O,{i}\n" for i in range(40)))
    train = ["train", "--data", str(tmp_path / "t.csv"), "--out", str(tmp_path / "m")]
    assert main([*train, "--model", "oracle", "--target", "y"]) == 2
    assert "known: roost" in capsys.readouterr().err
    assert main([*train, "--model", "roost", "--target", "z"]) == 2
    assert "the file has: formula, y" in capsys.readouterr().err
    assert main([*train, "--model", "roost", "--target", "y", "--device", "abacus"]) == 2
    assert "use --device cpu" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "m"), str(tmp_path / "t.csv"), "--out", str(tmp_path / "p.csv")]) == 2
    assert "does not exist" in capsys.readouterr().err
