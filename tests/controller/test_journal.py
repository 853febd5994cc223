from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap

import pytest

from controller import events as ev
from controller.errors import StorageError
from controller.journal import Journal


def note(number: int) -> ev.Event:
    return ev.DoorRefused(instrument="x", reason=str(number))


def test_what_is_committed_is_read_back_in_order(tmp_path):
    journal = Journal(tmp_path / "j", create=True)
    for number in range(5):
        journal.stage([note(number)])
    journal.commit()
    assert [e.reason for _, _, e in Journal(tmp_path / "j", readonly=True).read()] == ["0", "1", "2", "3", "4"]


def test_what_is_only_staged_is_not_durable(tmp_path):
    journal = Journal(tmp_path / "j", create=True)
    journal.stage([note(1)])
    assert list(Journal(tmp_path / "j", readonly=True).read()) == []


def test_numbers_that_are_not_numbers_survive(tmp_path):
    journal = Journal(tmp_path / "j", create=True)
    journal.stage([ev.CommandReported(command_id="c", status="ok", readings={"a": float("nan"), "b": float("-inf")})])
    journal.commit()
    ((_, _, event),) = journal.read()
    assert event.readings["a"] != event.readings["a"]
    assert event.readings["b"] == float("-inf")


def test_two_writers_cannot_both_write_the_same_version(tmp_path):
    first = Journal(tmp_path / "j", create=True)
    second = Journal(tmp_path / "j")
    first.stage([note(1)])
    first.commit()
    second.stage([note(2)])
    with pytest.raises(StorageError):
        second.commit()


def test_a_changed_event_shows(tmp_path):
    journal = Journal(tmp_path / "j", create=True)
    journal.stage([note(number) for number in range(3)])
    journal.commit()
    assert journal.verify() == 3
    journal.close()
    with sqlite3.connect(tmp_path / "j") as db:
        db.execute("UPDATE events SET body = replace(body, '1', '7') WHERE seq = 2")
    db.close()
    with pytest.raises(StorageError, match="event 2 was changed"):
        Journal(tmp_path / "j").verify()


def test_a_full_disk_is_said_clearly_and_loses_nothing(tmp_path):
    journal = Journal(tmp_path / "j", create=True)
    journal.stage([note(1)])
    journal.commit()
    journal._db.execute("PRAGMA max_page_count = 8")  # SQLite's own way of having no more room
    journal.stage([ev.DoorRefused(instrument="x", reason="long " * 200 + str(number)) for number in range(100)])
    with pytest.raises(StorageError, match="free some space, then `athanor resume`"):
        journal.commit()
    journal._db.execute("PRAGMA max_page_count = 100000")
    journal.commit()
    assert journal.verify() == sum(1 for _ in journal.read()) > 1


def test_what_is_no_journal_is_refused_with_advice(tmp_path):
    (tmp_path / "j").write_bytes(b"this is a letter to my aunt, and not a database" * 100)
    with pytest.raises(StorageError, match="not a journal"):
        Journal(tmp_path / "j")
    with pytest.raises(StorageError, match="no journal here"):
        Journal(tmp_path / "missing")


def test_an_array_is_found_by_its_digest(tmp_path):
    journal = Journal(tmp_path / "j", create=True)
    digest = journal.stage_blob(b"\1\2\3\4\5\6\7\10", "float64", (1,))
    journal.commit()
    assert journal.blob(digest) == (b"\1\2\3\4\5\6\7\10", "float64", (1,))
    with pytest.raises(KeyError):
        journal.blob("0" * 64)


def test_a_kill_during_writing_loses_nothing_that_was_acknowledged(tmp_path):
    program = textwrap.dedent(
        """
        import sys, pathlib
        from controller import events as ev
        from controller.journal import Journal
        journal = Journal(pathlib.Path(sys.argv[1]), create=True)
        number = 0
        while True:
            number += 1
            journal.stage([ev.DoorRefused(instrument="x", reason=str(number)) for _ in range(3)])
            journal.commit()
            print(number, flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "j")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.kill()
    rest, _ = process.communicate()
    acknowledged = max([acknowledged, *(int(line) for line in rest.split("\n")[:-1] if line)])
    journal = Journal(tmp_path / "j")
    reasons = [int(e.reason) for _, _, e in journal.read()]
    assert reasons == [n for n in range(1, reasons[-1] + 1) for _ in range(3)], "torn or duplicated batches"
    assert reasons[-1] >= acknowledged
    assert journal.verify() == len(reasons)
