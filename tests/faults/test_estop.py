"""The emergency stop on real processes: from another process, by Ctrl-C, and where no controller lives."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from instruments.ledger import Ledger
from tests.command_line import athanor as athanor_process
from tests.command_line import athanor_here
from tests.faults.lab import Bench
from tests.faults.test_signals import athanor, wait_until
from tests.faults.victim import host_pid


def fired(bench: Bench) -> list[str]:
    book = bench.folder / "fired.jsonl"
    return [json.loads(line)["sample"] for line in book.read_text().splitlines()] if book.exists() else []


def said(*arguments: object) -> tuple[int, str, str]:
    """A person's command: its exit code and what it says. It needs no process, but for those that run campaigns."""
    done = athanor_process(*arguments) if arguments[0] in ("run", "resume") else athanor_here(*arguments)
    return done.returncode, done.stdout, done.stderr


def amid_a_firing(folder: Path, budget: int = 4) -> tuple[Bench, subprocess.Popen[str]]:
    """A campaign whose kiln fires until it is stopped, or its gate opened, and the controller that runs it."""
    bench = Bench(folder, kiln="GatedKiln", budget=budget)
    (folder / "closed").touch()
    controller = athanor("resume", bench.run.path, "--quiet", "--no-report")
    wait_until(lambda: fired(bench))
    return bench, controller


def test_a_stop_from_another_process_reaches_every_instrument_and_holds_until_a_person_has_judged_and_reset(tmp_path):
    bench, controller = amid_a_firing(tmp_path)
    key = bench.run.lab / "keys" / "operator.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600, "the operator's key is made with the run, for its owner alone"

    code, out, err = said("stop", bench.run.path, "--by", "Ada", "--reason", "smoke", "--json")
    _, words = controller.communicate(timeout=180)
    assert controller.returncode == 5, words
    answer = json.loads(out)
    assert (code, answer["through"], answer["latched"]) == (0, "controller", True), err
    assert set(answer["acknowledged_ms"]) == {"kiln", "gauge"}
    assert all(isinstance(ms, float) for ms in answer["acknowledged_ms"].values())
    assert "emergency stop is latched (by operator, Ada: smoke)" in words

    done = len(fired(bench))
    state = bench.run.load()
    assert state.stop_answers == answer["acknowledged_ms"]
    assert "stopped amid the act" in next(c.unknown for c in state.unknown() if c.order.instrument == "kiln")
    assert "failed_synthesis" not in {o.outcome for o in state.observations}, "a stop says nothing about chemistry"

    code, _, err = said("resume", bench.run.path, "--quiet")
    assert code == 5
    assert "athanor reset" in err
    code, _, err = said("reset", bench.run.path, "--by", "Ada", "--reason", "it was steam")
    assert code == 5
    for command in state.unknown():
        assert command.order.command_id in err, "a reset lists what is not reconciled"
        assert said("reconcile", bench.run.path, command.order.command_id, "discard", "--by", "Ada")[0] == 0
    assert len(fired(bench)) == done
    assert said("reset", bench.run.path, "--by", "Ada", "--reason", "it was steam")[0] == 0

    (tmp_path / "closed").unlink()
    assert len(bench.resume_until_finished(1).observations) == 4
    bench.check_nothing_physical_was_repeated()
    code, _, err = said("replay", bench.run.path, "--quiet")
    assert code == 0, err


@pytest.mark.slow
def test_ctrl_c_twice_is_the_same_stop(tmp_path):
    bench, controller = amid_a_firing(tmp_path)
    controller.send_signal(signal.SIGINT)
    wait_until(lambda: bench.run.load().stopping)
    controller.send_signal(signal.SIGINT)
    _, err = controller.communicate(timeout=180)
    assert controller.returncode == 5, err
    state = bench.run.load()
    assert state.latched is not None
    assert state.latched.by == "SIGINT"
    assert state.stop_answers is not None
    assert None not in state.stop_answers.values()


def test_without_a_controller_the_hosts_are_told_by_signal_and_the_stop_is_latched_everywhere(tmp_path):
    bench, controller = amid_a_firing(tmp_path)
    controller.kill()
    controller.communicate(timeout=180)
    code, out, err = said("stop", bench.run.path, "--by", "Ada", "--reason", "smoke", "--json")
    answer = json.loads(out)
    assert (code, answer["through"], answer["latched"]) == (0, "signal", True), err
    assert [host_pid(bench.run.path, name) for name in ("kiln", "gauge")] == [None, None]
    for path in (bench.run.lab / "hosts").glob("*/ledger.sqlite"):
        ledger = Ledger(path)
        assert ledger.stop_reason == "Ada: smoke"
        ledger.close()
    state = bench.run.load()
    done = len(fired(bench))
    assert "kiln" in [c.order.instrument for c in state.unknown() if "stopped amid the act" in c.unknown]
    assert said("resume", bench.run.path, "--quiet")[0] == 5
    assert len(fired(bench)) == done


@pytest.mark.slow
def test_a_controller_that_hangs_is_passed_over_and_cannot_command_when_it_wakes(tmp_path):
    bench, controller = amid_a_firing(tmp_path, budget=6)
    controller.send_signal(signal.SIGSTOP)
    try:
        code, out, _ = said("stop", bench.run.path, "--by", "Ada", "--json")
        assert (code, json.loads(out)["through"]) == (0, "signal")
        done = len(fired(bench))
    finally:
        controller.send_signal(signal.SIGCONT)
    _, err = controller.communicate(timeout=180)
    assert controller.returncode != 0, err
    assert len(fired(bench)) == done, "nothing was fired after the stop"
    assert bench.run.load().latched is not None


@pytest.mark.slow
def test_an_instrument_that_cannot_answer_is_named_and_the_exit_code_says_so(tmp_path):
    bench, controller = amid_a_firing(tmp_path)
    gauge = host_pid(bench.run.path, "gauge")
    assert gauge is not None
    os.kill(gauge, signal.SIGSTOP)
    try:
        code, out, _ = said("stop", bench.run.path)
        assert code == 5
        assert "gauge  " in out
        assert "NOT ACKNOWLEDGED" in out
    finally:
        os.kill(gauge, signal.SIGCONT)
    controller.communicate(timeout=180)
    assert controller.returncode == 5


@pytest.mark.parametrize("command", ["stop", "reset"])
def test_stopping_or_resetting_what_is_not_there_says_so(tmp_path, command):
    more = ["--by", "Ada", "--reason", "x"] if command == "reset" else []
    code, _, err = said(command, tmp_path / "nowhere", *more)
    assert code == 3
    assert "no run here" in err
