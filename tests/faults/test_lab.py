"""One lab, many campaigns: real controllers and hosts, killed, taken over, fenced and stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controller.labdir import LabDirectory
from controller.run import begin
from controller.rundir import RunDirectory
from instruments.last_word import read_last_word
from instruments.ledger import starts
from instruments.process import living_holder
from tests.faults.lab import CAMPAIGN, DEFAULTS, ROOT, SHELF
from tests.faults.test_estop import said
from tests.faults.test_signals import athanor, wait_until

LAB = """\
name: north
clock: simulated
timeout_s: 40
instruments:
  kiln: {{driver: "tests.faults.drivers:{kiln}", settings: {{bench: "{bench}"}}{more}}}
  gauge: {{driver: "tests.faults.drivers:Gauge"}}
"""


class SharedLab:
    """A lab's folder, and runs that use it."""

    def __init__(self, folder: Path, *, kiln: str = "GatedKiln", more: str = "", rest: str = "") -> None:
        self.folder, self.lab = folder, LabDirectory(folder / "north")
        self.lab.path.mkdir(parents=True)
        text = LAB.format(bench=folder, kiln=kiln, more=more)
        self.lab.file.write_text(text + rest)
        code, _, err = said("lab", "init", self.lab.path, "--observer", "bob")
        assert code == 0, err

    def run(self, name: str, budget: int = 3) -> RunDirectory:
        """Begin a run; nothing runs yet."""
        head, _, tail = CAMPAIGN.format(**{**DEFAULTS, "budget": budget, "bench": ""}).partition("lab:\n")
        file = self.folder / f"{name}.yaml"
        (self.folder / "shelf.csv").write_text(SHELF)
        file.write_text(f"{head}lab: north\ncompute: {{backend: local}}\n".replace("name: kiln", f"name: {name}"))
        assert "compute" in tail
        directory = RunDirectory(self.folder / name)
        begin(file, directory, seed=None, budget=None)
        return directory

    def fired(self) -> list[dict]:
        """The kiln's own book."""
        book = self.folder / "fired.jsonl"
        return [json.loads(line) for line in book.read_text().splitlines()] if book.exists() else []

    def close(self) -> None:
        """The kiln goes on firing until it is opened."""
        (self.folder / "closed").touch()

    def open(self) -> None:
        """The firing ends."""
        (self.folder / "closed").unlink(missing_ok=True)

    def host(self, name: str) -> int | None:
        """Process id of a host that lives."""
        holder = living_holder(self.lab.path / "hosts" / name / "ledger.sqlite.lock")
        return holder.pid if holder else None

    def check_nothing_physical_was_repeated(self) -> None:
        """From the ledgers and the kiln's book."""
        for ledger in self.lab.ledgers().values():
            assert set(starts(ledger).values()) <= {0, 1}
        samples = [line["sample"] for line in self.fired()]
        assert len(samples) == len(set(samples))


def resume(run: RunDirectory, *more: str) -> subprocess.Popen[str]:
    return athanor("resume", run.path, "--quiet", "--no-report", *more)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=240)
    return process.returncode, err


@pytest.mark.slow
def test_a_second_campaign_waits_its_turn_and_after_a_crash_both_end_without_a_step_done_twice(tmp_path):
    shared = SharedLab(tmp_path)
    one, two = shared.run("one"), shared.run("two")
    shared.close()
    first = resume(one)
    wait_until(shared.fired)
    code, err = finish(resume(two))
    assert code == 3
    assert re.search(rf"process {first.pid} on .* since .*, campaign one, run {re.escape(str(one.path))}, epoch 1", err)

    first.kill()
    finish(first)
    assert shared.host("kiln") is not None, "the host lives on, amid its firing"
    shared.open()
    code, err = finish(resume(two))
    assert code == 0, err
    assert len(two.load().observations) == 3
    code, err = finish(resume(one))
    assert code == 0, err
    assert len(one.load().observations) == 3
    shared.check_nothing_physical_was_repeated()
    assert len(shared.fired()) == 6
    assert [two.load().epoch, one.load().epoch] == [2, 3], "the epoch is the lab's, not the run's"
    for run in (one, two):
        code, _, err = said("replay", run.path, "--quiet")
        assert code == 0, err


@pytest.mark.slow
def test_another_campaign_takes_the_lab_over_and_the_first_one_goes_on_later(tmp_path):
    shared = SharedLab(tmp_path)
    one = shared.run("one")
    shared.close()
    first = resume(one)
    wait_until(shared.fired)
    file = tmp_path / "two.yaml"
    shared.run("two")
    shutil.rmtree(tmp_path / "two")
    second = athanor("run", file, "--dir", tmp_path / "two", "--quiet", "--no-report", "--takeover")
    wait_until(lambda: one.load().stopping)
    shared.open()
    code, err = finish(second)
    assert code == 0, err
    assert f"process {first.pid} has yielded" in err
    assert finish(first)[0] == 4
    code, err = finish(resume(one))
    assert code == 0, err
    shared.check_nothing_physical_was_repeated()


