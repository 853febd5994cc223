"""SCPI over raw TCP and VISA against instruments that answer as the real ones do."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import pytest

from instruments.driver import Driver, Job
from instruments.drivers.base import Silent
from instruments.drivers.line import Line
from instruments.drivers.scpi import ScpiLcrMeter, ScpiSourceMeter
from instruments.errors import InstrumentFault, LabError
from instruments.simulators.dial import FaultDial
from instruments.simulators.scpi import LcrMeter, SourceMeter
from instruments.simulators.server import TcpServer

SWEEP = {"start_V": -1.0, "stop_V": 1.0, "points": 5, "compliance_A": 0.01}


def quiet(fraction: float, message: str) -> None:
    pass


def iv(name: str = "c1", **parameters: object) -> Job:
    return Job(name, "iv_sweep", "s1", {**SWEEP, **parameters}, 0)


def until(true) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def dial():
    return FaultDial()


@pytest.fixture
def meter(dial):
    with TcpServer(SourceMeter(dial), dial) as server:
        yield server


@pytest.fixture
def make(tmp_path, meter):
    made = []

    def of(**settings):
        fast = {"address": f"tcp://127.0.0.1:{meter.port}", "timeout_s": 20.0}
        made.append(ScpiSourceMeter(workdir=tmp_path, **(fast | settings)))
        return made[-1]

    yield of
    for driver in made:
        driver.line.close()


def test_a_sweep_finds_the_resistor_and_leaves_the_output_off(make, meter):
    driver = make()
    assert isinstance(driver, Driver)
    outcome = driver.run(iv(), quiet)
    assert outcome.status == "ok", outcome.message
    assert outcome.readings["resistance_ohm"] == pytest.approx(1000, rel=1e-5)
    assert outcome.readings["max_current_A"] == pytest.approx(1e-3)
    assert [row[0] for row in outcome.arrays["iv"]] == pytest.approx([-1, -0.5, 0, 0.5, 1])
    assert not meter.device.on and meter.device.times_on == 1


def test_points_in_compliance_do_not_enter_the_resistance(make):
    outcome = make().run(iv(voltage_V=[-5.0, -0.5, 0.0, 0.5, 5.0], compliance_A=1e-3), quiet)
    assert outcome.readings["points_in_compliance"] == 2
    assert outcome.readings["resistance_ohm"] == pytest.approx(1000, rel=1e-5)


def test_every_write_is_followed_by_the_error_queue(make, meter):
    make().run(iv(), quiet)
    heard = meter.device.heard
    writes = [i for i, text in enumerate(heard) if "?" not in text]
    assert writes
    assert all(heard[i + 1] in ("SYST:ERR?", ":OUTP?") for i in writes)


def test_errors_that_others_left_are_not_ours(make, meter):
    meter.device.error('-113,"Undefined header"')
    assert make().run(iv(), quiet).status == "ok"


def test_what_the_instrument_forbids_is_refused_before_it_is_switched_on(make, meter):
    meter.device.range_V = 0.5
    outcome = make().run(iv(), quiet)
    assert outcome.status == "failed" and "-222" in outcome.message and "nothing was done" in outcome.message
    assert meter.device.times_on == 0


def test_a_late_answer_is_not_taken_for_the_next_one(make, dial):
    line = make().line
    assert line.ask(":OUTP?") == "0"
    dial.slow, dial.slow_s = 1.0, 3.0
    line.tell(":OUTP?")
    with pytest.raises(Silent, match=r"no answer in 0\.1 s"):
        line.hear(0.1)
    dial.slow = 0.0
    assert line.ask("*IDN?").startswith("KEITHLEY")
    line.tell("*IDN?")  # an answer that nobody reads
    assert line._port is not None
    until(line._port.waiting)
    assert line.ask(":OUTP?") == "0"


@pytest.mark.parametrize("fault", ["drop", "crash_before", "crash_after"])
def test_an_instrument_that_dies_amid_a_sweep_is_a_fault_and_inspect_cannot_tell(make, meter, dial, fault):
    driver = make()
    if fault != "drop":
        setattr(dial, fault, 1.0)

    def progress(fraction: float, message: str) -> None:
        driver.line._timeout_s = 0.1
        setattr(dial, fault, 1.0)

    with pytest.raises(InstrumentFault, match=r"look at|no answer"):
        driver.run(iv(), progress)
    setattr(dial, fault, 0.0)
    meter.power_on()
    found = make().inspect(iv())
    assert not meter.device.on
    assert found is None if fault == "drop" else found is not None and found.status == "untouched"


def test_not_a_number_is_a_reading_for_the_gate_to_reject(make, dial):
    dial.nan = 1.0
    outcome = make().run(iv(), quiet)
    assert outcome.status == "ok"
    assert math.isnan(outcome.readings["resistance_ohm"]) and math.isnan(outcome.readings["max_current_A"])


def test_noise_is_seeded_and_a_stuck_meter_gives_no_resistance(make, dial, meter):
    dial.noise = 1e-5
    noisy = make().run(iv("a"), quiet).readings["resistance_ohm"]
    assert noisy != 1000 and noisy == pytest.approx(1000, rel=0.1)
    dial.stuck = True
    assert math.isnan(make().run(iv("b"), quiet).readings["resistance_ohm"])


def test_stop_switches_the_output_off_amid_a_sweep(make, meter):
    driver, found = make(), []
    thread = threading.Thread(target=lambda: found.append(driver.run(iv(delay_s=20.0), quiet)))
    thread.start()
    until(lambda: meter.device.on)
    driver.stop()
    assert not meter.device.on
    thread.join(60)
    assert found[0].status == "failed" and "stopped" in found[0].message and not meter.device.on


@pytest.mark.parametrize(
    "wrong",
    [
        {"voltage_V": [1e3]},
        {"points": 1},
        {"points": 2.5},
        {"compliance_A": 5.0},
        {"start_V": "low"},
        {"voltage_V": []},
    ],
)
def test_nonsense_never_switches_on(make, meter, wrong):
    outcome = make().run(iv(**wrong), quiet)
    assert outcome.status == "failed" and "nothing was done" in outcome.message
    assert meter.device.times_on == 0


def test_another_instrument_on_the_cable_is_noticed(make, meter):
    outcome = make(model="2450").run(iv(), quiet)
    assert outcome.status == "failed" and "look at the cables" in outcome.message
    assert meter.device.times_on == 0


def test_health_asks_who_is_there(make, meter):
    driver = make()
    assert "MODEL 2400" in driver.health()["identity"]
    meter.close()
    assert driver.health()["reachable"] is False


@pytest.mark.parametrize("address", ["192.168.0.1", "tcp://host", "tcp://:x", "serial:///dev/x?baud=fast", "gpib://1"])
def test_a_malformed_address_says_how_to_write_it(address):
    if address.startswith("serial"):
        pytest.importorskip("serial")
    with pytest.raises(LabError, match="write"):
        Line(address)


@pytest.fixture
def lcr(tmp_path):
    dial = FaultDial()
    with TcpServer(LcrMeter(dial), dial) as server:
        driver = ScpiLcrMeter(workdir=tmp_path, address=f"tcp://127.0.0.1:{server.port}", timeout_s=20.0, model="E4980")
        yield driver, server
        driver.line.close()


def test_the_lcr_meter_measures_a_spectrum(lcr):
    driver, _ = lcr
    job = Job("c", "impedance", "s", {"frequency_Hz": [100.0, 1e3, 1e5], "level_V": 0.5}, 0)
    outcome = driver.run(job, quiet)
    assert outcome.status == "ok", outcome.message
    assert outcome.readings["capacitance_F"] == pytest.approx(0.98e-9) and len(outcome.arrays["spectrum"]) == 3
    assert driver.inspect(job).status == "untouched"


def test_a_bad_measurement_status_is_not_a_capacitance(lcr):
    driver, server = lcr
    server.dial.nan = 1.0
    outcome = driver.run(Job("c", "impedance", "s", {"frequency_Hz": 1e3}, 0), quiet)
    assert math.isnan(outcome.readings["capacitance_F"])


def test_visa_speaks_to_the_same_wire(tmp_path, meter):
    pytest.importorskip("pyvisa_py", reason="pip install 'athanor[visa]'")
    address = f"visa://TCPIP0::127.0.0.1::{meter.port}::SOCKET"
    driver = ScpiSourceMeter(workdir=tmp_path, address=address, timeout_s=20.0)
    assert driver.run(iv(), quiet).readings["resistance_ohm"] == pytest.approx(1000, rel=1e-5)
    meter.dial.slow, meter.dial.slow_s = 1.0, 3.0
    driver.line.tell(":OUTP?")
    with pytest.raises(Silent):
        driver.line.hear(0.3)
    meter.dial.slow = 0.0
    assert driver.line.ask("*IDN?").startswith("KEITHLEY")
    driver.line.close()


def test_visa_simulated_in_process_gives_the_same_answers(tmp_path):
    pytest.importorskip("pyvisa_sim", reason="pip install pyvisa-sim")
    driver = ScpiLcrMeter(
        workdir=tmp_path,
        address="visa://TCPIP0::localhost::5025::SOCKET",
        visa_backend=f"{Path(__file__).parent / 'lcr.yaml'}@sim",
    )
    outcome = driver.run(Job("c", "impedance", "s", {"frequency_Hz": 1e3}, 0), quiet)
    assert outcome.status == "ok", outcome.message
    assert outcome.readings == pytest.approx({"capacitance_F": 4.7e-10, "dissipation": 0.01})
    driver.line.close()
