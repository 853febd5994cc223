"""The judge of the kill points can see: each wrong that is done to a sound campaign's files is found."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.faults import witness

FIRED, GAUGED = {"shrinkage_pct": 10.5}, {"strength_MPa": 97.25}


class Files:
    """The files of a campaign of one experiment, as they must be; tests spoil them before they are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal: list[dict[str, Any]] = [
            {"kind": "choice_made", "choices": ["x"]},
            {"kind": "command_ordered", "command_id": "c1", "experiment": "E1"},
            {"kind": "command_reported", "command_id": "c1", "status": "ok", "readings": FIRED},
            {"kind": "command_ordered", "command_id": "c2", "experiment": "E1"},
            {"kind": "command_reported", "command_id": "c2", "status": "ok", "readings": GAUGED},
            {"kind": "experiment_finished", "experiment": "E1", "outcome": "measured", "reason": ""},
            {"kind": "campaign_finished"},
        ]
        self.ledgers = {"kiln": [self.row("c1", FIRED)], "gauge": [self.row("c2", GAUGED)]}
        self.books = {
            "kiln": [{"command": "c1", "sample": "E1", "readings": FIRED}],
            "gauge": [{"command": "c2", "sample": "E1", "readings": GAUGED}],
        }

    @staticmethod
    def row(command: str, readings: dict[str, float] | None, *, starts: int = 1, source: str = "driver") -> list[Any]:
        report = json.dumps({"status": "ok", "readings": readings, "source": source}) if readings else None
        return [command, "done" if readings else "started", starts, report, 1 if readings else 0]

    def examine(self, *, blind: bool = False, acting: list[str] | None = None) -> witness.Findings:
        undisturbed = ['["x"]', json.dumps({"kind": "experiment_finished", "experiment": "E1", **DONE})]
        self.write()
        return witness.examine(self.folder, budget=1, blind=blind, acting=acting or [], undisturbed=undisturbed)

    def write(self) -> None:
        for name in witness.INSTRUMENTS:
            (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(act) + "\n" for act in self.books[name]))
            path = self.folder / "run" / "lab" / "hosts" / name
            path.mkdir(parents=True)
            with sqlite3.connect(path / "ledger.sqlite") as database:
                database.execute("CREATE TABLE commands (command_id, state, starts, report, acknowledged)")
                database.executemany("INSERT INTO commands VALUES (?, ?, ?, ?, ?)", self.ledgers[name])
            database.close()
        with sqlite3.connect(self.folder / "run" / "journal.sqlite") as database:
            database.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body TEXT)")
            database.executemany("INSERT INTO events (body) VALUES (?)", [[json.dumps(e)] for e in self.journal])
        database.close()


DONE = {"outcome": "measured", "reason": ""}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_sound_campaign_is_found_sound(files):
    assert files.examine().all() == []


def test_a_report_that_the_journal_does_not_have_is_lost(files):
    del files.journal[2]
    found = files.examine()
    assert found.lost == ["c1: done in the ledger, nothing in the journal"]
    assert witness.acknowledged_and_not_kept(files.folder) == ["c1: acknowledged, not in the journal"]


def test_a_reading_that_changed_on_its_way_is_lost(files):
    files.journal[4]["readings"] = {"strength_MPa": 97.3}
    assert len(files.examine().lost) == 1


def test_an_act_of_which_the_ledger_does_not_know_is_lost(files):
    files.books["kiln"].append({"command": "c9", "sample": "E9", "readings": FIRED})
    assert files.examine().lost == ["c9: done at the kiln, not in its ledger"]


def test_an_experiment_that_fails_for_no_reason_of_its_own_is_lost(files):
    files.journal[5]["outcome"] = "failed_measurement"
    found = files.examine()
    assert len(found.lost) == 1
    assert len(found.otherwise) == 1


def test_a_second_start_and_a_second_act_are_found(files):
    files.ledgers["kiln"] = [files.row("c1", FIRED, starts=2)]
    files.books["gauge"] *= 2
    assert len(files.examine().twice) == 3  # one start too many, a command and a sample with two acts


def test_the_same_sample_fired_under_a_new_command_is_found(files):
    files.books["kiln"].append({"command": "c3", "sample": "E1", "readings": FIRED})
    assert "sample E1: 2 acts at the kiln" in files.examine().twice


def test_a_start_without_an_end_of_which_nobody_was_told_is_silent(files):
    files.ledgers["kiln"] = [files.row("c1", None)]
    found = files.examine(blind=True)
    assert "c1: started and never finished, and nobody was asked" in found.silent
    assert "c1: ok in the journal, not done in any ledger" in found.silent


def test_a_blind_instrument_that_claims_to_have_looked_is_silent(files):
    files.ledgers["kiln"] = [files.row("c1", FIRED, source="inspection")]
    assert files.examine(blind=True).silent == ["c1: reported by inspection of a blind instrument"]


def test_a_kill_amid_the_act_of_a_blind_instrument_must_show_as_unknown(files):
    assert files.examine(blind=True, acting=["c1"]).silent == [
        "c1: its host was killed amid the act, and it does not count as unknown"
    ]


def asked(files: Files, *events: dict[str, Any]) -> witness.Findings:
    files.ledgers["kiln"] = [files.row("c1", None)]
    files.journal[2:3] = [{"kind": "outcome_unknown", "command_id": "c1"}, *events]
    return files.examine(blind=True, acting=["c1"])


def test_an_unknown_outcome_with_a_verdict_of_the_person_is_in_order(files):
    verdict = {"kind": "reconciled", "command_id": "c1", "by": witness.PERSON, "verdict": "done"}
    assert asked(files, verdict, {"kind": "step_finished", "command_id": "c1"}).all() == []


def test_a_step_that_goes_on_before_the_verdict_is_silent(files):
    found = asked(files, {"kind": "step_finished", "command_id": "c1"})
    assert found.silent == ["c1: step_finished before any verdict", "c1: still unknown"]


def test_a_verdict_of_nobody_is_silent(files):
    found = asked(files, {"kind": "reconciled", "command_id": "c1", "by": "policy", "verdict": "repeat"})
    assert found.silent == ["c1: reconciled by policy"]


def test_an_unknown_outcome_where_a_sensor_could_tell_is_found(files):
    files.journal.insert(2, {"kind": "outcome_unknown", "command_id": "c1"})
    assert "an outcome is unknown although a sensor could tell" in files.examine().silent


def test_a_campaign_that_stands_still_is_found(files):
    del files.journal[-2:]
    assert len(files.examine().not_ended) == 1


def test_another_choice_is_found(files):
    files.journal[0]["choices"] = ["y"]
    assert len(files.examine().otherwise) == 1
