"""The furnace driver against a Eurotherm 3200 that speaks Modbus TCP on loopback."""

from __future__ import annotations

import json
import threading
import time

import pytest

pytest.importorskip("pymodbus", reason="pip install 'athanor[modbus]'")

from instruments.driver import Driver, Job
from instruments.drivers.modbus_furnace import ModbusFurnace
from instruments.drivers.modbus_link import Silent, WriteBudget
from instruments.errors import InstrumentFault, LabError, Refused
from instruments.simulators.dial import FaultDial
from instruments.simulators.eurotherm import (
    RATE,
    REMOTE,
    REMOTE_SELECT,
    SP1,
    TARGET,
    TIMER,
    EurothermFurnace,
    EurothermRtu,
    crc16,
)
from instruments.simulators.server import PtyServer, TcpServer

FAST = {"ramp_C_per_min": 12_000.0, "hold_min": 0.001}


def job(name: str = "c1", **parameters: object) -> Job:
    return Job(name, "heat", "s1", {"temperature_C": 80.0, **FAST, **parameters}, 0)


def quiet(fraction: float, message: str) -> None:
    pass


class Bench:
    def __init__(self, path, dial=None, **plant):
        self.path, self.dial = path, dial or FaultDial()
        self.plant = EurothermFurnace(self.dial, **({"tau_s": 0.02} | plant))
        self.server = TcpServer(self.plant, self.dial)
        self.drivers: list[ModbusFurnace] = []

    def driver(self, **settings):
        fast = {"poll_s": 0.02, "timeout_s": 10.0, "patience_s": 20.0, "settle_min": 0.1, "max_ramp_C_per_min": 1e6}
        made = ModbusFurnace(workdir=self.path, port=self.server.port, host="127.0.0.1", **(fast | settings))
        self.drivers.append(made)
        return made

    def close(self):
        for driver in self.drivers:
            driver.link.close()
        self.server.close()


@pytest.fixture
def bench(tmp_path):
    made = []

    def make(dial=None, **plant):
        made.append(Bench(tmp_path, dial, **plant))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def line(tmp_path):
    """A controller with id 7 on a serial line (a pseudo-terminal), and what makes drivers for it."""
    pytest.importorskip("serial", reason="pip install 'athanor[modbus]'")
    dial = FaultDial()
    plant = EurothermRtu(dial, unit=7, tau_s=0.02)
    drivers = []
    with PtyServer(plant, dial) as server:

        def make(**settings):
            fast = {"unit": 7, "poll_s": 0.02, "timeout_s": 10.0, "patience_s": 20.0, "max_ramp_C_per_min": 1e6}
            drivers.append(ModbusFurnace(workdir=tmp_path, serial_port=server.path, **(fast | settings)))
            return drivers[-1]

        yield make, plant, dial
        for driver in drivers:
            driver.link.close()


@pytest.mark.parametrize("ramp", ["remote", "internal"])
def test_a_programme_is_followed_on_a_serial_line(line, ramp):
    make, plant, _ = line
    outcome = make(ramp=ramp).run(job(), quiet)
    assert outcome.status == "ok", outcome.message
    assert outcome.readings["hold_temperature_C"] == pytest.approx(80, abs=10)
    assert plant.setpoint_C == 20 and not plant.remote
    assert bool(plant.writes[TARGET]) == (ramp == "internal")


def test_another_unit_on_the_line_stays_silent_and_that_is_a_fault(line):
    make, plant, _ = line
    with pytest.raises(InstrumentFault, match="no answer"):
        make(unit=8, timeout_s=0.1, patience_s=0.2).run(job(), quiet)
    assert not plant.writes


def test_a_serial_answer_that_never_comes_is_a_fault_and_the_heat_is_off_later(line):
    make, plant, dial = line
    driver = make(timeout_s=0.1, patience_s=0.2)
    dial.drop = 1.0
    with pytest.raises(InstrumentFault, match="no answer"):
        driver.run(job(), quiet)
    dial.drop = 0.0
    driver.stop()
    assert plant.setpoint_C == 20


def test_the_frames_of_the_serial_line_are_those_of_the_standard():
    assert crc16(bytes.fromhex("010300000001")) == bytes.fromhex("840a")
    plant = EurothermRtu(unit=1)
    whole = bytes.fromhex("010300000001840a")
    assert plant.split(b"\x00\xff" + whole + b"\x01") == (whole, b"\x01")
    assert plant.split(whole[:-1]) == (None, whole[:-1])
    assert plant.split(whole[:-1] + b"\x00")[0] is None


def begin(driver, a_job):
    """Run in a thread; returns the thread and the list that the outcome will be put on."""
    found = []
    thread = threading.Thread(target=lambda: found.append(driver.run(a_job, quiet)))
    thread.start()
    return thread, found


