"""Instruments that share a process share their fsyncs, and a power cut costs none of them anything."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from instruments.arrays import from_array
from instruments.errors import LabError
from instruments.group_log import MAX_BYTES, GroupLog, Record, records
from instruments.ledger import Ledger, starts
from instruments.messages import Command, Report


def command(name: str) -> Command:
    return Command(command_id=name, experiment="E1", step=0, capability="act", sample="E1", parameters={"x": 0.5})


def report(name: str) -> Report:
    header, frame = from_array("pattern", np.arange(5.0))
    return Report(command_id=name, status="ok", readings={"y": 1.0}, arrays=(header,)).with_frames([frame])


class PowerCut:
    """Ledgers ``a`` and ``b`` of one process; ``happens`` leaves on disk what was made durable and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        self.log = GroupLog(self.folder / "pc")
        self.ledgers = {n: Ledger(self.path(n), min_free_bytes=0, instrument=n, log=self.log) for n in ("a", "b")}

    def path(self, name: str) -> Path:
        return self.folder / name / "ledger.sqlite"

    def end(self) -> None:
        for ledger in self.ledgers.values():
            ledger.close()
        self.log.close()

    def remember(self) -> None:
        """What would be left of the ledgers' files, of which nothing is durable from here on."""
        for name in self.ledgers:
            shutil.copytree(self.folder / name, self.folder.parent / f"{self.folder.name}-{name}", dirs_exist_ok=True)

    def happens(self) -> None:
        self.end()
        for name in ("a", "b"):
            shutil.rmtree(self.folder / name)
            shutil.move(self.folder.parent / f"{self.folder.name}-{name}", self.folder / name)
        self.start()


@pytest.fixture
def cut(tmp_path):
    folder = tmp_path / "hosts"
    cut = PowerCut(folder)
    yield cut
    cut.end()


def test_what_was_started_and_done_is_known_after_a_power_cut(cut):
    cut.remember()
    cut.ledgers["a"].start(command("c1"), 1)
    cut.ledgers["a"].finish(report("c1"))
    cut.ledgers["a"].start(command("c2"), 1)
    cut.ledgers["b"].start(command("c3"), 1)
    cut.happens()
    a, b = cut.ledgers["a"], cut.ledgers["b"]
    found = a.report("c1")
    assert found == report("c1") and found is not None and list(found.array("pattern")) == [0, 1, 2, 3, 4]
    assert [c.command_id for c in a.unfinished()] == ["c2"] and a.unacknowledged() == ["c1"]
    assert [c.command_id for c in b.unfinished()] == ["c3"] and b.find("c1") is None
    with pytest.raises(LabError, match="never started again"):
        a.start(command("c2"), 2)
    assert starts(cut.path("a")) == {"c1": 1, "c2": 1}


def test_what_is_known_already_is_not_changed_by_the_log(cut):
    a = cut.ledgers["a"]
    a.start(command("c1"), 1)
    a.finish(report("c1"))
    a.acknowledge("c1")
    a.flush()
    cut.end()
    cut.start()
    a = cut.ledgers["a"]
    assert a.unacknowledged() == [] and a.unfinished() == []
    assert a.report("c1") == report("c1") and starts(a.path) == {"c1": 1}


def test_an_epoch_and_a_stop_are_on_disk_without_the_log(cut):
    cut.ledgers["a"].raise_epoch(7)
    cut.ledgers["a"].latch("smoke")
    cut.remember()
    cut.happens()
    assert (cut.ledgers["a"].epoch, cut.ledgers["a"].stop_reason) == (7, "smoke")


def test_a_torn_record_and_what_follows_it_count_for_nothing(cut):
    cut.remember()
    cut.ledgers["a"].start(command("c1"), 1)
    whole = cut.log.file.stat().st_size
    cut.ledgers["a"].start(command("c2"), 1)
    file = cut.log.file
    for cut_off in (whole + 1, whole + 20, file.stat().st_size - 1):
        copy = cut.folder.parent / "copy" / file.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes()[:cut_off])
        assert [frames[0] for _, frames in records(copy.parent)] == [command("c1").model_dump_json().encode()]
    damaged = bytearray(file.read_bytes())
    damaged[20] ^= 1
    copy.write_bytes(damaged)
    assert list(records(copy.parent)) == []


def test_a_disk_that_refuses_the_log_leaves_no_trace_of_a_start(cut, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    a, size = cut.ledgers["a"], cut.log.file.stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(OSError, match="No space left"):
            a.start(command("c1"), 1)
    assert a.find("c1") is None and cut.log.file.stat().st_size == size
    a.start(command("c1"), 1)
    assert starts(a.path) == {"c1": 1}


def test_those_who_wait_for_the_disk_share_the_next_fsync(cut, monkeypatch):
    real, calls, gate = os.fdatasync, [], threading.Event()

    def slow(descriptor):
        calls.append(descriptor)
        gate.wait(60)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    heads = [Record({"instrument": "a", "epoch": 1})] * 9
    threads = [threading.Thread(target=cut.log.append, args=(head,)) for head in heads]
    threads[0].start()
    while not calls:
        time.sleep(0.001)
    for thread in threads[1:]:
        thread.start()
    while len(cut.log._queue) < 8:
        time.sleep(0.001)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert len(calls) == 2
    assert len(list(records(cut.folder))) == 9


def test_a_long_file_is_left_and_deleted_once_the_ledgers_have_its_content(cut):
    first = cut.log.file
    cut.ledgers["a"].start(command("c1"), 1)
    cut.log.append(Record({"instrument": "b", "done": []}, [bytes(MAX_BYTES)]))
    cut.log.tidy()
    assert not first.exists() and cut.log.file != first
    cut.remember()
    cut.ledgers["b"].start(command("c2"), 1)
    cut.happens()
    assert starts(cut.path("a")) == {"c1": 1} and starts(cut.path("b")) == {"c2": 1}


def test_a_file_of_an_instrument_that_has_moved_away_is_kept_until_it_has_been_read(cut):
    cut.remember()
    cut.ledgers["b"].start(command("c1"), 1)
    cut.end()
    shutil.rmtree(cut.folder / "b")
    shutil.move(cut.folder.parent / f"{cut.folder.name}-b", cut.folder / "b")
    cut.log = GroupLog(cut.folder / "pc")
    cut.ledgers = {"a": Ledger(cut.path("a"), min_free_bytes=0, instrument="a", log=cut.log)}
    cut.log.tidy()
    moved = Ledger(cut.path("b"), min_free_bytes=0, instrument="b")
    assert [c.command_id for c in moved.unfinished()] == ["c1"]
    moved.close()


def test_two_processes_cannot_write_to_one_log(cut):
    with pytest.raises(LabError, match="is held by"):
        GroupLog(cut.folder / "pc")
