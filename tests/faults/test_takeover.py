"""One hand on the lab: taking a run from a controller that yields, and from one that does not."""

from __future__ import annotations

import json
import platform
import signal
from pathlib import Path

import pytest

from controller.errors import RunStateError
from controller.takeover import take_over
from tests.faults.lab import Bench
from tests.faults.test_estop import fired
from tests.faults.test_signals import athanor, wait_until


def taken(bench: Bench, *arguments: str, gate: Path | None = None) -> str:
    """What a controller says that takes the run; ``gate`` is opened once the one before knows that it must yield."""
    process = athanor("resume", bench.run.path, "--takeover", *arguments, "--quiet", "--no-report")
    if gate is not None:
        wait_until(lambda: bench.run.load().stopping)
        gate.unlink()
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return err


def test_a_controller_that_is_asked_to_yield_finishes_its_steps_and_the_next_one_has_a_higher_epoch(tmp_path):
    bench, gate = Bench(tmp_path, budget=4, kiln="GatedKiln"), tmp_path / "closed"
    gate.touch()
    first = athanor("resume", bench.run.path, "--quiet", "--no-report")
    wait_until(lambda: fired(bench))
    epoch = bench.run.load().epoch
    assert f"process {first.pid} has yielded" in taken(bench, gate=gate)
    first.communicate(timeout=180)
    assert first.returncode == 4
    state = bench.run.load()
    assert state.epoch == epoch + 1
    assert len(state.observations) == 4
    bench.check_nothing_physical_was_repeated()


@pytest.mark.slow
def test_a_controller_that_hangs_is_killed_after_its_grace_and_nothing_is_done_twice(tmp_path):
    bench = Bench(tmp_path, budget=4, seconds=0.5)
    first = athanor("resume", bench.run.path, "--quiet", "--no-report")
    wait_until(lambda: fired(bench))
    first.send_signal(signal.SIGSTOP)
    assert f"process {first.pid} did not yield in 0.5 s and was killed" in taken(bench, "--grace", "0.5")
    first.communicate(timeout=180)
    assert first.returncode == -signal.SIGKILL
    assert len(bench.run.load().observations) == 4
    bench.check_nothing_physical_was_repeated()


def test_a_run_that_nobody_holds_needs_no_takeover(tmp_path):
    assert take_over(Bench(tmp_path).run, 1.0) == ""


@pytest.mark.parametrize(
    ("holder", "words"),
    [({"pid": 1, "host": "elsewhere"}, "held on elsewhere"), ({"pid": 1, "host": platform.node()}, "not by process 1")],
)
def test_nobody_is_signalled_who_is_not_certainly_the_holder(tmp_path, monkeypatch, holder, words):
    bench = Bench(tmp_path)
    (bench.run.path / "lock").write_text(json.dumps(holder))
    monkeypatch.setattr(type(bench.run), "holder", lambda run: holder)
    monkeypatch.setattr("os.kill", lambda *_: pytest.fail("a stranger was signalled"))
    with pytest.raises(RunStateError, match=words):
        take_over(bench.run, 0.1)