def until(condition, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


@pytest.mark.parametrize("ramp", ["remote", "internal"])
def test_a_programme_of_two_segments_is_followed_and_ends_in_the_safe_state(bench, ramp):
    b = bench()
    driver = b.driver(ramp=ramp)
    assert isinstance(driver, Driver)
    outcome = driver.run(job(temperature_C=[60.0, 100.0], unload_below_C=40.0), quiet)
    assert outcome.status == "ok", outcome.message
    assert outcome.readings["hold_temperature_C"] == pytest.approx(100, abs=10)
    assert 90 <= outcome.readings["max_temperature_C"] <= 110
    assert outcome.readings["final_temperature_C"] <= 40
    assert b.plant.hottest_C == pytest.approx(100, abs=10)
    assert b.plant.setpoint_C == 20 and not b.plant.remote
    assert len(outcome.arrays["profile"]) >= 3


def test_the_remote_ramp_wears_no_setpoint_memory(bench):
    b = bench()
    assert b.driver().run(job(), quiet).status == "ok"
    assert b.plant.writes[REMOTE] > 1
    assert b.plant.writes[TARGET] == b.plant.writes[SP1] == b.plant.writes[RATE] == 0
    assert b.driver().budget.left() == 99_000


def test_the_internal_ramp_counts_its_writes_on_disk_before_they_are_sent(bench):
    b = bench()
    driver = b.driver(ramp="internal")
    driver.run(job(), quiet)
    noted = json.loads((b.path / "write_budget.json").read_text())
    assert noted == {str(address): count for address, count in b.plant.writes.items() if address in (TARGET, SP1, RATE)}
    assert b.driver(ramp="internal").budget.left() == 99_000 - max(noted.values())


def test_a_worn_controller_is_not_written_to_but_can_still_be_made_safe(bench):
    b = bench()
    (b.path / "write_budget.json").write_text(json.dumps({TARGET: 98_999}))
    driver = b.driver(ramp="internal")
    outcome = driver.run(job(), quiet)
    assert outcome.status == "failed" and "worn" in outcome.message
    assert b.plant.hottest_C == pytest.approx(20)
    b.plant._write(SP1, [300])
    driver.stop()
    assert b.plant.setpoint_C == 20


@pytest.mark.parametrize("ramp", ["remote", "internal"])
def test_a_stop_comes_through_while_it_heats(bench, ramp):
    b = bench()
    driver = b.driver(ramp=ramp)
    thread, found = begin(driver, job(hold_min=10.0))
    until(lambda: b.plant.hottest_C > 60)
    driver.stop()
    assert b.plant.setpoint_C == 20, "the plant was made safe before stop() returned"
    thread.join(60)
    assert found[0].status == "failed" and "it was heated" in found[0].message
    assert b.plant.setpoint_C == 20


def test_a_dead_host_lets_the_controller_fall_back_to_the_safe_setpoint(bench):
    b = bench(remote_timeout_s=0.2)
    driver = b.driver()
    driver._set_temperature(SP1, 20)
    driver._write(REMOTE, 90)
    driver._set(REMOTE_SELECT, 1)
    assert b.plant.setpoint_C == 90
    until(lambda: b.plant.setpoint_C == 20)


def test_a_broken_thermocouple_is_a_fault_and_the_heat_is_off(bench):
    b = bench()
    driver = b.driver()
    thread_error = []

    def run():
        try:
            driver.run(job(hold_min=10.0), quiet)
        except InstrumentFault as error:
            thread_error.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: b.plant.hottest_C > 60)
    b.dial.nan = 1.0
    thread.join(60)
    assert "thermocouple" in thread_error[0]
    assert b.plant.setpoint_C == 20


def test_a_heater_that_does_not_heat_is_a_fault(bench):
    b = bench()
    b.plant.broken_heater = True
    with pytest.raises(InstrumentFault, match="look at the heater"):
        b.driver(settle_min=0.01).run(job(), quiet)


def test_a_short_silence_of_the_line_is_borne_and_a_long_one_is_a_fault(bench):
    b = bench()
    driver = b.driver(timeout_s=0.5)
    thread, found = begin(driver, job(hold_min=0.01))
    until(lambda: b.plant.hottest_C > 60)
    b.server.cut()
    thread.join(60)
    assert found[0].status == "ok", found[0].message
    b.dial.drop, driver.patience_s = 1.0, 0.1
    with pytest.raises(InstrumentFault, match="no answer"):
        driver.run(job("c2"), quiet)


def test_a_late_answer_is_never_taken_for_the_next_one(bench):
    b = bench(FaultDial(slow=1.0, slow_s=2.0))
    link = b.driver(timeout_s=1.0).link
    with pytest.raises(Silent):
        link.write(REMOTE, 55)
    b.dial.slow = 0.0
    assert link.read(TIMER) == [0]
    assert link.read(REMOTE) == [55], "the write that nobody answered was carried out"


