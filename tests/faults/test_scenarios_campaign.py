"""The failure scenarios of a laboratory, on whole campaigns with real processes: E1, E2, E6, E7, E8, E10.

What is asserted is read from the journal file, the hosts' ledgers and the instruments' own books (``evidence``).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.evidence import book, check_promises, journal, ledger, rows
from tests.faults.lab import ROOT, Bench
from tests.faults.netlab import far_lab, until
from tests.faults.test_estop import amid_a_firing, said
from tests.faults.test_signals import wait_until
from tests.faults.victim import host_pid


def acts(bench: Bench) -> list[str]:
    return book(bench.folder / "fired.jsonl")


def finished(bench: Bench, observations: int = 3) -> None:
    check_promises(bench.run.path, acts(bench))
    assert len(journal(bench.run.path, "campaign_finished")) == 1
    assert len(journal(bench.run.path, "experiment_finished")) == observations


def test_e1_a_controller_killed_amid_an_act_adopts_what_came_of_it(tmp_path):
    """E1. SIGKILL the controller while an instrument acts: the act ends, its report waits, the next controller takes it
    and goes on; nothing acknowledged is lost, nothing is sent twice."""
    bench = Bench(tmp_path, seconds=0.7)
    controller = bench.start()
    wait_until(lambda: acts(bench))
    controller.kill()
    controller.communicate()
    (first,) = acts(bench)
    wait_until(lambda: ledger(bench.run.lab / "hosts" / "kiln" / "ledger.sqlite")[first]["state"] == "done")
    bench.resume_until_finished()
    finished(bench)
    assert [e["status"] for e in journal(bench.run.path, "command_reported") if e["command_id"] == first] == ["ok"]


@pytest.mark.slow
def test_e1_a_controller_that_is_frozen_and_thaws_goes_on(tmp_path):
    """E1. SIGSTOP the controller for longer than its hosts wait for a word, then SIGCONT: nothing happens twice."""
    bench = Bench(tmp_path, seconds=0.3)
    controller = bench.start()
    wait_until(lambda: acts(bench))
    controller.send_signal(signal.SIGSTOP)
    time.sleep(5.0)
    controller.send_signal(signal.SIGCONT)
    _, err = controller.communicate(timeout=120)
    assert controller.returncode == 0, err
    finished(bench)


@pytest.mark.slow
def test_e1_a_host_that_is_frozen_and_thaws_keeps_its_work(tmp_path):
    """E1. SIGSTOP a host amid an act until it counts as lost, then SIGCONT: it finishes what it was doing, once."""
    bench = Bench(tmp_path, seconds=0.5)
    controller = bench.start()
    wait_until(lambda: acts(bench))
    pid = host_pid(bench.run.path, "kiln")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    time.sleep(5.0)
    os.kill(pid, signal.SIGCONT)
    _, err = controller.communicate(timeout=120)
    assert controller.returncode == 0, err
    finished(bench)


@pytest.mark.slow
def test_e2_a_driver_that_dies_after_acting_is_never_asked_to_act_again_without_a_persons_word(tmp_path):
    """E2. Acted, died, told nobody, no sensor: the outcome is unknown, the sample waits, the others go on; a person's
    verdict ends it."""
    bench = Bench(tmp_path, kiln="MortalKiln")
    code, _, err = bench.finish()
    assert code == 5, err
    (unknown,) = journal(bench.run.path, "outcome_unknown")
    assert acts(bench)[0] == unknown["command_id"]
    assert ledger(bench.run.lab / "hosts" / "kiln" / "ledger.sqlite")[unknown["command_id"]]["state"] == "started"
    before = acts(bench)
    code, _, _ = bench.finish()
    assert code == 5, "asking again does not answer it"
    assert acts(bench) == before
    verdict = (
        "reconcile",
        bench.run.path,
        unknown["command_id"],
        "done",
        "--reading",
        "shrinkage_pct=10.5",
        "--by",
        "Ada",
    )
    code, _, err = said(*verdict)
    assert code == 0, err
    bench.resume_until_finished(1)
    finished(bench)


def test_e6_what_cannot_be_a_reading_is_kept_in_the_journal_and_reaches_no_model(tmp_path):
    """E6. NaN, infinities, an impossible number, a missing one: each is a failed measurement with its reason; the raw
    reading stays in the journal; the campaign goes on."""
    bench = Bench(tmp_path, gauge="LyingGauge", budget=7)
    code, _, err = bench.finish()
    assert code == 0, err
    finished(bench, 7)
    ended = {e["experiment"]: e for e in journal(bench.run.path, "experiment_finished")}
    assert [ended[f"E{n:04}"]["outcome"] for n in range(1, 8)] == ["failed_measurement"] * 5 + ["measured"] * 2
    assert all("strength_MPa" not in ended[f"E{n:04}"]["values"] for n in range(1, 6)), "no model sees it"
    raw = [e["readings"].get("strength_MPa") for e in journal(bench.run.path, "command_reported")]
    assert {"1000000000.0"} <= {str(reading) for reading in raw}, "the raw reading is kept"
    for number, word in enumerate(("nan", "inf", "inf", "bounds", "not reported"), start=1):
        assert word in ended[f"E{number:04}"]["reason"].lower(), ended[f"E{number:04}"]


@pytest.mark.slow
def test_e5_what_no_report_can_say_is_a_fault_of_its_instrument_and_the_sample_is_measured_again(tmp_path):
    """E5. A driver that answers words, ragged arrays, another type or far too much: each is a fault with its reason,
    and none of it a reading; a new attempt measures the sample."""
    bench = Bench(tmp_path, gauge="MumblingGauge", budget=4)
    code, _, err = bench.finish()
    assert code == 0, err
    faults = [e["message"] for e in journal(bench.run.path, "command_reported") if e["status"] == "fault"]
    expected = ("could not convert string to float", "different lengths", "instead of an Outcome", "bytes of arrays")
    assert len(faults) == len(expected)
    for message, words in zip(faults, expected):
        assert words in message
    assert {e["outcome"] for e in journal(bench.run.path, "experiment_finished")} == {"measured"}
    finished(bench, 4)


@contextmanager
def small_disk(folder: Path, megabytes: int):
    """A file system of its own for ``folder``; skips where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system may be mounted here ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Write until nothing more goes in."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as out:
        for size in (1 << 20, 4096, 1):
            try:
                while out.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return file


