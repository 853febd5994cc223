"""The report of a run: one page that needs nothing else, a table and the crystals."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from controller import report_plots as plots
from controller.errors import StorageError
from controller.journal import Journal
from controller.report_baseline import Baseline, baseline_of
from controller.report_data import Row, RunData, collect
from controller.report_names import amount, belief, formula, pretty, prototype, quantity, words_and_unit
from controller.report_structures import cif, drawing, file_name, reflections
from controller.report_table import results_csv
from controller.report_words import headline, methods, recipe_of, seek, why
from controller.rundir import RunDirectory
from controller.view_progress import duration, label
from instruments.files import write_whole
from instruments.simulated.pattern import WAVELENGTH_A
from models.acquisition.hypervolume import hypervolume

TOP = 10
MOST_FAILURES = 100
_PACKAGES = ("torch", "botorch", "gpytorch", "ray", "pymatgen", "chgnet", "numpy", "pydantic", "pyzmq")


def write_report(directory: RunDirectory, out: Path, *, baseline: Path | None = None) -> Path:
    """Write ``report.html``, ``results.csv`` and ``cif/`` from the journal, at any moment of a run.

    Args:
        directory: the run.
        out: folder to write into; made where it is missing, files of an earlier report are replaced.
        baseline: directory of a run of the same space and objectives that chose at random, to compare with.

    Returns:
        The path of ``report.html``.

    Raises:
        RunStateError: no run here, or the baseline is another kind of campaign.
        StorageError: the journal cannot be read or ``out`` cannot be written.
    """
    run = collect(directory)
    compared = baseline_of(run, baseline)
    page = _page(run, compared, directory)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "results.csv", results_csv(run), durable=False)
        _write_crystals(run, out / "cif")
        write_whole(out / "report.html", page, durable=False)
    except OSError as error:
        raise StorageError(f"{error.filename or out}: {error.strerror}. Give a writable folder with --out.") from error
    return out / "report.html"


def _page(run: RunData, compared: Baseline, directory: RunDirectory) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pretty": pretty, "formula": formula, "prototype": prototype}
    environment.filters |= {"num": amount, "belief": belief, "quantity": quantity}
    campaign = run.campaign
    several = len(campaign.objectives) > 1
    beliefs = [o.name for o in campaign.objectives if o.source != "computed"] + [c.name for c in campaign.constraints]
    return environment.get_template("report.html.j2").render(
        run=run,
        campaign=campaign,
        headline=headline(run, compared),
        seek=seek(campaign),
        tiles=_tiles(run),
        compared=compared,
        discovery=plots.discovery(run, compared) if run.finished else "",
        volume=plots.volume(run, compared) if run.finished and several else "",
        pareto=plots.pareto(run, *campaign.objectives[:2]) if several and run.ranking else "",
        parity=[p for name in dict.fromkeys(beliefs) if (p := plots.parity(run, name)) is not None],
        methods=methods(run),
        gantt=plots.gantt(run),
        costs=plots.costs(run),
        instruments=_instruments(run),
        cards=[_card(row, run) for row in run.ranking[:TOP]],
        pattern=_pattern(run, directory),
        repeated=repetitions(run),
        failures=[row for row in run.finished if not row.feasible],
        most_failures=MOST_FAILURES,
        provenance=_provenance(run),
        simulated=any(i.driver.startswith("simulated.") for i in run.state.instruments.values()),
        label=label,
    )


def repetitions(run: RunData) -> list[dict[str, Any]]:
    """Every objective of every candidate that was measured more than once (at one fidelity), in the order of choice.

    Keys: ``candidate``, ``experiments`` (ids), ``name``, ``values``, ``mean``, ``std`` (of one measurement).
    """
    groups: dict[str, list[Row]] = {}
    for row in run.finished:
        groups.setdefault(row.experiment.candidate.id, []).append(row)
    found = []
    for rows in groups.values():
        for objective in run.campaign.objectives:
            told = [row for row in rows if row.feasible and objective.name in row.values]
            if len(told) < 2 or objective.source == "computed":
                continue
            values = [row.values[objective.name] for row in told]
            one = {"candidate": told[0].experiment.candidate, "experiments": [row.experiment.id for row in told]}
            spread = {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}
            found.append({**one, "name": objective.name, "values": values, **spread})
    return found


def _tiles(run: RunData) -> list[tuple[str, str]]:
    """The numbers at the top of the page: (number, what it is)."""
    counts = {name: sum(row.experiment.outcome == name for row in run.finished) for name in plots.OUTCOME_WORDS}
    first = run.campaign.objectives[0]
    words, unit = words_and_unit(first.name)
    tiles = [(f"{amount(run.ranking[0].values[first.name])} {unit}", f"best {words}")] if run.ranking else []
    tiles.append((f"{len(run.finished)} of {run.campaign.budget.experiments}", "experiments finished"))
    tiles.append((str(sum(row.feasible for row in run.finished)), "count as results"))
    syntheses, measurements = counts["failed_synthesis"], counts["failed_measurement"]
    tiles.append((str(syntheses + measurements), f"failed ({syntheses} synthesis, {measurements} measurement)"))
    clock = " (simulated)" if run.campaign.lab.clock == "simulated" else ""
    tiles.append((duration(run.state.now_s), f"lab time{clock}"))
    tiles.append((duration(run.wall_s), "wall time"))
    return tiles


def _instruments(run: RunData) -> list[dict[str, Any]]:
    """What each instrument did over the campaign."""
    found = []
    for name, instrument in sorted(run.state.instruments.items()):
        steps = [record for row in run.rows for record in row.experiment.records if record.instrument == name]
        busy = sum(record.finish_s - record.start_s for record in steps)
        found.append(
            {
                "name": name,
                "driver": instrument.driver,
                "steps": len(steps),
                "hours": busy / 3600,
                "idle": 1 - busy / run.state.now_s if run.state.now_s > 0 else None,
                "again": sum(record.verdict in ("measure_again", "fault") for record in steps),
                "retired": instrument.retired,
            }
        )
    return found


def _card(row: Row, run: RunData) -> dict[str, Any]:
    """One of the best, with its picture, its recipe and the reason for its choice."""
    candidate = row.experiment.candidate
    shown = [o.name for o in run.campaign.objectives] + [c.name for c in run.campaign.constraints]
    beliefs = row.experiment.choice.predicted
    return {
        "row": row,
        "candidate": candidate,
        "front": row in run.front,
        "drawing": drawing(row),
        "cif": file_name(row) if candidate.crystal else "",
        "values": [(name, row.values[name], beliefs.get(name)) for name in dict.fromkeys(shown) if name in row.values],
        "others": {name: value for name, value in sorted(row.values.items()) if name not in shown},
        "why": why(row.experiment, run.campaign),
        "recipe": recipe_of(row.experiment),
    }


def _pattern(run: RunData, directory: RunDirectory) -> dict[str, str] | None:
    """The diffraction pattern of the best result that has one."""
    for row in run.ranking[:TOP]:
        for record in row.experiment.records:
            digests = [record.arrays.get(name) for name in ("two_theta_deg", "counts")]
            if record.verdict != "accepted" or None in digests or row.experiment.recipe is None:
                continue
            journal = Journal(directory.journal, readonly=True)
            try:
                x, y = (np.frombuffer(data, dtype=kind) for data, kind, _ in (journal.blob(str(d)) for d in digests))
            except (KeyError, ValueError, TypeError):
                continue
            finally:
                journal.close()
            if len(x) < 2 or len(x) != len(y):
                continue
            given = row.experiment.recipe.steps[record.step].parameters
            wavelength_A = WAVELENGTH_A.get(str(given.get("wavelength", "CuKa")))
            lines = reflections(row, wavelength_A, float(x[-1])) if wavelength_A else []
            drawn = plots.pattern(x.astype(float), y.astype(float), lines, "2θ (°)", "counts")
            return {"name": label(row.experiment.candidate), "svg": drawn}
    return None


def _provenance(run: RunData) -> list[tuple[str, str]]:
    started = run.state.started
    if started is None:
        return []
    facts = [
        ("run", started.run_id),
        ("seed", str(run.campaign.seed)),
        ("journal", run.integrity),
        ("made with", f"athanor {started.version}"),
        ("this page", ", ".join([f"Python {platform.python_version()}", *_versions()])),
        ("data", "; ".join(f"{name} sha256:{digest}" for name, digest in started.data_hashes.items()) or "none"),
    ]
    if run.state.finished:
        facts.append(("ended by", f"the rule {run.state.rule}: {run.state.finished}"))
    if run.state.choose_seconds:
        seconds = np.array(run.state.choose_seconds)
        told = f"{len(seconds)} decisions, median {np.median(seconds):.2f} s, longest {seconds.max():.2f} s"
        facts.append(("choosing", told))
    if run.curves.volume is not None:
        front = np.array([[row.values[o.name] for o in run.campaign.objectives] for row in run.front])
        signs = [o.sign for o in run.campaign.objectives]
        size = hypervolume(front, run.curves.reference, signs) if len(front) else 0.0
        reference = ", ".join(map(amount, run.curves.reference))
        facts.append(("hypervolume", f"{size:.6g}, from the reference point ({reference})"))
    return facts


def _versions() -> list[str]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _write_crystals(run: RunData, folder: Path) -> None:
    rows = [row for row in run.ranking if row.experiment.candidate.crystal is not None]
    if folder.is_dir():
        for old in folder.glob("E*.cif"):
            old.unlink()
    if rows:
        folder.mkdir(exist_ok=True)
    for row in rows:
        write_whole(folder / file_name(row), cif(row), durable=False)
