"""Kill anything, any time: lose nothing, repeat nothing physical, decide the same."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from controller.run import begin
from controller.rundir import RunDirectory
from tests.faults import fuse, witness
from tests.faults.fuse import Point
from tests.faults.kill_points import Thousand, campaign_file
from tests.faults.lab import ROOT, Bench


@pytest.mark.slow
def test_a_controller_killed_amid_its_work_goes_on_as_if_nothing_had_been(tmp_path):
    """Controllers that are started anew from the command line, as a person would."""
    quiet, bench = Bench(tmp_path / "quiet"), Bench(tmp_path / "killed")
    assert quiet.finish()[0] == 0
    assert bench.finish("controller", "after", 5)[0] == -9
    assert len(bench.resume_until_finished().observations) == 3
    assert bench.choices() == quiet.choices()
    assert bench.observations() == quiet.observations()
    bench.check_nothing_physical_was_repeated()


def handful(folder: Path) -> tuple[list[str], int, int]:
    """What was found wrong, and how many points there were and how many have killed."""
    places = [
        ("controller", "journal commit", "amid"),
        ("controller", "send command", "after"),
        ("controller", "report arrives", "after"),
        ("kiln", "act", "after"),
        ("kiln", "look back", "before"),
        ("gauge", "ledger finish", "amid"),
        ("gauge", "send report", "before"),
    ]
    points = [Point(number, *place) for number, place in enumerate(places)]
    thousand = Thousand(points, folder, jobs=1, seeds=1)
    rows = thousand.run()
    wrong = [problem for outcome in thousand.outcomes for problem in outcome.findings.all()]
    return wrong, len(points), sum(row.points for row in rows.values())


def test_a_handful_of_kill_points_changes_nothing(tmp_path):
    # It forks its controllers: in a process of its own, without the threads that other tests have left in this one.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        wrong, laid, killed = fresh.submit(handful, tmp_path).result()
    assert wrong == []
    assert killed == laid


@pytest.mark.slow
def test_a_thousand_kill_points_lose_nothing_repeat_nothing_and_hide_nothing(capsys):
    command = [sys.executable, "-m", "tests.faults.kill_points", "--points", "1000", "--seed", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3 * 3600, check=False)
    with capsys.disabled():
        print("\n" + done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-5_000:]
    total = next(line for line in done.stdout.splitlines() if line.startswith("| **total**"))
    assert [cell.strip() for cell in total.strip("|").split("|")] == ["**total**", "1000", *["0"] * 5]


class Blind(Bench):
    """Instruments without a sensor, and points to die at."""

    def __init__(self, folder: Path, *points: Point) -> None:
        self.folder, self.run = folder, RunDirectory(folder / "run")
        fuse.lay(folder, list(points))
        file = folder / "blind.yaml"
        file.write_text(campaign_file(folder, seed=0, blind=True, budget=3))
        begin(file, self.run, seed=None, budget=None)


def test_a_kiln_without_a_sensor_quarantines_the_sample_and_asks_for_a_person(tmp_path):
    bench = Blind(tmp_path, Point(0, "kiln", "act", "after"))
    code, _, err = bench.finish()
    assert code == 5, err
    assert "outcome unknown" in err
    assert "athanor reconcile" in err
    state = bench.run.load()
    assert len(state.unknown()) == 1
    assert len(state.observations) == 2, "the other samples must go on"
    assert len(witness.book(tmp_path, "kiln")) == 3, "the act was done, and is not done again"
