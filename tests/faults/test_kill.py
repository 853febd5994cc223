"""Kill anything, any time: lose nothing, repeat nothing physical, decide the same."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.lab import Bench
from tests.faults.victim import host_pid


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, int]:
    """A run that nobody disturbs, and how many durable commits it has."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"))
    code, out, err = bench.finish("controller", "after", 10**6)
    assert code == 0, err
    return bench, json.loads(out.splitlines()[-1])["commits"]


def survives(folder: Path, undisturbed: Bench, who: str, when: str, number: int) -> None:
    bench = Bench(folder)
    code, _, err = bench.finish(who, when, number)
    assert code == (-9 if who == "controller" else 0), err
    state = bench.resume_until_finished()
    assert len(state.observations) == 3
    assert bench.choices() == undisturbed.choices(), f"{who} {when} {number}: decided otherwise"
    assert bench.observations() == undisturbed.observations()
    bench.check_nothing_physical_was_repeated()
    shutil.rmtree(folder)


def all_survive(tmp_path: Path, undisturbed: Bench, points: list[tuple[str, str, int]]) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(survives, tmp_path / f"{who}-{when}-{number}", undisturbed, who, when, number)
            for who, when, number in points
        ]
        for run in runs:
            run.result()


def test_a_controller_killed_around_some_commits_goes_on_as_if_nothing_had_been(tmp_path, undisturbed):
    bench, commits = undisturbed
    assert commits > 4
    points = [("before", 2), ("after", commits // 2), ("before", commits)]
    all_survive(tmp_path, bench, [("controller", when, number) for when, number in points])


def test_a_host_killed_around_some_commits_is_restarted_and_asked_what_became_of_its_command(tmp_path, undisturbed):
    bench, _ = undisturbed
    all_survive(tmp_path, bench, [("kiln", "after", 2), ("gauge", "after", 4)])


@pytest.mark.slow
def test_killing_anybody_at_every_event_boundary_changes_nothing(tmp_path, undisturbed):
    bench, commits = undisturbed
    everybody = ("controller", "kiln", "gauge")
    points = [(who, when, n) for who in everybody for when in ("before", "after") for n in range(2, commits + 1)]
    # A host killed at the last commit of all has nothing left to do, so there is nothing to kill it in.
    all_survive(tmp_path, bench, [p for p in points if p[0] == "controller" or p[2] < commits])


@pytest.mark.slow
def test_fifty_kills_at_random_times_change_nothing(tmp_path):
    generator = random.Random(1)
    quiet = Bench(tmp_path / "quiet", budget=6, seconds=0.15)
    assert quiet.finish()[0] == 0
    killed: list[str] = []
    number = 0
    while len(killed) < 50:
        number += 1
        bench = Bench(tmp_path / f"run-{number}", budget=6, seconds=0.15)
        for _ in range(5):
            killed.append(bench.kill_at_random(generator, ["controller", "controller", "kiln", "gauge"], 4.0))
            if bench.run.load()[0].finished:
                break
        bench.resume_until_finished(times=4)
        assert bench.choices() == quiet.choices()
        assert bench.observations() == quiet.observations()
        bench.check_nothing_physical_was_repeated()
    assert {"controller", "kiln", "gauge"} <= set(killed)


def test_a_kiln_without_a_sensor_quarantines_the_sample_and_asks_for_a_person(tmp_path):
    bench = Bench(tmp_path, seconds=1.0, kiln="BlindKiln")
    process = bench.start()
    deadline = 300
    while not (tmp_path / "fired.jsonl").exists() and deadline:
        deadline -= 1
        time.sleep(0.05)
    pid = host_pid(bench.run.path, "kiln")
    assert pid is not None
    os.kill(pid, 9)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 5
    assert "outcome unknown" in err
    assert "athanor reconcile" in err
    state, _ = bench.run.load()
    assert len(state.unknown()) == 1
    assert len(state.observations) == 2, "the other samples must go on"
    bench.check_nothing_physical_was_repeated()