def test_a_write_whose_answer_is_lost_is_settled_by_reading_and_wears_once(bench):
    b = bench(FaultDial(crash_after=1.0))
    driver = b.driver()
    b.server.answer = lambda request, real=b.server.answer: (real(request), b.server.power_on())[0]
    driver._set_temperature(SP1, 44)
    assert b.plant.setpoint_C == 44 and b.plant.writes[SP1] == driver.budget.used(SP1) == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature_C": 1200.0}, "outside"),
        ({"temperature_C": [50.0, 1200.0]}, "outside"),
        ({"temperature_C": float("nan")}, "outside"),
        ({"temperature_C": "hot"}, "must be a number"),
        ({"temperature_C": []}, "is empty"),
        ({"temperature_C": [50.0] * 33}, "at most 32"),
        ({"hold_min": [1.0, 2.0], "temperature_C": [50.0, 60.0, 70.0]}, "2 values for 3 segments"),
        ({"ramp_C_per_min": 0.0}, "outside"),
    ],
)
def test_nonsense_heats_nothing(bench, wrong, says):
    b = bench()
    outcome = b.driver().run(job(**wrong), quiet)
    assert outcome.status == "failed" and says in outcome.message and "nothing was done" in outcome.message
    assert not b.plant.writes


def test_a_programme_on_the_panel_is_not_fought(bench):
    b = bench()
    b.plant._write(TIMER, [1])
    outcome = b.driver().run(job(), quiet)
    assert outcome.status == "failed" and "panel" in outcome.message


def test_a_setpoint_that_the_controller_forbids_is_refused_and_it_stays_safe(bench):
    b = bench(highest_C=70.0)
    outcome = b.driver(ramp="internal").run(job(), quiet)
    assert outcome.status == "failed" and "illegal value" in outcome.message
    assert b.plant.setpoint_C == 20


def test_no_device_is_a_fault_that_says_where(tmp_path):
    driver = ModbusFurnace(workdir=tmp_path, host="127.0.0.1", port=1, timeout_s=0.2)
    with pytest.raises(InstrumentFault, match=r"127\.0\.0\.1:1"):
        driver.run(job(ramp_C_per_min=5.0), quiet)
    assert driver.health()["reachable"] is False


def test_inspect_tells_untouched_from_done_from_unknown(bench):
    b = bench()
    driver = b.driver()
    assert driver.inspect(job("never")).status == "untouched"
    driver.notes.put("begun", phase="begun")
    assert driver.inspect(job("begun")).status == "untouched"
    driver.notes.put("heated", phase="heating")
    b.plant._write(SP1, [90])
    assert driver.inspect(job("heated")) is None
    assert b.plant.setpoint_C == 20, "what a dead host left hot is made safe"
    driver.notes.put("cooled", phase="cooling", readings={"max_temperature_C": 80.0}, duration_s=3.0)
    assert driver.inspect(job("cooled")).status == "ok"
    outcome = driver.run(job("whole"), quiet)
    fresh = b.driver()
    assert fresh.inspect(job("whole")).readings == outcome.readings
    writes = b.plant.writes.total()
    assert fresh.run(job("whole"), quiet).readings == outcome.readings
    assert b.plant.writes.total() == writes, "asked again, it answers and does not act"


def test_what_was_begun_and_never_finished_is_not_begun_again(bench):
    driver = bench().driver()
    driver.notes.put("c1", phase="heating")
    with pytest.raises(InstrumentFault, match="reconcile"):
        driver.run(job("c1"), quiet)


def test_health_reads_the_device(bench):
    facts = bench().driver().health()
    assert facts["temperature_C"] == 20 and facts["setpoint_writes_left"] == 99_000 and facts["reachable"]


def test_settings_that_make_no_sense_are_named(tmp_path):
    with pytest.raises(LabError, match="either host"):
        ModbusFurnace(workdir=tmp_path)
    with pytest.raises(LabError, match="ramp"):
        ModbusFurnace(workdir=tmp_path, host="x", ramp="fast")  # type: ignore[arg-type]
    (tmp_path / "write_budget.json").write_text("garbage")
    with pytest.raises(LabError, match="write_budget"):
        ModbusFurnace(workdir=tmp_path, host="x")


def test_the_budget_is_for_the_life_of_the_device(tmp_path):
    budget = WriteBudget(tmp_path / "b.json", lifetime=10, reserve=4)
    for _ in range(6):
        budget.spend(TARGET)
    with pytest.raises(Refused, match="worn"):
        WriteBudget(tmp_path / "b.json", lifetime=10, reserve=4).check(1)
