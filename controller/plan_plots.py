"""The reaction diagram of ``athanor plan --why``: all reactions, the energies of the best, what competes with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.synthesis.landscape import Landscape
from models.synthesis.precursor_list import spelled

_RIVALS = 12
_COLOURS = ("#1f5a8a", "#c0562f", "#3f7f4f", "#8a5aa0", "#b08a1f")


def write_diagram(found: Landscape, rows: Sequence[int], file: Path) -> Path:
    """Write the diagram (PNG, SVG or PDF by the name): barrier against competition, and levels of the best reactions.

    Args:
        found: every reaction.
        rows: those to name, best first; up to five.
        file: where to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.15))
    _scatter(left, found, rows[:5])
    _levels(right, found, rows[:5])
    figure.suptitle(f"{found.formula} at {found.temperature_C:.0f} C in {found.atmosphere}", fontsize=12)
    figure.savefig(file, dpi=130)
    return file


def _scatter(axes, found: Landscape, rows: Sequence[int]) -> None:
    driven = np.isfinite(found.barrier_eV)
    x, y = found.competition.expected, found.barrier_eV
    axes.scatter(x[driven], y[driven], s=14, color="#b8b8b8", label=f"{int(driven.sum())} reactions that are driven")
    front = np.flatnonzero(found.front)
    front = front[np.argsort(x[front])]
    axes.plot(x[front], y[front], "o", mfc="none", mec="#222222", ms=11, ls="none", label="Pareto front", zorder=5)
    for n, row in enumerate(rows):
        if driven[row]:
            names = " + ".join(spelled(p.phase.formula) for p in found.set_of(row))
            axes.plot(x[row], y[row], "o", color=_COLOURS[n], ms=7, label=f"{n + 1}. {names}")
    axes.set_yscale("log")
    axes.set_xlabel("competing phases expected")
    axes.set_ylabel("nucleation barrier (eV)")
    axes.legend(fontsize=8, loc="best", framealpha=0.9)


def _levels(axes, found: Landscape, rows: Sequence[int]) -> None:
    for n, row in enumerate(rows):
        own = float(found.energy_eV_per_atom[row])
        energies = found.competition.energies_eV_per_atom[row]
        order = [int(i) for i in np.argsort(np.nan_to_num(energies, nan=np.inf)) if energies[i] < 0][:_RIVALS]
        axes.hlines(own, n - 0.38, n + 0.02, color=_COLOURS[n], lw=3)
        axes.fill_between([n - 0.38, n + 0.02], own - found.std_eV_per_atom[row], own + found.std_eV_per_atom[row],
                          color=_COLOURS[n], alpha=0.2, lw=0)  # fmt: skip
        for i in order:
            axes.hlines(energies[i], n + 0.06, n + 0.2, color="#888888", lw=1.2)
        for i, at in zip(order[:4], _apart([energies[i] for i in order[:4]], _span(found, rows) / 28), strict=True):
            axes.annotate(
                spelled(found.competitors[i].formula), (n + 0.2, energies[i]), (n + 0.23, at),
                fontsize=7, va="center", color="#555555",
            )  # fmt: skip
    axes.axhline(0.0, color="#333333", lw=0.8)
    axes.set_xticks(range(len(rows)), [f"route {n + 1}" for n in range(len(rows))])
    axes.set_xlim(-0.6, len(rows) - 0.1)
    axes.set_ylabel("reaction energy (eV an atom of the product)")
    axes.set_title("target (colour, with its error) and competing phases (grey)", fontsize=9)


def _span(found: Landscape, rows: Sequence[int]) -> float:
    lowest = min(float(found.competition.strongest_eV_per_atom[row]) for row in rows)
    return max(0.05, -min(lowest, min(float(found.energy_eV_per_atom[row]) for row in rows)))


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Return heights from the lowest up, moved so that labels do not overlap."""
    out: list[float] = []
    for height in heights:
        out.append(height if not out else max(height, out[-1] + gap))
    return out