@pytest.mark.slow
def test_a_run_that_finds_the_lab_taken_leaves_no_directory_behind(tmp_path):
    shared = SharedLab(tmp_path)
    shared.close()
    first = resume(shared.run("one"))
    wait_until(shared.fired)
    code, _, err = said("run", tmp_path / "one.yaml", "--dir", tmp_path / "two", "--quiet")
    assert code == 3
    assert "--takeover" in err
    assert not (tmp_path / "two").exists()
    shared.open()
    first.send_signal(signal.SIGTERM)
    finish(first)


@pytest.mark.slow
def test_a_controller_whose_epoch_is_over_ends_and_says_who_has_the_lab_and_leaves_the_instruments_alone(tmp_path):
    shared = SharedLab(tmp_path)
    one = shared.run("one")
    shared.close()
    first = resume(one)
    wait_until(shared.fired)
    usurper = {"pid": 4711, "host": "elsewhere", "since": "now", "run": "/x", "campaign": "other", "epoch": 9}
    with shared.lab.lock.open("a") as file:
        file.write(json.dumps(usurper) + "\n")
    code, err = finish(first)
    assert code == 3
    assert "another controller has taken the lab (process 4711 on elsewhere" in err
    assert shared.host("kiln") is not None
    state = one.load()
    assert not state.unknown(), "what was under way is safe in its ledger"
    shared.open()
    code, err = finish(resume(one))
    assert code == 0, err
    assert one.load().epoch == 10
    shared.check_nothing_physical_was_repeated()


@pytest.mark.slow
def test_an_idle_lab_that_is_stopped_takes_no_campaign_until_it_is_reset(tmp_path):
    shared = SharedLab(tmp_path)
    code, out, err = said("stop", shared.lab.path, "--by", "Ada", "--reason", "smoke", "--json")
    assert (code, json.loads(out)["latched"]) == (0, True), err
    one = shared.run("one")
    code, err = finish(resume(one))
    assert code == 5
    assert "an emergency stop of the lab is latched" in err
    assert not shared.fired()
    code, out, err = said("reset", shared.lab.path, "--by", "Ada", "--reason", "steam")
    assert code == 0, err
    code, err = finish(resume(one))
    assert code == 0, err
    assert shared.lab.stop() is None
    assert said("reset", shared.lab.path, "--by", "Ada", "--reason", "again")[0] == 3


@pytest.mark.slow
def test_a_stop_by_the_labs_folder_reaches_the_campaign_that_runs_and_holds_every_other_one(tmp_path):
    shared = SharedLab(tmp_path)
    one, two = shared.run("one"), shared.run("two")
    shared.close()
    first = resume(one)
    wait_until(shared.fired)
    code, out, err = said("stop", shared.lab.path, "--by", "Ada", "--reason", "smoke", "--json")
    answer = json.loads(out)
    assert (code, answer["through"], answer["latched"]) == (0, "controller", True), err
    assert finish(first)[0] == 5
    assert one.load().latched is not None
    shared.open()
    code, err = finish(resume(two))
    assert code == 5, "the lab is stopped, not the run alone"
    code, _, err = said("reset", shared.lab.path, "--by", "Ada", "--reason", "steam")
    assert code == 5
    (command,) = one.load().unknown()
    assert command.order.command_id in err
    assert said("reconcile", one.path, command.order.command_id, "discard", "--by", "Ada")[0] == 0
    code, _, err = said("reset", shared.lab.path, "--by", "Ada", "--reason", "steam")
    assert code == 0, err
    assert one.load().latched is None
    code, err = finish(resume(two))
    assert code == 0, err
    code, err = finish(resume(one))
    assert code == 0, err


def test_a_picture_of_the_lab_is_had_with_an_observers_key_from_the_living_controller_else_from_the_files(tmp_path):
    shared = SharedLab(tmp_path)
    shared.close()
    first = resume(shared.run("one", budget=3))
    wait_until(shared.fired)
    code, out, err = said("lab", "status", shared.lab.path, "--json", "--key", "bob")
    assert code == 0, err
    seen = json.loads(out)
    assert (seen["source"], seen["holder"]["pid"], seen["holder"]["campaign"]) == ("controller", first.pid, "one")
    assert set(seen["instruments"]) == {"kiln", "gauge"}
    assert seen["instruments"]["kiln"]["connected"]
    code, out, err = said("lab", "status", shared.lab.path, "--key", "gauge")
    assert code == 2, "a host's key shows nothing"
    shared.open()
    first.send_signal(signal.SIGTERM)
    finish(first)
    code, out, err = said("lab", "status", shared.lab.path, "--json")
    seen = json.loads(out)
    assert (seen["source"], seen["holder"]) == ("files", None)
    assert not seen["instruments"]["kiln"]["host_lives"]


