"""What a trained model says of itself: a card in words, a parity plot, a learning curve, its test predictions."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.blocks.fitting import History
from models.blocks.materials import Materials
from models.predictors.members import Ensemble

if TYPE_CHECKING:
    from models.predictors.training import Judged

_LEVELS = ((50, 0.6745), (68, 0.9945), (80, 1.2816), (90, 1.6449), (95, 1.96))


def write_card(
    out: Path, metrics: dict[str, Any], ensemble: Ensemble, judged: Judged, histories: list[History],
    materials: Materials, y: np.ndarray,
) -> None:  # fmt: skip
    """Write ``card.md``, ``parity.png``, ``learning_curve.png`` and ``test_predictions.csv`` into a folder."""
    from models.predictors.training import symbols_of

    test, left_out = metrics["test"], metrics["validation"]
    known = ~np.isnan(judged.truth[:, 0]) & ~np.isnan(judged.mean[:, 0])
    truth, mean, std = judged.truth[known, 0], judged.mean[known, 0], judged.std[known, 0]
    inside = [f"{level} %: {100 * np.mean(np.abs(truth - mean) <= width * std):.1f} %" for level, width in _LEVELS]
    sizes = [len(c.numbers) for c in materials.cells if c is not None]
    low, high = np.nanmin(y[:, 0]), np.nanmax(y[:, 0])
    lines = [
        f"# {metrics['model']}: {metrics['target']}",
        "",
        f"{ensemble.members[0].summary[0].upper()}{ensemble.members[0].summary[1:]}. "
        f"Paper: {_paper(ensemble.members[0].citation)}. Version `{metrics['version']}`.",
        "",
        "| | test | left-out training rows |",
        "|---|---|---|",
        f"| rows | {test['n']} | {left_out['n']} |",
        f"| MAE | {test['mae']:.4g} | {left_out['mae']:.4g} |",
        f"| RMSE | {test['rmse']:.4g} | {left_out['rmse']:.4g} |",
        f"| MAE of always saying the median | {test['mae_of_the_median']:.4g} | {left_out['mae_of_the_median']:.4g} |",
        f"| inside the 90 % interval | {100 * test['coverage90']:.1f} % | {100 * left_out['coverage90']:.1f} % |",
        "",
        "Left-out rows are predicted by single members, and they set the intervals, so that their coverage is no test. "
        + ("In the end all members learned from all training rows." if ensemble.members[0].again else ""),
        "",
        f"- **Split:** {metrics['split']}. Rows of equal composition are never on two sides of a split made here.",
        f"- **Data:** SHA-256 `{metrics['data_sha256']}`; {metrics['n_train']} training rows, seed {metrics['seed']}.",
        f"- **Left out:** {_dropped(metrics['dropped'])}; {test['not_judged']} test rows could not be judged.",
        f"- **Calibration on the test rows:** {', '.join(inside)} of them lie inside the interval of that name.",
        f"- **Domain:** the training rows have {len(ensemble.elements)} elements "
        f"({' '.join(symbols_of(ensemble.elements))}) and targets from {low:.4g} to {high:.4g}"
        + (f", cells of {min(sizes)} to {max(sizes)} atoms. " if sizes and ensemble.structure else ". ")
        + "Another element is flagged by `athanor predict`; elsewhere outside, the interval is a guess.",
        f"- **Training:** {metrics['members']} members, {metrics['train_seconds']:.0f} s on {metrics['device']}, "
        f"kept epochs {', '.join(str(h.best_epoch) for h in histories)}.",
        "",
        "![parity](parity.png) ![learning curve](learning_curve.png)",
    ]
    (out / "card.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (out / "test_predictions.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["formula", "truth", "mean", "std"])
        table.writerows(
            [formula, *(f"{x:.6g}" for x in row)]
            for formula, *row in zip(
                judged.formulas, judged.truth[:, 0], judged.mean[:, 0], judged.std[:, 0], strict=True
            )
        )
    _plots(out, metrics["target"], truth, mean, std, histories)


def _paper(citation: str) -> str:
    return f"https://doi.org/{citation}" if citation.startswith("10.") else citation


def _dropped(reasons: dict[str, int]) -> str:
    return "; ".join(f"{count} rows ({reason})" for reason, count in reasons.items()) or "no rows"


def _plots(
    out: Path, target: str, truth: np.ndarray, mean: np.ndarray, std: np.ndarray, histories: list[History]
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    some = np.random.default_rng(0).permutation(len(truth))[:2000]
    axes.errorbar(truth[some], mean[some], yerr=1.645 * std[some], fmt=".", ms=3, lw=0.4, alpha=0.5)
    ends = [float(min(truth.min(), mean.min())), float(max(truth.max(), mean.max()))]
    axes.plot(ends, ends, "k-", lw=0.8)
    axes.set(xlabel=f"true {target}", ylabel="predicted, 90 % interval")
    figure.savefig(out / "parity.png", dpi=110)

    figure = Figure(figsize=(4.5, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for k, history in enumerate(histories):
        epochs, _, errors = np.array(history.rows, dtype=float).T
        axes.plot(epochs, errors, ".-" if len(epochs) == 1 else "-", lw=0.9, label=f"member {k + 1}")
    axes.set(xlabel="epoch", ylabel="validation MAE", yscale="log")
    if len(histories) <= 8:
        axes.legend(fontsize=7)
    figure.savefig(out / "learning_curve.png", dpi=110)
