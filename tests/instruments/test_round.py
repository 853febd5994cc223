"""Prompt drivers: no thread in between, and still nothing is done before its start is on disk."""

from __future__ import annotations

import os

import pytest

from instruments.driver import Outcome
from instruments.group_log import GroupLog
from instruments.ledger import Ledger, starts
from instruments.round import Round
from instruments.worker import Ended, NotStarted, Ready, Started, Worker
from tests.instruments.test_worker import Driver, command


class Prompt(Driver):
    prompt = True


class Process:
    """Instruments ``a`` and ``b`` with prompt drivers, and what they told, in order: (instrument, event)."""

    def __init__(self, folder, clock):
        self.log, self.clock = GroupLog(folder / "pc"), clock
        self.round = Round(self.log, clock)
        self.told = []
        self.ledgers, self.workers, self.drivers = {}, {}, {}
        for name in ("a", "b"):
            path = folder / name / "ledger.sqlite"
            driver = self.drivers[name] = Prompt()
            ledger = self.ledgers[name] = Ledger(path, min_free_bytes=0, instrument=name, log=self.log)
            self.workers[name] = Worker(
                lambda driver=driver: driver,
                ledger,
                lambda event, name=name: self.told.append((name, event)),
                may_start=lambda epoch: "",
                round=self.round,
            )
            self.workers[name].start()
            while not any(isinstance(event, Ready) for who, event in self.told if who == name):
                pass
        self.told.clear()

    def submit(self, name, *ids):
        self.workers[name].submit([command(each) for each in ids], 1)

    def heard(self, kind):
        """Ids of the commands that were told of in an event of this kind."""
        found = [event for _, event in self.told if isinstance(event, kind)]
        return [event.report.command_id if isinstance(event, Ended) else event.command_id for event in found]

    def close(self):
        for worker in self.workers.values():
            worker.end()
            assert worker.join(5)
        for ledger in self.ledgers.values():
            ledger.close()
        self.log.close()


@pytest.fixture
def process(tmp_path):
    now = [100.0]
    process = Process(tmp_path, lambda: now[0])
    process.now = now
    yield process
    process.close()


@pytest.fixture
def fsyncs(monkeypatch):
    real, calls = os.fdatasync, []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: calls.append(descriptor) or real(descriptor))
    return calls


def test_a_start_is_on_disk_before_the_act_and_a_report_before_it_is_told(process):
    seen, ledger = [], process.ledgers["a"]
    process.drivers["a"].act = lambda job: seen.append(starts(ledger.path)) or Outcome("ok", {"y": 1.0})
    process.submit("a", "c1")
    assert seen == []
    process.round.turn()
    assert seen == [{"c1": 1}] and process.heard(Ended) == []
    process.round.turn()
    assert process.heard(Ended) == ["c1"] and ledger.report("c1") is not None


def test_all_that_begins_and_ends_in_a_turn_is_written_at_once(process, fsyncs):
    for name, each in (("a", "c1"), ("b", "c2")):
        process.submit(name, each)
    process.round.turn()
    assert len(fsyncs) == 1 and process.heard(Started) == ["c1", "c2"]
    process.submit("a", "c3")
    process.round.turn()
    assert len(fsyncs) == 2 and process.heard(Ended) == ["c1", "c2"] and process.heard(Started)[2:] == ["c3"]


def test_an_instrument_does_one_act_after_the_other(process):
    process.submit("a", "c1")
    process.submit("a", "c2")
    process.round.turn()
    assert process.drivers["a"].acted == ["c1"]
    process.round.turn()
    assert process.drivers["a"].acted == ["c1", "c2"] and process.heard(Ended) == ["c1"]


def test_what_is_stopped_before_its_turn_does_not_start(process):
    process.submit("a", "c1")
    process.submit("b", "c2")
    process.workers["a"].stop()
    process.round.turn()
    assert process.heard(NotStarted) == ["c1"] and process.drivers["a"].acted == []
    assert process.drivers["b"].acted == ["c2"] and starts(process.ledgers["a"].path) == {}


def test_what_is_stopped_between_its_start_and_its_act_is_untouched(process):
    def act(job):
        process.workers["b"].stop()
        return Outcome("ok")

    process.drivers["a"].act = act
    process.submit("a", "c1")
    process.submit("b", "c2")
    process.round.turn()
    process.round.turn()
    statuses = {event.report.command_id: event.report.status for _, event in process.told if isinstance(event, Ended)}
    assert statuses == {"c1": "ok", "c2": "untouched"} and process.drivers["b"].acted == []


def test_a_disk_that_is_full_starts_nothing_and_forgets_no_report(process, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    process.submit("a", "c1")
    process.round.turn()
    process.submit("b", "c2")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        process.round.turn()
        assert process.heard(NotStarted) == ["c2"] and process.drivers["b"].acted == []
        assert [event.stored for _, event in process.told if isinstance(event, Ended)] == [False]
        process.round.turn()  # not at once again
        process.now[0] += 10
        process.round.turn()
    assert [event.stored for _, event in process.told if isinstance(event, Ended)] == [False]
    process.now[0] += 10
    assert process.round.due <= process.now[0]
    process.round.turn()
    assert [event.stored for _, event in process.told if isinstance(event, Ended)] == [False, True]
    assert process.ledgers["a"].report("c1") is not None and process.round.due > 1e9


def test_an_act_behind_a_report_that_cannot_be_stored_waits(process, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    process.submit("a", "c1")
    process.round.turn()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        process.round.turn()
    process.submit("a", "c2")
    process.round.turn()
    assert process.drivers["a"].acted == ["c1"] and process.heard(NotStarted) == []
    process.now[0] += 10
    process.round.turn()
    assert process.drivers["a"].acted == ["c1", "c2"]
