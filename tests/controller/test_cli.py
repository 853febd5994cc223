"""The command line as a user has it: real processes, real hosts, light science."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import ROOT, athanor, athanor_here


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign from `athanor init` and a finished run of it."""
    folder = tmp_path_factory.mktemp("cli")
    assert athanor_here("init", "search", cwd=folder).returncode == 0
    file = folder / "search.yaml"
    file.write_text(file.read_text().replace("{name: pareto, initial: 6}", "{name: random}"))
    ran = athanor("run", "search.yaml", "--dir", "run", "--budget", "4", "--seed", "3", "--quiet", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return folder


def test_a_new_user_gets_from_init_to_a_finished_run_with_a_report(finished):
    assert (finished / "run" / "report" / "report.html").stat().st_size > 5000
    assert len((finished / "run" / "report" / "results.csv").read_text().splitlines()) == 5


def test_status_is_one_object_for_programs(finished):
    status = json.loads(athanor_here("status", "run", "--json", cwd=finished).stdout)
    assert status["state"] == "finished"
    assert status["experiments"] == 4
    assert len(status["choices"]) == 4
    assert status["pending"] == []
    assert status["best"]["values"]["yield_pct"] == max(p["values"]["yield_pct"] for p in status["pareto"])
    assert status["seed"] == 3


def test_status_is_readable_for_people(finished):
    shown = athanor("status", "run", cwd=finished)
    assert shown.returncode == 0
    assert "finished" in shown.stdout


def test_replay_of_a_true_run_says_that_every_decision_is_the_same(finished):
    replayed = athanor_here("replay", "run", cwd=finished)
    assert replayed.returncode == 0, replayed.stderr
    assert "every one is the same" in replayed.stdout


def test_resume_of_a_finished_run_does_nothing_and_succeeds(finished):
    before = json.loads(athanor_here("status", "run", "--json", cwd=finished).stdout)
    assert athanor("resume", "run", "--quiet", cwd=finished).returncode == 0
    assert json.loads(athanor_here("status", "run", "--json", cwd=finished).stdout) == before


def test_a_second_run_in_the_same_directory_is_refused_with_advice(finished):
    again = athanor_here("run", "search.yaml", "--dir", "run", "--quiet", cwd=finished)
    assert again.returncode == 3
    assert "athanor resume run" in again.stderr


@pytest.fixture(scope="module")
def piped(finished: Path) -> str:
    """What a run with another seed prints into a pipe, as JSON."""
    words = ("run", "search.yaml", "--dir", "other", "--budget", "4", "--seed", "4", "--json", "--no-report")
    ran = athanor(*words, cwd=finished)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def choices(folder: Path, run: str) -> list[str]:
    return json.loads(athanor_here("status", run, "--json", cwd=folder).stdout)["choices"]


def test_the_same_seed_makes_the_same_choices(finished, piped):
    words = ("run", "search.yaml", "--dir", "same", "--budget", "4", "--seed", "3", "--quiet", "--no-report")
    assert athanor(*words, cwd=finished).returncode == 0
    assert choices(finished, "same") == choices(finished, "run")
    assert choices(finished, "other") != choices(finished, "run")


def test_a_pipe_gets_no_control_codes_and_json_is_one_object_a_line(piped):
    assert "\x1b" not in piped
    assert piped.splitlines()
    assert all(isinstance(json.loads(line), dict) for line in piped.splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("validate", "missing.yaml"), 2, "Give the path of a campaign file"),
        (("status", "nowhere"), 3, "no run here"),
        (("resume", "nowhere"), 3, "no run here"),
        (("replay", "nowhere"), 3, "no run here"),
        (("report", "nowhere"), 3, "no run here"),
        (("init", "a/b"), 2, "letters, digits"),
        (("run", "search.yaml", "--budget", "0"), 2, "must be 1 or more"),
    ],
)
def test_bad_input_gets_a_clear_message_and_its_exit_code(finished, arguments, code, said):
    failed = athanor_here(*arguments, cwd=finished)
    assert failed.returncode == code
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr


def test_every_command_has_help_with_an_example():
    from controller.cli import _parser

    actions = next(a for a in _parser()._actions if a.choices)
    assert {"validate", "run", "resume", "status", "report", "replay", "doctor", "init"} <= set(actions.choices)
    for name, command in actions.choices.items():
        assert f"example:\n  athanor {name}" in command.format_help()
        assert "exit codes:" in command.format_help()


@pytest.mark.slow
def test_a_directory_that_cannot_be_written_is_said_clearly(finished):
    (finished / "a-file").write_text("x")
    failed = athanor("run", "search.yaml", "--dir", "a-file/run", "--quiet", cwd=finished)
    assert failed.returncode == 7
    assert "Choose a writable place" in failed.stderr


def test_help_is_instant_because_it_loads_no_science():
    probe = (
        "import sys; from controller.cli import _parser; _parser().format_help(); "
        "print([m for m in ('torch', 'ray', 'pymatgen', 'sklearn', 'numpy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert shown.stdout.strip() == "[]"


def test_a_done_without_what_was_read_is_not_taken(tmp_path):
    from controller.errors import CampaignError, LabNeedsPerson
    from controller.reconcile import reconcile
    from controller.rundir import RunDirectory
    from instruments.errors import OutcomeUnknown
    from tests.controller.fakes import FakeHands, begin, run

    journal, state = begin(tmp_path / "journal.sqlite", budget=1)
    with pytest.raises(LabNeedsPerson):
        run(journal, state, FakeHands(lambda c: {"raise": OutcomeUnknown(c.command_id, "?")}))
    journal.close()
    directory = RunDirectory(tmp_path)
    (unknown,) = directory.load().unknown()
    with pytest.raises(CampaignError, match="--reading purity=NUMBER"):
        reconcile(directory, unknown.order.command_id, "done", by="me", reason="")
    reconcile(directory, unknown.order.command_id, "done", by="me", reason="", readings=["purity=0.9"])
    assert not directory.load().unknown()
