"""What the user sees while a campaign runs."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from controller.errors import Interrupted, RunStateError
from controller.journal import Journal
from controller.loop import Overhead
from controller.rundir import RunDirectory
from controller.state import State, evolve
from controller.summary import front, summarize
from controller.view import open_view, print_status
from controller.view_live import LiveView, compose
from controller.view_progress import Progress, duration, label, number
from models.candidate import Candidate
from tests.controller import made_runs

ESCAPE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def states(directory: RunDirectory, after: int = 0):
    """The state after every event."""
    journal, state = Journal(directory.journal, readonly=True), State()
    for sequence, _, event in journal.read():
        state = evolve(state, event)
        if sequence > after:
            yield state
    journal.close()


def first_event_only(directory: RunDirectory) -> RunDirectory:
    """The run directory as it is when a campaign begins."""

    class Begun(RunDirectory):
        def load(self):
            return next(states(self))

    return Begun(directory.path)


def show(directory: RunDirectory, *, as_json: bool = False, report: Path | None = None) -> None:
    with open_view(first_event_only(directory), quiet=True, as_json=as_json) as view:
        for state in states(directory):
            view.update(state, None)
        view.done(state, Overhead([0.001, 0.003]), report)


def test_a_pipe_gets_one_line_an_experiment_and_no_control_codes(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    show(made_runs.heusler(tmp_path / "run").close("6 experiments done"), report=tmp_path / "report.html")
    text = capsys.readouterr().out
    assert not ESCAPE.search(text)
    lines = [line for line in text.splitlines() if line.startswith("[")]
    assert len(lines) == 6
    expected = "[1/6] E0001 Co2MnSi (L2_1)  measured  saturation_magnetization_T 1.1  hhi 3100  new best 1.1"
    assert lines[0] == expected
    assert "failed synthesis" in lines[3]
    assert "phase_fraction = 0.31, wanted >= 0.5" in lines[3]
    assert lines[3].endswith("best 1.6")


def test_the_last_words_name_the_front_the_cost_the_report_and_the_next_commands(tmp_path, capsys):
    directory = made_runs.heusler(tmp_path / "run").close("6 experiments done")
    show(directory, report=tmp_path / "out" / "report.html")
    text = capsys.readouterr().out
    for words in ("Fe2CoSi (L2_1)", "5 measured", "1 failed synthesis", "lab time", "p99 3.0 ms", "report.html"):
        assert words in text
    assert f"athanor replay {directory.path}" in text


def test_a_hostile_name_cannot_steer_the_terminal(tmp_path, capsys):
    show(made_runs.heusler(tmp_path / "run", hostile="evil\x1b[2J\x1b]0;owned\x07\nname").close("done"))
    assert not ESCAPE.search(capsys.readouterr().out)


def test_json_mode_writes_only_objects_with_their_event(tmp_path, capsys):
    show(made_runs.heusler(tmp_path / "run").close("6 experiments done"), as_json=True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [t["event"] for t in told] == ["started", *["result"] * 6, "finished"]
    assert told[0]["budget"] == 6
    assert told[1]["values"]["saturation_magnetization_T"] == 1.1
    assert [t["feasible"] for t in told[1:7]] == [True, True, True, False, True, True]
    assert told[5]["best"] == {"experiment": "E0005", "candidate": "L2_1-Fe2CoSi", "value": 1.85}
    assert told[7]["best"]["candidate"] == "L2_1-Fe2CoSi"
    assert told[7]["overhead_ms"] == {"p50": 1.0, "p99": 3.0}


def test_a_resumed_run_does_not_repeat_what_was_told_before(tmp_path, capsys):
    scribe = made_runs.heusler(tmp_path / "run", results=3)
    with open_view(scribe.directory, quiet=True, as_json=False) as view:
        view.update(scribe.state, None)
    text = capsys.readouterr().out
    assert "after 3 finished experiments" in text
    assert not [line for line in text.splitlines() if line.startswith("[")]


def test_a_failure_says_what_is_safe_and_how_to_go_on(tmp_path, capsys):
    scribe = made_runs.heusler(tmp_path / "run", results=2)
    with open_view(scribe.directory, quiet=True, as_json=False) as view:
        view.failed(Interrupted("stopped"))
    text = capsys.readouterr().out
    assert "2 of 6 experiments" in text
    assert f"athanor resume {scribe.directory.path}" in text
    assert "stopped" not in text, "the error itself is the command line's to print"


def test_an_unforeseen_error_still_tells_how_to_go_on(tmp_path, capsys):
    scribe = made_runs.heusler(tmp_path / "run", results=2)
    with pytest.raises(ZeroDivisionError), open_view(scribe.directory, quiet=True, as_json=False):
        raise ZeroDivisionError
    assert f"athanor resume {scribe.directory.path}" in capsys.readouterr().out


def test_a_run_that_another_controller_holds_is_not_offered_for_resuming(tmp_path, capsys):
    scribe = made_runs.heusler(tmp_path / "run", results=2)
    with open_view(scribe.directory, quiet=True, as_json=False) as view:
        view.failed(RunStateError("held"))
    text = capsys.readouterr().out
    assert "athanor status" in text
    assert "resume" not in text


def test_a_json_failure_carries_the_exit_code(tmp_path, capsys):
    scribe = made_runs.heusler(tmp_path / "run", results=2)
    with open_view(scribe.directory, quiet=True, as_json=True) as view:
        view.failed(Interrupted("stopped"))
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["event"], told["exit_code"], told["error"]) == ("failed", 4, "Interrupted")


def test_a_reader_that_went_away_does_not_end_the_campaign(tmp_path, monkeypatch):
    scribe = made_runs.heusler(tmp_path / "run")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        show(scribe.close("done"))
        pipe.flush()


def test_status_tells_people_where_the_run_stands(tmp_path, capsys):
    scribe = made_runs.heusler(tmp_path / "run", results=4)
    scribe.choose_again("E0001")
    scribe.order("E0005", "furnace")
    print_status(scribe.directory, scribe.state, summarize(scribe.state, running=True))
    text = capsys.readouterr().out
    assert "running" in text
    assert "4 of 6 experiments" in text
    assert "E0005 Co2MnSi (L2_1): use_furnace 1/2" in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (132, 50), (40, 10), (200, 60)])
@pytest.mark.parametrize("results", [0, 1, 6])
def test_the_live_view_fills_any_terminal_exactly(tmp_path, width, height, results):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    scribe = made_runs.heusler(tmp_path / "run", results=results, hostile="a\x1b[31m" + "long" * 40)
    if results:
        scribe.choose_again("E0001")
        scribe.order(f"E{results + 1:04d}", "furnace")
    view = LiveView(first_event_only(scribe.directory), console)
    view.started(scribe.state, 0)
    assert "starting" in view.frame().plain
    for state in states(scribe.directory):
        view.update(state, None)
    lines = view.frame().split("\n", allow_blank=True)
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width
    assert "\x1b" not in view.frame().plain


def test_the_live_view_shows_stages_instruments_front_and_results(tmp_path):
    scribe = made_runs.heusler(tmp_path / "run", budget=9)
    scribe.choose_again("E0001")
    scribe.order("E0007", "furnace")
    view = LiveView(first_event_only(scribe.directory), Console(file=io.StringIO(), width=100, height=40))
    view.started(scribe.state, 0)
    for state in states(scribe.directory):
        view.update(state, None)
    text = view.frame().plain
    for words in ("made-heusler", "6/9", "acquisition", "210 /s", "E0007 Co2MnSi (L2_1): use_furnace 1/2", "idle"):
        assert words in text
    for words in ("5 measured", "1 failed synthesis", "Pareto front, 3", "Fe2CoSi (L2_1)", "1.85", "left", "Ctrl-C"):
        assert words in text


def test_the_live_view_gives_the_terminal_back_and_leaves_the_summary(tmp_path, monkeypatch):
    screen = io.StringIO()
    directory = made_runs.heusler(tmp_path / "run").close("6 experiments done")
    monkeypatch.setattr(sys, "stdout", screen)
    with LiveView(first_event_only(directory), Console(file=screen, width=80, height=24, force_terminal=True)) as view:
        for state in states(directory):
            view.update(state, None)
        view.done(state, Overhead(), None)
    shown, left = screen.getvalue().split("\x1b[?1049l")
    assert "\x1b[?1049h" in shown
    assert "\x1b[?25h" in left or "\x1b[?25h" in shown, "the cursor is back"
    assert "Fe2CoSi (L2_1)" in left


def test_a_frame_before_the_first_turn_says_what_is_awaited():
    text = compose("name", "runs/name-001", None, 0.0, 3.0, 80, 24).plain
    assert "starting the instruments and the science" in text


def test_a_note_reaches_every_display_without_spoiling_the_screen(tmp_path, capsys):
    scribe = made_runs.heusler(tmp_path / "run", results=0)
    live = LiveView(scribe.directory, Console(file=io.StringIO(), width=80, height=24))
    live.note("computing the references")
    assert "computing the references" in live.frame().plain
    live.update(scribe.state, None)
    assert "computing the references" in live.frame().plain
    assert capsys.readouterr().out == ""
    with open_view(scribe.directory, quiet=True, as_json=True) as view:
        view.note("computing the references")
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told == {"event": "note", "text": "computing the references"}


def test_the_kept_front_is_the_front_of_everything(tmp_path):
    progress = Progress()
    for state in states(made_runs.heusler(tmp_path / "run").close("done")):
        if state.campaign:
            progress.take(state)
            assert [o.experiment for o in progress.front] == [o.experiment for o in front(state)]


def test_numbers_and_durations_read_as_people_write_them():
    written = ["0", "1.432", "3120", "1e+07", "2e-05", "-12.5"]
    assert [number(x) for x in (0, 1.43219, 3120.4, 1e7, 0.00002, -12.5)] == written
    assert [duration(s) for s in (3, 185, 7800, 200000)] == ["3 s", "3 min 05 s", "2 h 10 min", "2 d 7 h"]
    dials = {"x": 0.5, "mode": "slow", "n": 3, "a": 1.0, "b": 2.0}
    assert label(Candidate(id="row-1", parameters=dials)) == "row-1 x=0.5 mode=slow n=3 a=1 +1"
