"""From a table to a trained, calibrated, judged ensemble in a folder: what ``athanor train`` does."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.blocks import checkpoint
from models.blocks.calibration import coverage
from models.blocks.composition import element_numbers
from models.blocks.fitting import History, Run
from models.blocks.materials import Materials, file_digest, read_materials
from models.errors import DataError
from models.predictors.crude import build_model
from models.predictors.members import FILE, Ensemble, sift
from models.predictors.splits import Split, folds, make_split

METRICS, PLAN, CARD, PARTS = "metrics.json", "plan.json", "card.md", "parts"
_FEWEST = 20
_MOST_ROWS, _MEMBER_S = 60_000, 40.0  # of a model without epochs: rows of all members together; least time of each


@dataclass(frozen=True)
class Order:
    """What to train, as the user said it.

    Attributes:
        model: name of the system.
        data: the table.
        targets: columns to learn, the first one is reported first.
        split, test, where, uses, crude: columns and files; see ``docs/models.md``.
        members: of the ensemble.
        epochs: instead of the system's.
        budget_s: for all training.
        start: folder of a trained ensemble whose weights to go on from.
    """

    model: str
    data: Path
    targets: tuple[str, ...]
    out: Path
    split: str | None = None
    test: Path | None = None
    where: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    crude: str = ""
    members: int = 5
    epochs: int | None = None
    budget_s: float | None = None
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0
    start: Path | None = None


Report = Callable[[str, float], None]
"""Told of what is done now, and the share of the whole, 0..1."""


def train(order: Order, report: Report | None = None) -> dict[str, Any]:
    """Train, calibrate, judge, and write ``model.npz``, ``metrics.json``, ``card.md``, plots and test predictions.

    A folder whose training was killed goes on where it was, with the same order.

    Returns:
        The metrics.

    Raises:
        DataError: the table, its columns or the folder cannot be used; the message says what to do.
    """
    began = time.monotonic()
    plan = _plan(order)
    tested = _test_table(order)  # looked over first: its faults must not cost a training
    materials = read_materials(order.data, where=order.where)
    probe = build_model(order.model, targets=len(order.targets), uses=order.uses, crude=order.crude)
    uses = order.uses or tuple(
        name for name in probe.columns if name in materials.columns and name not in order.targets
    )
    settings = {"targets": len(order.targets), "uses": uses, "crude": order.crude}
    y = np.stack([materials.numbers_of(name) for name in order.targets], axis=1)
    flags = sift(materials, structure=probe.structure)
    rows = np.flatnonzero(np.array([not flag for flag in flags]) & ~np.isnan(y).all(axis=1))
    if len(rows) < _FEWEST:
        why = next((flag for flag in flags if flag), "the target has no numbers")
        raise DataError(f"only {len(rows)} rows of {order.data} can be used, {_FEWEST} are needed; e.g. {why}")
    dropped = _count([flag or "no target" for i, flag in enumerate(flags) if i not in set(rows.tolist())])
    materials, y = materials.take(rows), y[rows]
    everything = np.arange(len(materials))
    split = make_split(materials, everything, order.split, own_test=order.test is not None, seed=order.seed)
    order.out.mkdir(parents=True, exist_ok=True)
    _write_json(order.out / PLAN, plan)
    trainer = _Trainer(order, settings, materials, y, report or (lambda _words, _share: None), began)
    if split.outer:
        ensemble, judged = trainer.cross_validate(split)
    else:
        ensemble = trainer.ensemble(split.train, "", 0.0, 1.0)
        judged = trainer.judge(ensemble, split.test)
    trained_s = time.monotonic() - began
    if tested is not None:
        mean, std, _ = ensemble.predict(tested[0])
        judged = Judged(tested[0].formulas, tested[1], mean, std)
    metrics = {
        "model": order.model,
        "target": order.targets[0],
        "test": _scores(judged, 0),
        "validation": trainer.left_out,
        "train_seconds": round(trained_s, 3),
        "n_train": len(split.train),
        "members": len(ensemble.members),
        "seed": order.seed,
        "device": order.device,
        "data_sha256": file_digest(order.data),
        "split": split.words,
        "dropped": dropped,
    }
    if len(order.targets) > 1:
        metrics["targets"] = {name: _scores(judged, k) for k, name in enumerate(order.targets)}
    ensemble.about = {key: metrics[key] for key in ("target", "test", "data_sha256", "split", "seed", "n_train")}
    ensemble.save(order.out / FILE)
    metrics["version"] = ensemble.version
    from models.predictors.card import write_card

    write_card(order.out, metrics, ensemble, judged, trainer.histories, materials, y)
    _write_json(order.out / METRICS, metrics)
    shutil.rmtree(order.out / PARTS, ignore_errors=True)
    return metrics


@dataclass
class Judged:
    """Rows that no member saw: their formulas, truths, means and standard deviations, (n, t) each."""

    formulas: list[str]
    truth: np.ndarray
    mean: np.ndarray
    std: np.ndarray


class _Trainer:
    """Trains the members of ensembles, one after the other, within the budget."""

    def __init__(
        self, order: Order, settings: dict[str, Any], materials: Materials, y: np.ndarray, report: Report, began: float
    ) -> None:
        self.order, self.settings, self.materials, self.y = order, settings, materials, y
        self.report, self.began = report, began
        self.histories: list[History] = []
        self.left_out: dict[str, float] = {}
        report("preparing", 0.0)
        self.inputs = self.model(0).prepare(materials)
        self.start = Ensemble.load(order.start) if order.start else None

    def model(self, seed: int) -> Any:
        return build_model(self.order.model, seed=seed, **self.settings)

    def ensemble(self, rows: np.ndarray, label: str, low: float, high: float) -> Ensemble:
        """Members that each leave out a fold of ``rows``, calibrated on those; then what can learns from all."""
        order, again = self.order, self.model(0).again
        count = self._affordable(rows, high - low)
        middle = high - again * (high - low)
        left = folds(self.materials, rows, max(count, 2) if count > 1 else 8, order.seed)[:count]
        made = Ensemble(order.model, self.settings, order.targets)
        truth, mean, std = [], [], []
        for k, choose in enumerate(left):
            begin, end = (low + (middle - low) * x / count for x in (k, k + 1))
            words = f"{label}member {k + 1} of {count}"
            member = self._member(k, np.setdiff1d(rows, choose), choose, words, begin, end)
            made.members.append(member)
            truth.append(self.y[choose])
            one, spread = member.predict(member.select(self.inputs, choose))
            mean.append(one)
            std.append(spread)
        truths, means, stds = np.concatenate(truth), np.concatenate(mean), np.concatenate(std)
        made.calibrate(truths, means, stds)
        self.left_out = _scores(Judged([], truths, means, stds * made.factor), 0)
        for k, member in enumerate(made.members if again else ()):
            begin, end = (middle + (high - middle) * x / count for x in (k, k + 1))
            self._whole(member, rows, f"{label}member {k + 1} of {count}, all rows", begin, end)
        seen = self.materials.take(rows).compositions
        made.elements = tuple(np.unique(seen.numbers[seen.fractions > 0]).tolist())
        return made

    def cross_validate(self, split: Split) -> tuple[Ensemble, Judged]:
        """Each official fold judged by an ensemble that saw the others; all members together are what is kept."""
        parts, kept, factors = [], [], []
        for k, test in enumerate(split.outer):
            low, high = k / len(split.outer), (k + 1) / len(split.outer)
            rest = np.setdiff1d(split.train, test)
            one = self.ensemble(rest, f"fold {k + 1} of {len(split.outer)}, ", low, high)
            parts.append(self.judge(one, test))
            kept += one.members
            factors.append(one.factor)
        whole = Ensemble(self.order.model, self.settings, self.order.targets, kept, np.mean(factors, axis=0))
        seen = self.materials.compositions
        whole.elements = tuple(np.unique(seen.numbers[seen.fractions > 0]).tolist())
        formulas = [formula for part in parts for formula in part.formulas]
        joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("truth", "mean", "std"))
        return whole, Judged(formulas, *joined)

    def judge(self, ensemble: Ensemble, rows: np.ndarray) -> Judged:
        """Predictions of rows of the table."""
        mean, std = ensemble.predict_inputs(ensemble.members[0].select(self.inputs, rows))
        return Judged([self.materials.formulas[i] for i in rows], self.y[rows], mean, std)

    def _affordable(self, train: np.ndarray, share: float) -> int:
        """How many members the budget lets have half their epochs; all of them where there is no budget.

        Of what has no epochs, fewer where rows are many or time is short: few that have all their trees are better.
        """
        order, model = self.order, self.model(0)
        schedule = model.schedule
        if schedule is None:
            most = _MOST_ROWS // len(train)
            if order.budget_s is not None:
                most = min(most, int(self._left_s() * share / _MEMBER_S))
            return int(np.clip(most, 1, order.members))
        if order.budget_s is None or order.members < 2:
            return order.members
        run = Run(device=order.device, dtype=order.dtype, epochs=order.epochs)
        wanted = 0.5 * model.needs_s(self.inputs, self.y, train, run)
        return int(np.clip(self._left_s() * share / max(wanted, 1e-6), 1, order.members))

    def _left_s(self) -> float:
        assert self.order.budget_s is not None
        return max(1.0, 0.95 * self.order.budget_s - (time.monotonic() - self.began))

    def _member(self, k: int, teach: np.ndarray, choose: np.ndarray, words: str, low: float, high: float) -> Any:
        order = self.order
        finished = self._kept(words)
        unfinished = finished.with_suffix(".resume")
        model = self.model(order.seed * 1000 + k)
        if finished.exists():
            arrays, header = checkpoint.load(finished)
            model.restore(arrays)
            self.histories.append(History([tuple(row) for row in header["rows"]], header["best"]))
            return model
        warm = self.start is not None
        if self.start is not None:
            model.restore(self.start.members[k % len(self.start.members)].arrays())
        budget = self._budget_s(low, high)

        def tell(epoch: int, progress: float, _loss: float, error: float) -> None:
            self.report(f"{words}, epoch {epoch}, MAE {error:.4g}", low + (high - low) * progress)

        run = Run(order.device, order.dtype, budget, order.epochs, unfinished, tell, warm)
        self.report(words, low)
        history = model.fit(self.inputs, self.y, teach, choose, run)
        self.histories.append(history)
        checkpoint.save(finished, model.arrays(), {"rows": history.rows, "best": history.best_epoch})
        unfinished.unlink(missing_ok=True)
        return model

    def _whole(self, member: Any, rows: np.ndarray, words: str, low: float, high: float) -> None:
        """Let a member learn from all rows, unless it had before a kill."""
        finished = self._kept(words)
        if finished.exists():
            member.restore(checkpoint.load(finished)[0])
            return
        self.report(words, low)
        order, unfinished = self.order, finished.with_suffix(".resume")
        budget_s, warm = self._budget_s(low, high), self.start is not None
        run = Run(order.device, order.dtype, budget_s, order.epochs, unfinished, warm=warm)
        member.fit_all(self.inputs, self.y, rows, run)
        checkpoint.save(finished, member.arrays(), {})
        unfinished.unlink(missing_ok=True)

    def _kept(self, words: str) -> Path:
        """Where what ``words`` name is kept until all is done."""
        return self.order.out / PARTS / f"{words.replace(' ', '-').replace(',', '')}.npz"

    def _budget_s(self, low: float, high: float) -> float | None:
        """Seconds for what is done between two shares of the whole; None where there is no budget."""
        return None if self.order.budget_s is None else self._left_s() * (high - low) / max(1.0 - low, 1e-9)


def _test_table(order: Order) -> tuple[Materials, np.ndarray] | None:
    """The test file's rows and targets (n, t); ``where`` applies as far as it has the columns."""
    if order.test is None:
        return None
    materials = read_materials(order.test)
    for column, _, value in (condition.partition("=") for condition in order.where):
        if column in materials.columns:
            materials = materials.take(np.flatnonzero([str(x) == value for x in materials.columns[column]]))
    truth = np.stack([materials.numbers_of(name) for name in order.targets], axis=1)
    if np.isnan(truth[:, 0]).all():
        raise DataError(f"{order.test} has no row with a number in {order.targets[0]!r} to judge by")
    return materials, truth


