"""A snapshot is the fold of the first events, and counts only where it fits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from controller import events as ev
from controller import snapshot
from controller.journal import Journal
from controller.state import State, evolve
from tests.controller.pure_lab import PureLab, offer, step


def history(seed: int) -> list[ev.Event]:
    """A campaign with batches, holding times, faults, unknown outcomes, a lost instrument."""
    generator = random.Random(seed)
    recipes = [
        [step("fire", max_wait_h=40, temperature_C=generator.choice([900, 1000])), step("look")] for _ in range(12)
    ]
    lab = PureLab(
        recipes,
        {"kiln": [offer("fire", 3, ["temperature_C"])], "camera": [offer("look", idempotent=True)]},
        storage=6,
        scheduler="optimal",
    )
    for _ in range(60):
        lab.settle()
        if lab.state.finished:
            break
        lab.pass_time(generator.uniform(0.1, 2))
        if (problem := lab.state.scheduling) is not None and generator.random() < 0.7:
            works = [(job.experiment, job.works[0]) for job in problem.jobs[:2]]
            acts = [
                ev.Act(instrument=work.options[0][0], works=((name, work.step),), start_s=lab.state.now_s)
                for name, work in works
            ]
            lab.tell(ev.ScheduleMade(schedule=problem.number, acts=tuple(acts)))
        for name in lab.running():
            what = generator.random()
            if what < 0.1:
                lab.tell(ev.OutcomeUnknown(command_id=name, evidence="killed"))
            elif what < 0.2:
                lab.report(name, "fault")
            elif what < 0.8:
                lab.report(name, readings={"y": generator.random()})
        if generator.random() < 0.1:
            lab.tell(ev.OutOfService(instrument="camera", reason="silent"))
        elif generator.random() < 0.5 and lab.state.instruments["camera"].absent:
            lab.tell(ev.BackInService(instrument="camera"))
    return lab.events


def folded(events: list[ev.Event]) -> State:
    state = State()
    for event in events:
        state = evolve(state, event)
    return state


@pytest.mark.parametrize("seed", range(4))
def test_after_any_event_what_is_restored_is_what_was_folded_in_every_order_and_detail(seed):
    state, kinds = State(), set()
    for event in history(seed):
        state = evolve(state, event)
        packed = snapshot._pack(state)
        restored = snapshot._unpack({name.encode(): text for name, text in packed.items()})
        assert repr(restored) == repr(state)
        kinds.add(event.kind)
    assert {"schedule_made", "out_of_service", "outcome_unknown", "experiment_finished"} <= kinds


@pytest.fixture
def run(tmp_path):
    """A run directory whose journal has a history, and the history."""
    events = history(1)
    journal = Journal(tmp_path / "journal.sqlite", create=True)
    journal.stage(events[:100])
    journal.commit()
    assert snapshot.save(tmp_path) == 100
    journal.stage(events[100:])
    journal.commit()
    journal.close()
    return tmp_path, events


def restored(path: Path) -> tuple[State, int]:
    """The state, and how many events had to be read for it."""
    journal, read = Journal(path / "journal.sqlite", readonly=True), []
    real = journal.read
    journal.read = lambda after=0: (read.append(row) or row for row in real(after))  # type: ignore[method-assign]
    try:
        return snapshot.fold(path, journal), len(read)
    finally:
        journal.close()


def test_only_the_events_after_the_snapshot_are_read(run):
    path, events = run
    state, read = restored(path)
    assert (repr(state), read) == (repr(folded(events)), len(events) - 100)


def test_without_a_snapshot_everything_is_read(run):
    path, events = run
    (path / snapshot.FILE).unlink()
    state, read = restored(path)
    assert (repr(state), read) == (repr(folded(events)), len(events))


def damage_a_byte(path: Path) -> None:
    content = bytearray((path / snapshot.FILE).read_bytes())
    content[-20] ^= 1
    (path / snapshot.FILE).write_bytes(bytes(content))


def cut_it_short(path: Path) -> None:
    file = path / snapshot.FILE
    file.write_bytes(file.read_bytes()[:200])


def take_that_of_another_run(path: Path) -> None:
    other = path / "other"
    other.mkdir()
    journal = Journal(other / "journal.sqlite", create=True)
    journal.stage(history(2)[:100])
    journal.commit()
    journal.close()
    snapshot.save(other)
    (other / snapshot.FILE).replace(path / snapshot.FILE)


@pytest.mark.parametrize("harm", [damage_a_byte, cut_it_short, take_that_of_another_run])
def test_a_snapshot_that_does_not_fit_is_not_believed(run, harm):
    path, events = run
    harm(path)
    state, read = restored(path)
    assert (repr(state), read) == (repr(folded(events)), len(events))


def test_another_version_of_the_program_folds_anew(run, monkeypatch):
    path, events = run
    monkeypatch.setattr(snapshot, "_code", lambda: "another")
    assert restored(path)[1] == len(events)


def test_a_running_campaign_has_one_made_by_another_process(run, monkeypatch):
    path, _ = run
    (path / snapshot.FILE).unlink()
    monkeypatch.setattr(snapshot, "EVERY", 10)
    journal = Journal(path / "journal.sqlite")
    snapshots = snapshot.Snapshots(path, journal)
    snapshots.look()
    assert snapshots._process is None, "nothing new"
    journal.stage([ev.ClockRead(now_s=10**7)] * 10)
    journal.commit()
    snapshots.look()
    assert snapshots._process is not None and snapshots._process.wait(60) == 0
    assert restored(path)[1] == 0
    snapshots.close()
    journal.close()
