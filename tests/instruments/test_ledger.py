"""The ledger: started once, remembered for ever, held by one process."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from instruments.arrays import from_array
from instruments.errors import LabError
from instruments.ledger import Ledger, digest, lock_path, starts
from instruments.messages import Command, Report
from instruments.process import living_holder

ROOT = Path(__file__).parents[2]


def command(name: str = "c1", **parameters) -> Command:
    return Command(command_id=name, experiment="e", step=0, capability="act", sample="s", parameters=parameters)


def report(name: str = "c1", points: int = 1000) -> Report:
    header, frame = from_array("pattern", [float(i) for i in range(points)])
    return Report(command_id=name, status="ok", readings={"x": 1.0}, arrays=(header,)).with_frames([frame])


@pytest.fixture
def ledger(tmp_path):
    one = Ledger(tmp_path / "ledger.sqlite", min_free_bytes=0)
    yield one
    one.close()


def test_a_command_goes_from_received_to_started_to_done(ledger):
    ledger.receive(command(), 1)
    assert ledger.find("c1").state == "received"
    ledger.start(command(), 1)
    assert ledger.find("c1").state == "started"
    ledger.finish(report())
    assert ledger.find("c1").state == "done"
    assert ledger.report("c1").array("pattern").tolist() == report().array("pattern").tolist()


def test_a_command_is_never_started_twice(ledger):
    ledger.start(command(), 1)
    with pytest.raises(LabError, match="never started again"):
        ledger.start(command(), 1)
    ledger.finish(report())
    with pytest.raises(LabError, match="never started again"):
        ledger.start(command(), 1)
    assert starts(ledger.path) == {"c1": 1}


def test_a_batch_is_started_and_finished_as_a_whole_or_not_at_all(ledger):
    ledger.log.append(ledger.starting([command("a"), command("b")], 1))
    with pytest.raises(LabError, match="never started again"):
        ledger.log.append(ledger.starting([command("c"), command("b")], 1))
    assert ledger.find("c") is None
    with pytest.raises(LabError, match="not running"):
        ledger.finish_all([report("a"), report("c")])
    assert ledger.report("a") is None
    ledger.finish_all([report("a"), report("b")])
    assert ledger.unacknowledged() == ["a", "b"]


def test_the_digest_of_a_command_without_a_batch_is_what_older_ledgers_hold():
    assert digest(command()) == "4832e94528358189f4795761fb878da7eafa436db19260da1d790871fca14a33"
    assert digest(command().model_copy(update={"batch": ("c1", "c2")})) != digest(command())


def test_a_report_is_stored_once_and_only_for_a_running_command(ledger):
    with pytest.raises(LabError, match="not running"):
        ledger.finish(report())
    ledger.receive(command(), 1)
    with pytest.raises(LabError, match="not running"):
        ledger.finish(report())
    ledger.start(command(), 1)
    ledger.finish(report())
    with pytest.raises(LabError, match="not running"):
        ledger.finish(report())


def test_everything_is_remembered_when_the_ledger_is_opened_again(tmp_path):
    path = tmp_path / "ledger.sqlite"
    first = Ledger(path, min_free_bytes=0)
    first.start(command("done", a=1), 3)
    first.finish(report("done"))
    first.start(command("running"), 3)
    first.receive(command("waiting"), 3)
    first.raise_epoch(3)
    first.latch("smoke")
    first.close()
    second = Ledger(path, min_free_bytes=0)
    try:
        assert second.epoch == 3
        assert second.stop_reason == "smoke"
        assert second.unacknowledged() == ["done"]
        assert [c.command_id for c in second.unfinished()] == ["running"]
        entry = second.find("waiting")
        assert entry is not None
        assert entry.state == "received"
        assert second.find("nothing") is None
        stored = second.report("done")
        assert stored is not None
        assert len(stored.frames[0]) == 8000
    finally:
        second.close()


def test_the_epoch_never_falls(ledger):
    ledger.raise_epoch(5)
    ledger.raise_epoch(4)
    assert ledger.epoch == 5


def test_an_acknowledged_report_is_packed_but_still_answered(ledger):
    ledger.start(command(), 1)
    ledger.finish(report(points=20_000))
    ledger.acknowledge("c1")
    ledger.flush()
    assert ledger.unacknowledged() == []
    assert ledger.report("c1").frames == report(points=20_000).frames
    rows = sqlite3.connect(ledger.path).execute("SELECT packed, length(data) FROM arrays").fetchall()
    assert rows[0][0] == 1
    assert rows[0][1] < 160_000 / 2


def test_acknowledgements_are_written_with_the_next_command(ledger):
    ledger.start(command(), 1)
    ledger.finish(report())
    ledger.acknowledge("c1")
    ledger.start(command("c2"), 1)
    assert ledger.unacknowledged() == []


def test_an_acknowledgement_before_the_report_changes_nothing(ledger):
    ledger.start(command(), 1)
    ledger.acknowledge("c1")
    ledger.flush()
    ledger.finish(report())
    assert ledger.unacknowledged() == ["c1"]


def test_the_latch_is_released_only_by_none(ledger):
    assert ledger.stop_reason is None
    ledger.latch("smoke")
    assert ledger.stop_reason == "smoke"
    ledger.latch(None)
    assert ledger.stop_reason is None


def test_evidence_ends_the_looking_back(ledger):
    ledger.start(command(), 1)
    ledger.witness("c1", "nobody saw it")
    assert ledger.unfinished() == []
    assert ledger.find("c1").evidence == "nobody saw it"
    assert ledger.find("c1").state == "started"


def test_equal_commands_have_equal_digests_and_others_do_not():
    assert digest(command(a=1, b=2)) == digest(command(b=2, a=1))
    assert digest(command(a=1)) != digest(command(a=2))


def test_nothing_starts_on_a_disk_that_is_nearly_full(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", min_free_bytes=1 << 62)
    with pytest.raises(LabError, match="make room"):
        ledger.start(command(), 1)
    assert starts(ledger.path) == {}
    ledger.close()


def test_a_second_process_cannot_hold_the_same_ledger(ledger):
    code = f"from pathlib import Path; from instruments.ledger import Ledger; Ledger(Path({str(ledger.path)!r}))"
    second = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "is held by process" in second.stderr


def test_a_ledger_can_be_taken_over_when_its_process_was_killed(tmp_path):
    path = tmp_path / "ledger.sqlite"
    code = (
        "import os, signal; from pathlib import Path; from instruments.ledger import Ledger\n"
        "from instruments.messages import Command\n"
        f"ledger = Ledger(Path({str(path)!r}), min_free_bytes=0)\n"
        "ledger.start(Command(command_id='c1', experiment='e', step=0, capability='a', sample='s'), 1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert living_holder(lock_path(path)) is None
    ledger = Ledger(path, min_free_bytes=0)
    assert [c.command_id for c in ledger.unfinished()] == ["c1"]
    assert living_holder(lock_path(path)) is not None
    ledger.close()


def test_a_file_that_is_no_ledger_is_refused_with_advice(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(LabError, match="restore or repair"):
        Ledger(tmp_path / "ledger.sqlite")


names = st.sampled_from(["c1", "c2", "c3"])


class LedgerMachine(RuleBasedStateMachine):
    """Any order of calls and restarts: no command starts twice, no report is lost."""

    @initialize()
    def open(self):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.ledger = Ledger(self.path, min_free_bytes=0)
        self.started: Counter[str] = Counter()
        self.reported: set[str] = set()

    @rule(name=names)
    def receive(self, name):
        self.ledger.receive(command(name), 1)

    @rule(name=names)
    def start(self, name):
        try:
            self.ledger.start(command(name), 1)
        except LabError:
            assert self.started[name] == 1
        else:
            self.started[name] += 1

    @rule(name=names)
    def finish(self, name):
        try:
            self.ledger.finish(report(name, points=3))
        except LabError:
            assert not self.started[name] or name in self.reported
        else:
            self.reported.add(name)

    @rule(name=names)
    def acknowledge(self, name):
        self.ledger.acknowledge(name)

    @rule()
    def restart(self):
        self.ledger.close()
        self.ledger = Ledger(self.path, min_free_bytes=0)

    @invariant()
    def at_most_once_and_nothing_lost(self):
        assert all(n <= 1 for n in self.started.values())
        assert all(n <= 1 for n in starts(self.path).values())
        for name in self.reported:
            assert self.ledger.report(name) is not None

    def teardown(self):
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=8, stateful_step_count=10, deadline=None)
