"""Signals, and two controllers at one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.command_line import athanor_here
from tests.faults.lab import ROOT, Bench


def athanor(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "controller.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(true: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain"
        time.sleep(0.05)


def test_a_second_controller_is_told_who_holds_the_run_and_a_signal_stops_in_order(tmp_path):
    bench = Bench(tmp_path, budget=5, kiln="GatedKiln")
    gate = tmp_path / "closed"
    gate.touch()
    first = athanor("resume", bench.run.path, "--quiet", "--no-report")
    wait_until(lambda: (tmp_path / "fired.jsonl").exists())

    second = athanor("resume", bench.run.path, "--quiet")
    _, err = second.communicate(timeout=180)
    assert second.returncode == 3
    assert f"another controller holds this lab (process {first.pid}" in err

    assert json.loads(athanor_here("status", bench.run.path, "--json").stdout)["state"] == "running"

    first.send_signal(signal.SIGINT)
    wait_until(lambda: bench.run.load().stopping)
    gate.unlink()
    out, err = first.communicate(timeout=180)
    assert first.returncode == 4, err
    assert "athanor resume" in out + err
    assert json.loads(athanor_here("status", bench.run.path, "--json").stdout)["state"] == "stopped"
    state = bench.run.load()
    assert all(command.report is not None for command in state.commands.values()), "steps under way were cut off"

    assert len(bench.resume_until_finished().observations) == 5
    bench.check_nothing_physical_was_repeated()


@pytest.mark.slow
def test_no_process_is_left_behind(tmp_path):
    from tests.faults.victim import host_pid

    bench = Bench(tmp_path)
    assert bench.finish()[0] == 0
    assert [host_pid(bench.run.path, name) for name in ("kiln", "gauge")] == [None, None]
