"""Runs for tests of what the user sees: journals written event by event, without hosts, actors or models."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from actors.orders import Offer, Recipe, StageReport, Step
from controller import events as ev
from controller.journal import Journal
from controller.rundir import RunDirectory
from controller.state import State, evolve
from models.candidate import Candidate, Crystal
from models.observation import Choice, Prediction

HEUSLER = """
athanor: 1
name: made-heusler
description: Made for tests <b>&</b> "quotes"
budget: {{experiments: {budget}}}
space:
  kind: prototype
  prototypes:
    - {{name: L2_1, spacegroup: Fm-3m, a_A: 5.9, equivalent: [[Y, Z]],
       sites: {{X: [[0.25, 0.25, 0.25]], Y: [[0, 0, 0]], Z: [[0.5, 0.5, 0.5]]}}}}
  elements: {{"*": [Co, Fe, Mn, Ni, Al, Si, Ga]}}
objectives:
  - {{name: saturation_magnetization_T, direction: maximize, source: derived, reference: 0}}
  - {{name: hhi, direction: minimize, source: computed, reference: 6000}}
constraints: [{{name: phase_fraction, at_least: 0.5}}]
acquisition: {{name: {acquisition}}}
lab:
  clock: simulated
  instruments: {{furnace: {{driver: simulated.arc_furnace}}, diffractometer: {{driver: simulated.diffractometer}}}}
compute: {{backend: local}}
"""

TABLE = """
athanor: 1
name: made-table
budget: {{experiments: {budget}}}
space: {{kind: table, file: table.csv, parameters: [x, colour]}}
objectives: [{{name: strength_MPa}}]
lab:
  clock: simulated
  instruments: {{bench: {{driver: table}}}}