@pytest.mark.slow
def test_e7_a_full_disk_stops_the_campaign_before_it_acts_and_loses_nothing(tmp_path):
    """E7. Really full (a tmpfs): no new act without room for its order and its report; what is under way is kept by
    its host; with room again the campaign goes on."""
    with small_disk(tmp_path / "disk", 64):
        bench = Bench(tmp_path / "disk", seconds=0.5, budget=4)
        controller = bench.start()
        wait_until(lambda: acts(bench))
        filler = fill(tmp_path / "disk")
        _, err = controller.communicate(timeout=180)
        assert controller.returncode not in (0, -signal.SIGKILL), err
        assert "room" in err or "full" in err or "disk" in err, err
        acted = acts(bench)
        filler.unlink()
        check_promises(bench.run.path, acted)
        bench.resume_until_finished()
        finished(bench, 4)


SHIM = """
import time
_real, _begun = time.time, time.monotonic()
def _jumping():
    elapsed = time.monotonic() - _begun
    return _real() + (0 if elapsed < 1 else 3 * 86400 if elapsed < 3 else -30 * 86400)
time.time = _jumping
"""


@pytest.mark.slow
def test_e8_clocks_that_jump_by_days_decide_nothing(tmp_path):
    """E8. In every process the wall clock jumps three days ahead, then a month back: leases, time-outs, order and
    decisions do not care; only the annotations show it."""
    calm = Bench(tmp_path / "calm")
    assert calm.finish()[0] == 0
    bench = Bench(tmp_path / "jumping", seconds=0.7)
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim" / "sitecustomize.py").write_text(SHIM)
    paths = os.pathsep.join([str(tmp_path / "shim"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.victim", str(bench.run.path), "nobody", "after", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    finished(bench)
    wall = [row[0] for row in rows(bench.run.journal, "SELECT wall FROM events ORDER BY seq")]
    assert max(wall) - min(wall) > 2 * 86400 and wall != sorted(wall), "the clock did jump"
    assert bench.choices() == calm.choices()
    assert not journal(bench.run.path, "outcome_unknown", "instrument_retired", "stop_requested")


def test_e10_a_stop_passes_a_jammed_work_channel_and_says_who_did_not_hear_it(tmp_path):
    """E10. The stop has its own channel: with the work channel jammed it reaches the driver amid its act, and is
    latched. Who does not answer is missing from the table."""

    async def scene(lab):
        working = asyncio.create_task(lab.dispatcher.execute("far", lab.command("e1", sleep_s=60)))
        await until(lab.acts)
        lab.network.channels["work"].stall()
        assert set(await lab.dispatcher.stop_all("smoke")) == {"far", "near"}
        stopped = tmp_path / "hosts" / "far" / "ledger.sqlite"
        await until(lambda: rows(stopped, "SELECT value FROM facts WHERE name = 'stop'") == [('"smoke"',)])
        assert lab.acts() == [lab.command("e1").command_id]
        lab.network.channels["work"].flow()
        report = await working
        assert (report.status, report.stopped) == ("failed", True)
        for name in lab.names:
            await lab.dispatcher.reset(name, who="Ada", reason="it was steam")
        lab.part()
        assert set(await lab.dispatcher.stop_all("again", timeout_s=2.0)) == {"near"}, "far has not acknowledged"

    async def run():
        async with far_lab(tmp_path) as lab, asyncio.timeout(200):
            await scene(lab)

    asyncio.run(run())


@pytest.mark.slow
def test_e10_a_stop_of_a_campaign_is_latched_in_the_journal_with_who_acknowledged_it(tmp_path):
    """E10. Latched before anything else, with the table; nothing acts until a person has reset it."""
    bench, controller = amid_a_firing(tmp_path)
    assert said("stop", bench.run.path, "--by", "Ada", "--reason", "smoke")[0] == 0
    controller.communicate(timeout=180)
    (latched,) = journal(bench.run.path, "stop_latched")
    assert "Ada" in str(latched) and "smoke" in str(latched)
    assert "kiln" in str(journal(bench.run.path, "stop_acknowledged")[-1])
    before = acts(bench)
    assert said("resume", bench.run.path, "--quiet")[0] == 5
    assert acts(bench) == before
    check_promises(bench.run.path, before)
