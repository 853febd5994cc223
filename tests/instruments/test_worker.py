"""The driver's thread: whatever a driver does, the ledger and the report say what happened."""

from __future__ import annotations

import math
import queue
import threading

import pytest

from instruments import worker
from instruments.driver import Capability, Job, Outcome
from instruments.ledger import Ledger, starts
from instruments.messages import Command
from instruments.worker import Broken, Ended, Facts, NotStarted, Ready, Started, Worker, plain, report_of


def command(name: str = "c1") -> Command:
    return Command(command_id=name, experiment="e", step=0, capability="act", sample="s")


class Driver:
    """Does what the test says."""

    def __init__(self, act=lambda job: Outcome("ok"), inspect=lambda job: None):
        self.act, self.look, self.acted, self.inspected = act, inspect, [], []
        self.stops = threading.Semaphore(0)

    def capabilities(self):
        return [Capability("act")]

    def run(self, job: Job, progress):
        self.acted.append(job.command_id)
        progress(0.5, "half")
        return self.act(job)

    def stop(self):
        self.stops.release()

    def health(self):
        return {}

    def inspect(self, job: Job):
        self.inspected.append(job.command_id)
        return self.look(job)


class Bench:
    """A worker with its ledger and the events that it told."""

    def __init__(self, path, driver, allowed="", stopped=False):
        self.ledger = Ledger(path, min_free_bytes=0)
        self.events: queue.Queue = queue.Queue()
        self.worker = Worker(
            lambda: driver, self.ledger, self.events.put, may_start=lambda epoch: allowed, stopped=stopped
        )
        self.worker.start()

    def next(self, kind):
        while True:
            event = self.events.get(timeout=60)
            if isinstance(event, kind):
                return event

    def report(self):
        return self.next(Ended).report

    def close(self):
        self.worker.end()
        assert self.worker.join(60)
        self.ledger.close()


@pytest.fixture
def bench(tmp_path):
    benches = []

    def make(driver, **settings):
        benches.append(Bench(tmp_path / "ledger.sqlite", driver, **settings))
        return benches[-1]

    yield make
    for one in benches:
        one.close()


def test_started_is_on_disk_before_the_driver_acts(bench, tmp_path):
    seen = []
    path = tmp_path / "ledger.sqlite"
    one = bench(Driver(lambda job: seen.append(starts(path)) or Outcome("ok")))
    one.worker.submit([command()], 1)
    assert one.report().status == "ok"
    assert seen == [{"c1": 1}]


def test_the_report_is_on_disk_before_it_is_told(bench):
    one = bench(Driver(lambda job: Outcome("failed", {"x": 1}, {"a": [1, 2]}, 2.0, "no phase")))
    one.worker.submit([command()], 1)
    told = one.report()
    assert one.ledger.report("c1") == told
    assert (told.status, told.readings, told.duration_s, told.message) == ("failed", {"x": 1.0}, 2.0, "no phase")


def test_an_exception_is_a_fault_with_its_text(bench):
    def act(job):
        raise ValueError("the pump is dry")

    one = bench(Driver(act))
    one.worker.submit([command()], 1)
    told = one.report()
    assert told.status == "fault"
    assert "ValueError: the pump is dry" in told.message
    one.worker.submit([command("c2")], 1)
    assert one.next(Started).command_id == "c2"


def test_a_driver_that_tries_to_exit_is_a_fault_too(bench):
    def act(job):
        raise SystemExit(1)

    one = bench(Driver(act))
    one.worker.submit([command()], 1)
    assert one.report().status == "fault"


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        {"status": "ok"},
        Outcome("splendid"),
        Outcome("ok", {"x": "high"}),  # type: ignore[dict-item]
        Outcome("ok", duration_s=math.nan),
        Outcome("ok", duration_s=-1),
        Outcome("ok", arrays={"a": ["x"]}),
        Outcome("ok", arrays={f"a{i}": [1.0] for i in range(17)}),
        Outcome("ok", {f"x{i}": 1.0 for i in range(100_000)}),
    ],
)
def test_what_no_report_can_say_is_a_fault_of_the_driver(bench, outcome):
    one = bench(Driver(lambda job: outcome))
    one.worker.submit([command()], 1)
    told = one.report()
    assert told.status == "fault"
    assert "driver returned" in told.message or "array" in told.message


def test_a_message_that_utf8_cannot_say_is_still_told(bench):
    one = bench(Driver(lambda job: Outcome("ok", {"x\udcff": 1.0}, message="caf\udce9")))
    one.worker.submit([command()], 1)
    told = one.report()
    assert (told.status, told.message, told.readings) == ("ok", "caf?", {"x?": 1.0})


def test_health_that_is_too_large_is_replaced_by_a_note(bench):
    class Chatty(Driver):
        def health(self):
            return {str(i): ["x" * 400] * 100 for i in range(100)}

    assert "too much" in bench(Chatty()).next(Facts).facts["health_error"]


def test_health_that_fails_is_a_fact(bench):
    class Mute(Driver):
        def health(self):
            raise OSError("no answer")

    assert bench(Mute()).next(Facts).facts == {"health_error": "OSError: no answer"}


def test_nothing_starts_while_the_stop_is_latched(bench):
    driver = Driver()
    one = bench(driver, stopped=True)
    one.worker.submit([command()], 1)
    assert "stopped" in one.next(NotStarted).reason
    assert driver.acted == []
    assert starts(one.ledger.path) == {}
    one.worker.reopen()
    one.worker.submit([command()], 1)
    assert one.report().status == "ok"


def test_nothing_starts_without_a_controller(bench):
    driver = Driver()
    one = bench(driver, allowed="no controller for 40 s")
    one.worker.submit([command()], 1)
    event = one.next(NotStarted)
    assert event.retry
    assert driver.acted == []