compute: {{backend: local}}
"""

Events = list[ev.Event]


class Scribe:
    """Writes the journal of a run that never happened, one experiment at a time."""

    def __init__(self, path: Path, text: str, *, budget: int, base_dir: Path | None = None) -> None:
        path.mkdir(parents=True)
        (path / "logs").mkdir()
        self.directory = RunDirectory(path)
        self.journal = Journal(self.directory.journal, create=True)
        self.state, self.now_s, self.decision = State(), 0.0, 0
        self.tell(
            ev.CampaignStarted(
                run_id="made", text=text, base_dir=str(base_dir or path), seed=7, budget=budget, version="0.0"
            ),
            ev.ControllerStarted(epoch=1, pid=11, host="here"),
        )

    def tell(self, *events: ev.Event) -> None:
        """Append events and make them durable."""
        self.journal.stage(events)
        self.journal.commit()
        for event in events:
            self.state = evolve(self.state, event)

    def announce(self, **instruments: str) -> None:
        """Instruments by name, with their drivers."""
        for name, driver in instruments.items():
            offer = Offer(capability=f"use_{name}", idempotent=name != "furnace")
            self.tell(ev.InstrumentAnnounced(instrument=name, driver=driver, offers=(offer,)))

    def choose(self, choice: Choice, recipe: Recipe) -> str:
        """Choose and plan one experiment; returns its id."""
        self.decision += 1
        name = f"E{len(self.state.experiments) + 1:04d}"
        n, pending = len(self.state.observations), tuple(self.state.active)
        stages = (
            StageReport(stage="generator", taken=105, passed=105),
            StageReport(stage="acquisition", taken=105, passed=1, seconds=0.5),
        )
        self.tell(
            ev.ChoiceOrdered(decision=self.decision, q=1, seed=1, n_observations=n, pending=pending),
            ev.ChoiceMade(decision=self.decision, choices=(choice,), stages=stages, seconds=0.5),
            ev.RecipePlanned(experiment=name, recipe=recipe),
        )
        return name

    def choose_again(self, name: str) -> str:
        """Choose the candidate of an earlier experiment once more."""
        known = self.state.experiments[name]
        assert known.recipe is not None
        return self.choose(known.choice, known.recipe)

    def order(self, name: str, instrument: str) -> ev.CommandOrdered:
        """Order the next step of an experiment."""
        step = self.state.experiments[name].step
        order = ev.CommandOrdered(
            command_id=f"made/{name}/{step}/0", experiment=name, step=step, round=1, attempt=0,
            instrument=instrument, start_s=self.now_s, seed=1,
        )  # fmt: skip
        self.tell(order)
        return order

    def report(
        self, order: ev.CommandOrdered, readings: dict[str, float], hours: float, arrays: Mapping[str, Sequence[float]]
    ) -> None:
        """The step ends well."""
        held = {k: self.journal.stage_blob(array("d", v).tobytes(), "<f8", (len(v),)) for k, v in arrays.items()}
        self.now_s += 3600 * hours
        self.tell(
            ev.CommandReported(
                command_id=order.command_id, status="ok", readings=readings, arrays=held, duration_s=3600 * hours
            ),
            ev.StepFinished(command_id=order.command_id, finish_s=self.now_s, verdict="accepted"),
        )

    def finish(self, name: str, outcome: str, values: dict[str, float], reason: str = "") -> None:
        """What the experiment taught."""
        self.tell(ev.ExperimentFinished(experiment=name, outcome=outcome, values=values, reason=reason))  # type: ignore[arg-type]

    def close(self, reason: str = "") -> RunDirectory:
        """End, with the campaign finished where a reason is given."""
        if reason:
            self.tell(ev.CampaignFinished(rule="budget", reason=reason, finish_s=self.now_s))
        self.journal.close()
        return self.directory


def alloy(x: str, y: str, z: str, a_A: float = 5.7, name: str = "") -> Candidate:
    """An L2_1 Heusler in its primitive cell."""
    h = a_A / 2
    crystal = Crystal(
        lattice_A=((0, h, h), (h, 0, h), (h, h, 0)),
        species=(x, x, y, z),
        frac_coords=((0.25, 0.25, 0.25), (0.75, 0.75, 0.75), (0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
    )
    return Candidate(
        id=name or f"L2_1-{x}2{y}{z}", composition={x: 2, y: 1, z: 1}, prototype=name or "L2_1",
        sites={"X": x, "Y": y, "Z": z}, crystal=crystal,
    )  # fmt: skip


ALLOYS = [
    (alloy(x, y, z), magnetization_T, hhi, pure)
    for (x, y, z), magnetization_T, hhi, pure in [
        (("Co", "Mn", "Si"), 1.10, 3100.0, 0.97), (("Fe", "Mn", "Al"), 1.60, 2000.0, 0.91),
        (("Ni", "Mn", "Ga"), 0.70, 3800.0, 0.88), (("Mn", "Co", "Ga"), 0.20, 3000.0, 0.31),
        (("Fe", "Co", "Si"), 1.85, 2600.0, 0.95), (("Ni", "Fe", "Al"), 0.90, 1500.0, 0.93),
    ]
]  # fmt: skip


def heusler(path: Path, *, results: int = 6, budget: int = 6, acquisition: str = "pareto", hostile: str = "") -> Scribe:
    """A prototype space: two objectives, a constraint, patterns, a failed synthesis; ``hostile`` renames the second."""
    scribe = Scribe(path, HEUSLER.format(budget=budget, acquisition=acquisition), budget=budget)
    scribe.announce(furnace="simulated.arc_furnace", diffractometer="simulated.diffractometer")
    for i, (candidate, magnetization_T, hhi, pure) in enumerate(ALLOYS[:results]):
        if hostile and i == 1:
            candidate = alloy("Fe", "Mn", "Al", name=hostile)
        method = "random" if acquisition == "random" else ("initial-design" if i < 3 else "qLogNEHVI")
        beliefs = {
            "saturation_magnetization_T": Prediction(mean=magnetization_T + 0.1, std=0.2),
            "phase_fraction": Prediction(mean=0.8, std=0.1),
            "hhi": Prediction(mean=hhi, std=0.0),
        }
        choice = Choice(
            candidate=candidate, value=-1.5, method=method, predicted={} if method == "random" else beliefs,
            feasibility=0.9, runner_up=("L2_1-Fe2MnSi", -1.75), note=hostile and f"note {hostile}",
        )  # fmt: skip
        melt, scan = {"melt_temperature_C": 1700, "melts": 4}, {"wavelength": "CuKa"}
        steps = (
            Step(capability="use_furnace", parameters=melt, quantities=("sample_mass_g",)),
            Step(capability="use_diffractometer", parameters=scan, quantities=("phase_fraction",), idempotent=True),
        )
        recipe = Recipe(steps=steps, precursors_g={"Fe": 2.5, "Mn": 1.25}, reason=f"because {hostile}")
        name = scribe.choose(choice, recipe)
        scribe.report(scribe.order(name, "furnace"), {"sample_mass_g": 4.9}, 12.0, {})
        readings = {"phase_fraction": pure, "cell_volume_A3_per_atom": 11.5}
        pattern = {"two_theta_deg": [20 + 0.1 * k for k in range(800)], "counts": [float(k % 90) for k in range(800)]}
        scribe.report(scribe.order(name, "diffractometer"), readings, 0.5, pattern)
        if pure < 0.5:
            scribe.finish(name, "failed_synthesis", {**readings, "hhi": hhi}, f"phase_fraction = {pure}, wanted >= 0.5")
        else:
            scribe.finish(name, "measured", {**readings, "saturation_magnetization_T": magnetization_T, "hhi": hhi})
    return scribe


def table(path: Path, *, results: int = 8) -> Scribe:
    """A table space with one objective, replicates among the rows, and a run that took the rows as they come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(table_rows())
    lines = ["x,colour,strength_MPa", *(f"{x},{colour},{strength}" for x, colour, strength in rows)]
    (path.parent / "table.csv").write_text("\n".join(lines) + "\n")
    scribe = Scribe(path, TABLE.format(budget=results or 5), budget=results or 5, base_dir=path.parent)
    scribe.announce(bench="table")
    for i in range(results):
        x, colour, strength = rows[2 * i]
        candidate = Candidate(id=f"row-{2 * i}", parameters={"x": x, "colour": colour})
        method = "initial-design" if i < 3 else "qLogNEI"
        choice = Choice(
            candidate=candidate, value=0.5, method=method, predicted={"strength_MPa": Prediction(mean=50, std=20)}
        )
        step = Step(capability="use_bench", parameters={}, quantities=("strength_MPa",), idempotent=True)
        name = scribe.choose(choice, Recipe(steps=(step,)))
        scribe.report(scribe.order(name, "bench"), {"strength_MPa": strength}, 1.0, {})
        scribe.finish(name, "measured", {"strength_MPa": strength})
    return scribe


def table_rows() -> Iterator[tuple[float, str, float]]:
    """Forty settings, each measured twice; strength grows to 100 at x = 30."""
    noise = random.Random(1)
    for k in range(40):
        for _ in range(2):
            yield float(k), "red" if k % 2 else "blue", round(100 - abs(k - 30) * 3 + noise.random(), 3)