def _scores(judged: Judged, k: int) -> dict[str, float]:
    """MAE, RMSE, coverage of the 90 % interval, n; rows without a truth or a prediction are counted apart."""
    truth, mean, std = judged.truth[:, k], judged.mean[:, k], judged.std[:, k]
    asked = ~np.isnan(truth)
    known = asked & ~np.isnan(mean)
    if not known.any():
        raise DataError("no test row has a target and a prediction; check the test file's columns")
    error = mean[known] - truth[known]
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "coverage90": coverage(truth[known], mean[known], std[known]),
        "n": int(known.sum()),
        "not_judged": int(asked.sum() - known.sum()),
        "mae_of_the_median": float(np.abs(truth[known] - np.median(truth[known])).mean()),
    }


def _plan(order: Order) -> dict[str, Any]:
    """What the folder must have been begun for, to go on in it. Raises DataError where it holds something else."""
    if (order.out / METRICS).exists():
        raise DataError(f"{order.out} holds a trained model already; give another --out, or delete it")
    plan = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(order).items() if k != "out"}
    plan = json.loads(json.dumps({**plan, "data_sha256": file_digest(order.data) if order.data.exists() else ""}))
    file = order.out / PLAN
    if file.exists() and (old := json.loads(file.read_text())) != plan:
        changed = ", ".join(sorted(k for k in plan if old.get(k) != plan[k]))
        raise DataError(f"{order.out} is of another training ({changed} differ); give another --out, or delete it")
    return plan


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)


def _count(reasons: Sequence[str]) -> dict[str, int]:
    """Reason -> how many rows; numbers in the reasons are taken out, so that alike ones go together."""
    import re

    out: dict[str, int] = {}
    for reason in reasons:
        words = re.sub(r"[\d.]+", "#", re.sub(r"'[^']*'", "a formula", reason)).partition(": ")[0][:100]
        out[words] = out.get(words, 0) + 1
    return out


def symbols_of(numbers: Sequence[int]) -> list[str]:
    """Symbols of atomic numbers."""
    known = {number: symbol for symbol, number in element_numbers().items()}
    return [known[number] for number in numbers]
