"""A small campaign on real host processes, and what must hold of it whatever was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from controller.run import begin
from controller.rundir import RunDirectory
from controller.state import State
from instruments.ledger import starts

ROOT = Path(__file__).resolve().parents[2]

CAMPAIGN = """
name: kiln
budget: {{experiments: {budget}}}
space: {{kind: table, file: shelf.csv, parameters: [x]}}
objectives: [{{name: strength_MPa}}]
acquisition: {{name: "tests.faults.science:Butterfly"}}
planner: {{name: "tests.faults.science:FireAndGauge"}}
batch: 2
lab:
  clock: simulated
  timeout_s: 40
  instruments:
    kiln: {{driver: "tests.faults.drivers:{kiln}", settings: {{bench: "{bench}", seconds: {seconds}}}}}
    gauge: {{driver: "tests.faults.drivers:{gauge}", settings: {{seconds: {seconds}}}}}
compute: {{backend: {compute}}}
"""
SHELF = "x,strength_MPa\n" + "".join(f"{k * 0.618034 % 1:.4f},0\n" for k in range(1, 65))
"""What there is to choose from, 64 settings between 0 and 1; a table costs a controller's start the least."""
DEFAULTS = {"budget": 3, "seconds": 0.0, "kiln": "Kiln", "gauge": "Gauge", "compute": "local"}


class Bench:
    """One run of the campaign in its own directory; ``changes`` are to ``DEFAULTS``."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder, self.run = folder, RunDirectory(folder / "run")
        folder.mkdir(parents=True, exist_ok=True)
        begin(self.campaign(**changes), self.run, seed=None, budget=None)

    def campaign(self, more: str = "", **changes: Any) -> Path:
        """Write the campaign's file, with ``more`` at its end."""
        file = self.folder / "kiln.yaml"
        file.write_text(CAMPAIGN.format(**{**DEFAULTS, "bench": self.folder, **changes}) + more)
        (self.folder / "shelf.csv").write_text(SHELF)
        return file

    def start(self, who: str = "nobody", when: str = "after", number: int = 0) -> subprocess.Popen[str]:
        """Start (or resume) the campaign; it kills ``who`` at the boundary."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.victim", str(self.run.path), who, when, str(number)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, who: str = "nobody", when: str = "after", number: int = 0) -> tuple[int, str, str]:
        """Run to the end of the process; return its exit code and output."""
        process = self.start(who, when, number)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    def resume_until_finished(self, times: int = 3) -> State:
        """Resume until the campaign is finished."""
        last = ""
        for _ in range(times):
            _, _, last = self.finish()
            state = self.run.load()
            if state.finished:
                return state
        raise AssertionError(f"not finished after {times} resumes: {last}")

    def choices(self) -> list[str]:
        """The choices in order, as JSON, byte for byte."""
        state = self.run.load()
        return [experiment.choice.model_dump_json() for experiment in state.experiments.values()]

    def observations(self) -> list[str]:
        """What was learnt, in order."""
        state = self.run.load()
        return [observation.model_dump_json() for observation in state.observations]

    def check_nothing_physical_was_repeated(self) -> None:
        """From the hosts' ledgers and the kiln's own book, not from the journal."""
        for ledger in (self.run.lab / "hosts").glob("*/ledger.sqlite"):
            repeated = {name: count for name, count in starts(ledger).items() if count > 1}
            assert not repeated, f"{ledger.parent.name} started {repeated}"
        fired = [json.loads(line) for line in (self.folder / "fired.jsonl").read_text().splitlines()]
        samples = [line["sample"] for line in fired]
        assert len(samples) == len(set(samples)), f"fired twice: {samples}"
