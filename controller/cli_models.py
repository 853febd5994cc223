"""Commands about models of properties: ``athanor models list``, ``athanor train``, ``athanor predict``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller.cli_values import positive
from controller.errors import CampaignError

TRAIN = "athanor train --model roost --data supercon.csv.gz --target Tc_K --out models/tc"


def add_model_commands(commands: Any, add: Callable[..., Any]) -> None:
    """Add them to the parser; ``add(commands, name, function, text, example)`` is the command line's own."""
    models = add(commands, "models", _list, "the models of properties that there are", "athanor models list")
    verbs = models.add_subparsers(metavar="VERB", required=True)
    listing = add(verbs, "list", _list, "every model: inputs, paper, what it is", "athanor models list")
    listing.add_argument("--json", action="store_true", help="one list for programs")

    train = add(commands, "train", _train, "train a model of a property on a table", TRAIN)
    train.add_argument("--model", required=True, metavar="NAME", help="which; athanor models list names them")
    train.add_argument(
        "--data", required=True, type=Path, metavar="FILE", help="Parquet, CSV, or a folder of CIF/POSCAR"
    )
    train.add_argument(
        "--target",
        required=True,
        metavar="COLUMN",
        help="what to learn; with commas between, several together",
    )
    train.add_argument("--split", metavar="COLUMN", help="train, val, test; or numbers of folds")
    train.add_argument("--test", type=Path, metavar="FILE", help="rows to judge by, never seen in training")
    train.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE", help="keep these rows only")
    train.add_argument("--use", action="append", default=[], metavar="COLUMN", help="a column that helps to predict")
    train.add_argument("--crude", default="", metavar="COLUMN", help="a cheap estimate of it; `chgnet`: its energy")
    train.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: %(default)s)")
    train.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of the matrix products")
    train.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: %(default)s)")
    train.add_argument("--members", type=positive, default=5, help="of the ensemble (default: %(default)s)")
    train.add_argument("--epochs", type=positive, help="instead of the model's own")
    train.add_argument("--budget-minutes", type=_minutes, metavar="M", help="training ends in time for this")
    train.add_argument("--start", type=Path, metavar="DIR", help="go on from a trained model's weights")
    train.add_argument("--quiet", action="store_true", help="no progress")
    train.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the model goes")

    predict = add(
        commands, "predict", _predict, "what a trained model says of a table's materials",
        "athanor predict models/tc candidates.csv --out predictions.csv",
    )  # fmt: skip
    predict.add_argument("dir", type=Path, metavar="DIR", help="of `athanor train --out`, or `synthnn`")
    predict.add_argument("file", type=Path, metavar="FILE", help="Parquet, CSV, folder of CIF/POSCAR")
    predict.add_argument("--out", required=True, type=Path, metavar="CSV", help="mean, std and flag a row")


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of minutes above 0")
    return value


def _list(arguments: Any) -> int:
    from models.registry import names, resolve

    rows = []
    for name in names("properties"):
        model: Any = resolve("properties", name)
        needs = "structure" if model.structure else "formula"
        doi = f"https://doi.org/{model.citation}" if model.citation.startswith("10.") else model.citation
        row = {"name": name, "role": "predictor", "inputs": needs, "speed": model.speed}
        rows.append({**row, "summary": model.summary, "citation": doi})
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print(f"{row['name']:<14} {row['inputs']:<10} {row['speed']:>9}  {row['summary']}\n{'':<37}{row['citation']}")
    print("\nspeed: materials a second of one CPU core, features or graphs included (docs/models.md)")
    return 0


def _train(arguments: Any) -> int:
    from models.errors import ModelError
    from models.predictors.training import Order, train

    order = Order(
        model=arguments.model, data=arguments.data, targets=tuple(arguments.target.split(",")), out=arguments.out,
        split=arguments.split, test=arguments.test, where=tuple(arguments.where), uses=tuple(arguments.use),
        crude=arguments.crude, members=arguments.members, epochs=arguments.epochs, seed=arguments.seed,
        budget_s=None if arguments.budget_minutes is None else 60.0 * arguments.budget_minutes,
        device=arguments.device, dtype=arguments.dtype, start=arguments.start,
    )  # fmt: skip
    _check_device(arguments.device)
    try:
        metrics = train(order) if arguments.quiet or not sys.stderr.isatty() else _with_bar(order)
    except ModelError as error:
        raise CampaignError(str(error)) from error
    test = metrics["test"]
    print(
        f"{arguments.model}, {metrics['target']}: MAE {test['mae']:.4g}, RMSE {test['rmse']:.4g}, "
        f"{100 * test['coverage90']:.0f} % inside the 90 % interval, {test['n']} test rows "
        f"(always the median: {test['mae_of_the_median']:.4g}). {arguments.out}/card.md"
    )
    return 0


def _with_bar(order: Any) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from models.predictors.training import train

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        return train(order, lambda words, share: bar.update(task, description=words, completed=share))


def _check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CampaignError(f"no device {device!r} here ({str(error).splitlines()[0]}); use --device cpu") from error


def _predict(arguments: Any) -> int:
    import csv

    from models.blocks.materials import read_materials
    from models.errors import ModelError
    from models.predictors.members import Ensemble

    if str(arguments.dir) == "synthnn" and not arguments.dir.is_dir():
        return _predict_synthesizable(arguments)
    try:
        ensemble = Ensemble.load(arguments.dir)
        materials = read_materials(arguments.file)
        mean, std, flags = ensemble.predict(materials)
    except ModelError as error:
        raise CampaignError(str(error)) from error
    heads = [f"{name}_{kind}" for name in ensemble.quantities for kind in ("mean", "std")]
    if len(ensemble.quantities) == 1:
        heads = ["mean", "std"]
    with arguments.out.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["row", "formula", *heads, "flag"])
        for i, formula in enumerate(materials.formulas):
            pairs = [x for k in range(mean.shape[1]) for x in (mean[i, k], std[i, k])]
            table.writerow([i, formula, *("" if x != x else f"{x:.8g}" for x in pairs), flags[i]])
    flagged = sum(bool(flag) for flag in flags)
    print(f"{arguments.out}: {len(flags)} rows of {', '.join(ensemble.quantities)}, {flagged} flagged")
    return 0


def _predict_synthesizable(arguments: Any) -> int:
    import csv

    from models.blocks.materials import read_materials
    from models.errors import ModelError
    from models.predictors.synthnn import SynthNN

    try:
        formulas = read_materials(arguments.file).formulas
        probability, flags = SynthNN.load().predict(formulas)
    except ModelError as error:
        raise CampaignError(str(error)) from error
    with arguments.out.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["row", "formula", "probability", "flag"])
        for i, (formula, p, flag) in enumerate(zip(formulas, probability, flags, strict=True)):
            table.writerow([i, formula, "" if p != p else f"{p:.6g}", flag])
    unread = int((probability != probability).sum())
    print(f"{arguments.out}: probability that it can be made, {len(formulas)} formulas, {unread} could not be read")
    return 0
