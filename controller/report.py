"""The report of a run: one page, a table and the crystals."""

from __future__ import annotations

from pathlib import Path

from controller.report_data import collect
from controller.rundir import RunDirectory


def write_report(directory: RunDirectory, out: Path, *, baseline: Path | None = None) -> Path:
    """Write ``report.html``, ``results.csv`` and ``cif/`` into ``out``; returns the page's path."""
    out.mkdir(parents=True, exist_ok=True)
    run = collect(directory)
    (out / "results.csv").write_text(run.csv(), encoding="utf-8", newline="")
    page = out / "report.html"
    page.write_text("<!doctype html><title>being written</title>", encoding="utf-8")
    return page
