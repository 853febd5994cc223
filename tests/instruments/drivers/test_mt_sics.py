"""The balance driver over TCP and over a serial line (a pseudo-terminal)."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from instruments.driver import Driver, Job
from instruments.drivers.base import Silent
from instruments.drivers.mt_sics import MtSicsBalance
from instruments.errors import InstrumentFault, LabError
from instruments.simulators.dial import FaultDial
from instruments.simulators.mt_sics import Balance
from instruments.simulators.server import PtyServer, TcpServer


def quiet(fraction: float, message: str) -> None:
    pass


def job(capability: str = "weigh", name: str = "c1") -> Job:
    return Job(name, capability, "s1", {}, 0)


@pytest.fixture(params=["tcp", "serial"])
def bench(request, tmp_path):
    dial = FaultDial()
    pan = Balance(dial)
    if request.param == "tcp":
        server = TcpServer(pan, dial)
        address = f"tcp://127.0.0.1:{server.port}"
    else:
        pytest.importorskip("serial", reason="pip install 'athanor[serial]'")
        if sys.platform == "win32":
            pytest.skip("there are no pseudo-terminals on Windows")
        server = PtyServer(pan, dial)
        address = f"serial://{server.path}?baud=9600"
    made = []

    def make(**settings):
        for driver in made:  # a serial line has one owner
            driver.line.close()
        made.append(
            MtSicsBalance(workdir=tmp_path, address=address, **({"timeout_s": 20.0, "poll_s": 0.01} | settings))
        )
        return made[-1]

    yield make, pan, server
    for driver in made:
        driver.line.close()
    server.close()


def test_a_mass_is_weighed_when_the_pan_is_at_rest(bench):
    make, pan, _ = bench
    driver = make()
    pan.settle_s = 0.2
    begun = time.monotonic()
    pan.put(12.3456)
    assert isinstance(driver, Driver)
    outcome = driver.run(job(), quiet)
    assert outcome.status == "ok" and outcome.readings == {"mass_g": pytest.approx(12.3456)}
    assert time.monotonic() - begun >= 0.15


def test_tare_and_zero_change_what_a_mass_means(bench):
    make, pan, _ = bench
    driver = make()
    pan.put(5.0)
    assert driver.run(job("tare", "t"), quiet).readings == {"tare_g": pytest.approx(5.0)}
    pan.put(7.5)
    assert driver.run(job("weigh", "w"), quiet).readings["mass_g"] == pytest.approx(2.5)
    assert driver.run(job("zero", "z"), quiet).status == "ok"
    assert driver.run(job("weigh", "w2"), quiet).readings["mass_g"] == pytest.approx(0.0)
    assert driver.run(job("tare", "t"), quiet).readings == {"tare_g": pytest.approx(5.0)}
    assert pan.acted == ["T", "Z"], "asked again, it answers and does not tare again"


def test_a_pan_that_never_rests_is_a_failed_measurement(bench):
    make, _, server = bench
    server.dial.nan = 1.0
    outcome = make(rest_s=0.1).run(job(), quiet)
    assert outcome.status == "failed" and "draught" in outcome.message


@pytest.mark.parametrize(("load_g", "says"), [(500.0, "too heavy"), (-50.0, "is the pan on it")])
def test_overload_and_a_missing_pan_are_told_apart(bench, load_g, says):
    make, pan, _ = bench
    pan.put(load_g)
    outcome = make().run(job(), quiet)
    assert outcome.status == "failed" and says in outcome.message


def test_another_balance_on_the_cable_is_noticed(bench):
    make, pan, _ = bench
    assert make(serial_number="B021002593").run(job(), quiet).status == "ok"
    outcome = make(serial_number="X1").run(job("tare", "t"), quiet)
    assert outcome.status == "failed" and "look at the cables" in outcome.message and not pan.acted


def test_a_late_answer_is_not_taken_for_the_next_one(bench):
    make, pan, server = bench
    driver = make()
    server.dial.slow, server.dial.slow_s = 1.0, 1.0
    driver.line.tell("TA")
    with pytest.raises(Silent):
        driver.line.hear(0.1)
    server.dial.slow = 0.0
    pan.put(3.0)
    for _ in range(20):  # the late answer may come in between: it is never taken for a mass
        try:
            assert driver._mass("SI", driver._ask("SI"))[1] == pytest.approx(3.0)
        except Silent:
            continue
        time.sleep(0.01)


def test_a_balance_that_dies_amid_taring_is_a_fault_and_its_memory_tells_afterwards(bench):
    make, pan, server = bench
    pan.put(5.0)
    for fault, expected in (("crash_before", None), ("crash_after", "ok")):
        setattr(server.dial, fault, 1.0)
        with pytest.raises(InstrumentFault, match="answer"):
            make(timeout_s=1.0).run(job("tare", fault), quiet)
        setattr(server.dial, fault, 0.0)
        server.power_on()
        found = make().inspect(job("tare", fault))
        assert (found and found.status) == expected
    assert make().inspect(job("tare", "never")).status == "untouched"


def test_stop_ends_the_wait_for_rest(bench):
    make, _, server = bench
    server.dial.nan = 1.0
    driver, found = make(), []
    thread = threading.Thread(target=lambda: found.append(driver.run(job(), quiet)))
    thread.start()
    while driver.state == "idle":
        time.sleep(0.005)
    driver.stop()
    thread.join(60)
    assert found[0].status == "failed" and "stopped" in found[0].message


def test_noise_and_drift_reach_the_reading(bench):
    make, pan, server = bench
    pan.put(10.0)
    server.dial.noise, server.dial.drift_per_s = 1e-3, 0.1
    masses = [make().run(job(), quiet).readings["mass_g"] for _ in range(3)]
    assert len(set(masses)) > 1 and all(9.9 < mass < 11 for mass in masses)


def test_garbage_on_the_line_is_a_fault_and_never_a_mass(bench):
    make, pan, _ = bench
    for answer in (b"S S garbage g\r\n", b"S S 1.0 stone\r\n", b"\r\n", b"\xff\xfe\r\n", b"ES\r\n", b"EL\r\n"):
        pan.respond = lambda request, answer=answer: answer
        with pytest.raises(InstrumentFault):
            make().run(job(), quiet)


def test_health_shows_what_is_on_the_pan(bench):
    make, pan, _ = bench
    pan.put(1.5)
    assert make().health()["mass_g"] == pytest.approx(1.5)


def test_visa_is_no_way_to_a_balance(tmp_path):
    with pytest.raises(LabError, match="tcp://"):
        MtSicsBalance(workdir=tmp_path, address="visa://X")
