"""The faults of the simulated instruments that take time or a process with them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from simulated_lab import heusler, material, melt, put_mixture, quiet, stopping

from instruments.driver import Job
from instruments.simulated.arc_furnace import ArcFurnace
from instruments.simulated.magnetometer import Magnetometer
from instruments.simulated.oracle import Oracle

ROOT = Path(__file__).parents[2]
TARGET = heusler("Co", "Mn", "Si")
MELT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from simulated_lab import material, melt
from instruments.simulated.arc_furnace import ArcFurnace
from instruments.simulated.oracle import Oracle
from dataclasses import replace
Oracle.material = lambda self, target: material(target, -0.3)
path = Path({path!r})
furnace = ArcFurnace(workdir=path, world=path / "world", faults={{{fault!r}: 1.0}})
furnace.run(replace(melt({target!r}), command_id="run/E1/0/0"), lambda fraction, message: None)
"""


def measure(attempt: int = 0) -> Job:
    return Job(f"run/E1/1/{attempt}", "magnetometry", "s1", {"field_T": 2.0}, 7)


@pytest.mark.parametrize(("fault", "said"), [("crash_before", "untouched"), ("crash_after", "ok")])
def test_a_furnace_whose_process_dies_has_made_the_sample_or_not(tmp_path, monkeypatch, fault, said):
    code = MELT.format(here=str(Path(__file__).parent), path=str(tmp_path), fault=fault, target=TARGET)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -9
    monkeypatch.setattr(Oracle, "material", lambda self, target: material(target, -0.3))
    furnace = ArcFurnace(workdir=tmp_path, world=tmp_path / "world")
    found = furnace.inspect(Job("run/E1/0/0", "arc_melt", "s1", {}, 1))
    assert found is not None and found.status == said
    assert furnace.world.samples() == (["s1"] if said == "ok" else [])


def test_a_slow_job_comes_late_and_a_stop_ends_it(tmp_path):
    driver = Magnetometer(workdir=tmp_path, world=tmp_path / "world", faults={"slow": 1.0}, slow_s=0.2)
    put_mixture(driver.world, TARGET, 1.0)
    begun = time.monotonic()
    assert driver.run(measure(), quiet).status == "ok"
    assert time.monotonic() - begun >= 0.2
    driver.slow_s = 60.0
    with stopping(driver):
        assert "stopped before anything" in driver.run(measure(), quiet).message


def test_a_dropped_job_is_done_and_answers_only_after_a_stop(tmp_path):
    driver = Magnetometer(workdir=tmp_path, world=tmp_path / "world", faults={"drop": 1.0})
    put_mixture(driver.world, TARGET, 1.0)
    found = []
    thread = threading.Thread(target=lambda: found.append(driver.run(measure(), quiet)))
    thread.start()
    end = time.monotonic() + 60
    while driver.world.need("s1").acts(measure().command_id) != 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    thread.join(0.3)
    assert thread.is_alive() and not found
    driver.stop()
    thread.join(60)
    assert found[0].status == "ok"


def test_a_new_attempt_has_a_new_fate_and_the_same_reading(tmp_path):
    driver = Magnetometer(workdir=tmp_path, world=tmp_path / "world", faults={"slow": 0.5}, slow_s=0.0)
    put_mixture(driver.world, TARGET, 1.0)
    assert len({driver._fated(measure(attempt), "slow") for attempt in range(20)}) == 2
    assert len({driver.run(measure(attempt), quiet).readings["moment_A_m2"] for attempt in range(3)}) == 1
    assert melt(TARGET).seed == 1