def test_a_stop_reaches_a_running_driver_and_marks_its_report(bench):
    released = threading.Event()

    class Stoppable(Driver):
        def stop(self):
            super().stop()
            released.set()

    def act(job):
        assert released.wait(60)
        return Outcome("failed")

    one = bench(Stoppable(act))
    one.worker.submit([command()], 1)
    one.next(Started)
    assert one.worker.stop() == ""
    told = one.report()
    assert (told.status, told.stopped) == ("failed", True)


def test_a_stop_that_the_driver_forgot_is_repeated(bench):
    def act(job):
        driver.stops.acquire(timeout=60)
        assert driver.stops.acquire(timeout=60)
        return Outcome("failed")

    driver = Driver(act)
    one = bench(driver)
    one.worker.submit([command()], 1)
    one.next(Started)
    one.worker.stop()
    assert one.report().status == "failed"


def test_a_stop_that_fails_says_so(bench):
    class Stuck(Driver):
        def stop(self):
            raise OSError("relay stuck")

    one = bench(Stuck())
    one.next(Ready)
    assert one.worker.stop() == "OSError: relay stuck"


def left_behind(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", min_free_bytes=0)
    ledger.start(command(), 1)
    ledger.close()


def test_an_interrupted_command_is_inspected_once_and_never_run(bench, tmp_path):
    left_behind(tmp_path)
    driver = Driver()
    one = bench(driver)
    one.next(Ready)
    entry = one.ledger.find("c1")
    assert entry is not None
    assert (entry.state, entry.evidence) == ("started", worker.NO_EVIDENCE)
    assert (driver.inspected, driver.acted) == (["c1"], [])
    one.close()
    again = Driver()
    second = bench(again)
    second.next(Ready)
    assert (again.inspected, again.acted) == ([], [])


@pytest.mark.parametrize("status", ["ok", "failed", "untouched"])
def test_a_sensor_can_prove_what_came_of_an_interrupted_command(bench, tmp_path, status):
    left_behind(tmp_path)
    driver = Driver(inspect=lambda job: Outcome(status, {"x": 1.0}, message="camera"))
    one = bench(driver)
    one.next(Ready)
    stored = one.ledger.report("c1")
    assert stored is not None
    assert (stored.status, stored.source, stored.message) == (status, "inspection", "camera")
    assert starts(one.ledger.path) == {"c1": 1}
    assert driver.acted == []


@pytest.mark.parametrize("answer", [Outcome("whatever"), "ok", RuntimeError("no camera")])
def test_a_sensor_that_answers_nonsense_proves_nothing(bench, tmp_path, answer):
    def inspect(job):
        if isinstance(answer, Exception):
            raise answer
        return answer

    left_behind(tmp_path)
    one = bench(Driver(inspect=inspect))
    one.next(Ready)
    entry = one.ledger.find("c1")
    assert entry is not None
    assert entry.state == "started"
    assert entry.evidence.startswith(worker.NO_EVIDENCE)


def test_numpy_readings_become_plain_numbers():
    np = pytest.importorskip("numpy")
    report = report_of("c", Outcome("ok", {"x": np.float32(0.5)}, {"a": np.eye(2)}))
    assert report.readings == {"x": 0.5}
    assert report.array("a").tolist() == [[1, 0], [0, 1]]


def test_health_is_made_small_and_finite():
    np = pytest.importorskip("numpy")
    odd = {"t": math.nan, 5: np.float64(2.0), "deep": [[[[[1]]]]], "object": object(), "long": list(range(1000))}
    facts = plain(odd)
    assert facts["t"] == "nan"
    assert facts["5"] == 2.0
    assert len(facts["long"]) == 100


class Kiln(Driver):
    """Fires several samples at once."""

    def capabilities(self):
        return [Capability("act", batch=4)]

    def run_batch(self, jobs, progress):
        progress(0.5, "half")
        return [self.run(job, progress) for job in jobs]


def test_the_members_of_a_batch_are_started_together_and_their_reports_stored_together(bench, tmp_path):
    seen, path = [], tmp_path / "ledger.sqlite"
    one = bench(Kiln(lambda job: seen.append(starts(path)) or Outcome("ok", {"n": float(job.command_id[1])})))
    one.worker.submit([command("c1"), command("c2")], 1)
    assert [one.next(Started).command_id for _ in range(2)] == ["c1", "c2"]
    assert [one.report().readings["n"] for _ in range(2)] == [1.0, 2.0]
    assert seen[0] == {"c1": 1, "c2": 1}
    assert one.ledger.unacknowledged() == ["c1", "c2"]


def test_one_malformed_outcome_in_a_batch_is_the_fault_of_that_sample_alone(bench):
    one = bench(Kiln(lambda job: None if job.command_id == "c1" else Outcome("ok")))
    one.worker.submit([command("c1"), command("c2")], 1)
    assert [one.report().status for _ in range(2)] == ["fault", "ok"]


def test_a_batch_of_which_one_was_started_before_does_not_start(bench):
    driver = Kiln()
    one = bench(driver)
    one.worker.submit([command("c1")], 1)
    one.report()
    one.worker.submit([command("c2"), command("c1")], 1)
    assert {one.next(NotStarted).command_id for _ in range(2)} == {"c1", "c2"}
    assert driver.acted == ["c1"]
    assert starts(one.ledger.path) == {"c1": 1}


def test_a_driver_that_announces_batches_and_cannot_run_them_is_not_used(bench):
    class Boaster(Driver):
        def capabilities(self):
            return [Capability("act", batch=2)]

    assert "no run_batch" in bench(Boaster()).next(Broken).reason
