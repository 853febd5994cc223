"""``results.csv``: every experiment of a run as one row."""

from __future__ import annotations

import csv
import io
from typing import Any

from controller.report_data import Row, RunData


def results_csv(run: RunData) -> str:
    """The table as text, in the order of choice.

    Columns: experiment, order, finished, candidate, formula, prototype, the process parameters, outcome, reason,
    feasible, pareto_front, every known quantity, ``predicted_<quantity>_mean`` and ``_std``, feasibility, method,
    acquisition_value, runner_up, note, start_h, finish_h, lab_hours and ``lab_hours_<instrument>``. A parameter with
    the name of another column is written as ``parameter_<name>``. Unknown is empty.
    """
    rows = [_cells(row, run) for row in run.rows]
    groups = ("head", "parameters", "outcome", "values", "beliefs", "choice", "cost")
    columns = [(group, name) for group in groups for name in dict.fromkeys(n for cells in rows for n in cells[group])]
    if not rows:
        columns = [("head", name) for name in ("experiment", "order", "candidate", "outcome")]
    names = [name for group, name in columns if group != "parameters"]
    heads = [f"parameter_{name}" if group == "parameters" and name in names else name for group, name in columns]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heads)
    for cells in rows:
        writer.writerow([_text(cells[group].get(name)) for group, name in columns])
    return buffer.getvalue()


def _cells(row: Row, run: RunData) -> dict[str, dict[str, Any]]:
    experiment, choice = row.experiment, row.experiment.choice
    candidate = choice.candidate
    return {
        "head": {
            "experiment": experiment.id,
            "order": row.order,
            "finished": row.finished,
            "candidate": candidate.id,
            "formula": candidate.formula,
            "prototype": candidate.prototype,
        },
        "parameters": dict(candidate.parameters),
        "outcome": {
            "outcome": experiment.outcome or "under way",
            "reason": experiment.reason,
            "feasible": row.feasible,
            "pareto_front": row in run.front,
        },
        "values": dict(row.values),
        "beliefs": {
            f"predicted_{name}_{part}": getattr(belief, part)
            for name, belief in choice.predicted.items()
            for part in ("mean", "std")
        },
        "choice": {
            "feasibility": choice.feasibility,
            "method": choice.method,
            "acquisition_value": choice.value,
            "runner_up": choice.runner_up[0] if choice.runner_up else None,
            "note": choice.note,
        },
        "cost": {
            "start_h": row.start_h,
            "finish_h": row.finish_h,
            "lab_hours": sum(row.hours.values()),
            **{f"lab_hours_{name}": hours for name, hours in row.hours.items()},
        },
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