@pytest.mark.slow
def test_a_host_that_is_started_by_hand_elsewhere_serves_the_lab_within_its_envelope_and_outlives_campaigns(tmp_path):
    shared = SharedLab(tmp_path, more=", remote: true", rest="safety: {limits: {fire.x: {high: 0.7}}}\n")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "keys").mkdir(parents=True, mode=0o700)
    address = "tcp://127.0.0.1:15570"
    shared.lab.file.write_text(shared.lab.file.read_text() + f"listen: {address}\n")
    config = elsewhere / "kiln.json"
    code, _, err = said("lab", "host-config", shared.lab.path, "kiln", "--controller", address, "--out", config)
    assert code == 0, err
    for name in ("kiln.key", "registry.json"):
        shutil.copy(shared.lab.keys / name, elsewhere / "keys" / name)
    host = subprocess.Popen(
        [sys.executable, "-m", "instruments.host", "--config", str(config)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        for name in ("one", "two"):
            run = shared.run(name)
            code, err = finish(resume(run))
            assert code == 0, err
            state = run.load()
            xs = [float(e.candidate.parameters["x"]) for e in state.experiments.values()]
            assert len(state.observations) == 3
            assert [line["x"] for line in shared.fired() if line["command_id"].startswith(state.started.run_id)] == [
                x for x in xs if x <= 0.7
            ]
        assert host.poll() is None, "the campaign's end is not its end"
        assert (elsewhere / "kiln" / "ledger.sqlite").exists()
    finally:
        host.terminate()
        host.wait(30)


@pytest.mark.slow
def test_a_lab_file_that_was_made_stricter_counts_at_the_next_resume_also_for_hosts_that_live(tmp_path):
    shared = SharedLab(tmp_path)
    one = shared.run("one", budget=3)
    shared.close()
    first = resume(one)
    wait_until(shared.fired)
    first.kill()
    finish(first)
    before = len(shared.fired())
    shared.open()
    shared.lab.file.write_text(shared.lab.file.read_text() + "safety: {limits: {fire.x: {high: 0.3}}}\n")
    code, err = finish(resume(one))
    assert code == 0, err
    assert '"fire.x"' in (shared.lab.path / "hosts" / "kiln.json").read_text()
    assert all(line["x"] <= 0.3 for line in shared.fired()[before + 1 :]), "one may have been under way"
    kinds = [event.kind for event in _events(one)]
    assert kinds.count("lab_changed") == 1
    code, _, err = said("replay", one.path, "--quiet")
    assert code == 0, err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("policies: {unknown: {fire: repeat}}\n", "fire does harm when it is done twice"),
        ("policies: {unknown: {guage: repeat}}\n", "guage is offered by no instrument"),
        ("safety: {allowed: {fier.x: [a]}}\n", "no instrument offers what fier.x names"),
    ],
)
def test_a_policy_or_a_limit_that_would_do_harm_or_nothing_is_a_mistake_at_the_start(tmp_path, rest, words):
    shared = SharedLab(tmp_path, rest=rest)
    code, err = finish(resume(shared.run("one")))
    assert code == 2
    assert words in err
    assert not shared.fired()


def test_a_person_sees_all_evidence_and_gives_a_verdict_while_the_controller_goes_on(tmp_path):
    shared = SharedLab(tmp_path, kiln="TalkativeKiln")
    one = shared.run("one", budget=3)
    shared.close()
    first = resume(one)
    kiln = shared.lab.path / "hosts" / "kiln"
    wait_until(lambda: shared.fired() and {"progress", "facts"} <= set(read_last_word(kiln)))
    pid = shared.host("kiln")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: one.load().unknown())
    code, out, err = said("reconcile", one.path)
    assert code == 0, err
    assert "fire x = " in out
    assert "ledger    started: " in out
    assert "progress  50% hot (" in out
    assert "temperature_C = 900" in out
    assert "files     /photos/kiln.jpg" in out
    (command,) = one.load().unknown()
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"it is whole")
    verdict = (
        "reconcile",
        one.path,
        command.order.command_id,
        "done",
        "--by",
        "Ada",
        "--reading",
        "shrinkage_pct=10.5",
    )
    code, out, err = said(*verdict, "--evidence", photo, "--evidence", "I held it")
    assert code == 0, err
    assert "reconciled: " in out
    shared.open()
    code, err = finish(first)
    assert code == 0, err
    (event,) = [event for event in _events(one) if event.kind == "reconciled"]
    assert [exhibit.text or exhibit.sha256[:12] for exhibit in event.evidence] == ["d2d05ed12363", "I held it"]
    assert len(one.load().observations) == 3
    shared.check_nothing_physical_was_repeated()


def _events(run: RunDirectory) -> list:
    from controller.journal import Journal

    journal = Journal(run.journal, readonly=True)
    events = [event for _, _, event in journal.read()]
    journal.close()
    return events
