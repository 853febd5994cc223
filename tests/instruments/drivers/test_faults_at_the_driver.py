"""Every fault of the dial, on every simulator, as its driver sees it: a fault or a failed job, never a wrong number.

Noise, drift and a frozen reading cannot be told from a true one at the driver: they reach the reading, for the result
gate. A furnace that reads the same for ever is found out, because it must follow its setpoint.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from instruments.driver import Job, Outcome
from instruments.drivers.mt_sics import MtSicsBalance
from instruments.drivers.scpi import ScpiLcrMeter, ScpiSourceMeter
from instruments.errors import InstrumentFault
from instruments.simulators.dial import FaultDial
from instruments.simulators.eurotherm import EurothermFurnace
from instruments.simulators.mt_sics import Balance
from instruments.simulators.scpi import LcrMeter, SourceMeter
from instruments.simulators.server import TcpServer

IV = {"start_V": 0.5, "stop_V": 1.0, "points": 3, "compliance_A": 0.01}
HEAT = {"temperature_C": 80.0, "ramp_C_per_min": 12_000.0, "hold_min": 0.001}
PATIENT_S = 20.0


def quiet(fraction: float, message: str) -> None:
    pass


@dataclass
class Bench:
    """A simulated device, its driver, a job, and the reading that is looked at.

    ``run`` does the job with a driver that waits so long for an answer (seconds).
    """

    dial: FaultDial
    run: Callable[..., Outcome]
    reading: str
    truth: float
    revive: Callable[[], None]


@pytest.fixture(params=["source_meter", "lcr_meter", "balance", "furnace"])
def bench(request, tmp_path):
    dial = FaultDial(seed=3)
    device: Any = {
        "source_meter": lambda: SourceMeter(dial),
        "lcr_meter": lambda: LcrMeter(dial),
        "balance": lambda: Balance(dial),
        "furnace": lambda: EurothermFurnace(dial, tau_s=0.02),
    }[request.param]()
    with TcpServer(device, dial) as server:
        _, capability, given, reading, truth = made(request.param, device, server, tmp_path, PATIENT_S)
        jobs = iter(range(1_000))

        def run(timeout_s: float = PATIENT_S) -> Outcome:
            driver = made(request.param, device, server, tmp_path, timeout_s)[0]
            try:
                return driver.run(Job(f"c{next(jobs)}", capability, "s", given, 0), quiet)
            finally:
                driver.close()

        yield Bench(dial, run, reading, truth, server.power_on)


def made(name: str, device: Any, server: TcpServer, folder: Any, timeout_s: float) -> tuple[Any, str, dict, str, float]:
    address = {"address": f"tcp://127.0.0.1:{server.port}", "timeout_s": timeout_s}
    if name == "source_meter":
        return ScpiSourceMeter(workdir=folder, **address), "iv_sweep", IV, "max_current_A", 1e-3
    if name == "lcr_meter":
        return ScpiLcrMeter(workdir=folder, **address), "impedance", {"frequency_Hz": 1e3}, "capacitance_F", 1e-9
    if name == "balance":
        device.put(5.0)
        return MtSicsBalance(workdir=folder, **address, poll_s=0.01, rest_s=0.2), "weigh", {}, "mass_g", 5.0
    pytest.importorskip("pymodbus", reason="pip install 'athanor[modbus]'")
    from instruments.drivers.modbus_furnace import ModbusFurnace

    fast = {"poll_s": 0.02, "timeout_s": timeout_s, "patience_s": timeout_s, "settle_min": 0.02}
    fast["max_ramp_C_per_min"] = 1e6
    driver = ModbusFurnace(workdir=folder, host="127.0.0.1", port=server.port, **fast)  # type: ignore[arg-type]
    driver.close = driver.link.close  # type: ignore[method-assign]
    return driver, "heat", HEAT, "hold_temperature_C", 80.0


def test_without_a_fault_the_reading_is_true(bench):
    outcome = bench.run()
    assert outcome.status == "ok", outcome.message
    assert outcome.readings[bench.reading] == pytest.approx(bench.truth, rel=0.15)


@pytest.mark.parametrize("fault", ["noise", "drift_per_s"])
def test_noise_and_drift_reach_the_reading(bench, fault):
    setattr(bench.dial, fault, {1e-3: 1e-4, 1e-9: 1.0, 5.0: 0.1, 80.0: 2.0}[bench.truth])
    readings = set()
    for _ in range(6):  # a coarse display may show the same digits twice
        readings.add(bench.run().readings[bench.reading])
        time.sleep(0.05)  # a drift needs time to show in the last digit
    assert len(readings) > 1


def test_a_frozen_reading_is_a_fault_of_the_furnace_and_the_same_number_from_the_others(bench):
    bench.dial.stuck = True
    if bench.truth == 80.0:
        with pytest.raises(InstrumentFault, match="look at the heater"):
            bench.run()
        return
    bench.dial.noise = bench.truth / 100
    assert bench.run().readings == bench.run().readings


def test_not_a_number_is_never_a_number(bench):
    bench.dial.nan = 1.0
    if bench.truth == 80.0:
        with pytest.raises(InstrumentFault, match="thermocouple"):
            bench.run()
        return
    outcome = bench.run()
    assert outcome.status == "failed" or math.isnan(outcome.readings[bench.reading])


def test_a_device_that_answers_late_is_a_fault(bench):
    bench.dial.slow, bench.dial.slow_s = 1.0, 5.0
    with pytest.raises(InstrumentFault, match="no answer"):
        bench.run(timeout_s=0.2)


@pytest.mark.parametrize("fault", ["drop", "crash_before", "crash_after"])
def test_a_device_that_never_answers_is_a_fault_and_works_again_when_it_is_back(bench, fault):
    setattr(bench.dial, fault, 1.0)
    if fault != "drop" and bench.truth == 5.0:
        assert bench.run().status == "ok", "weighing changes nothing, so nothing can crash of it"
        return
    with pytest.raises(InstrumentFault, match=r"no answer|nobody is there|broke|No Modbus|no Modbus"):
        bench.run(timeout_s=0.2)
    setattr(bench.dial, fault, 0.0)
    bench.revive()
    assert bench.run().status == "ok"


OPCUA = {
    "call": "ns=2;s=Furnace -> ns=2;s=StartRamp",
    "arguments": ["temperature_C"],
    "results": {"accepted": 0},
    "read": {"reached_C": "ns=2;s=PV"},
}


@pytest.fixture(scope="module")
def opcua():
    pytest.importorskip("asyncua", reason="pip install 'athanor[opcua]'")
    from instruments.simulators.opcua import OpcUaFurnace

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    furnace = OpcUaFurnace(port=port)
    yield furnace
    furnace.close()


@pytest.mark.parametrize(("fault", "acted"), [("slow", 1), ("drop", 1), ("crash_before", 0), ("crash_after", 1)])
def test_an_opc_ua_server_that_does_not_answer_is_a_fault_and_nobody_can_tell(opcua, tmp_path, fault, acted):
    from instruments.drivers.opcua import OpcUaInstrument

    before = opcua.ramps
    opcua.dial = FaultDial(**{fault: 1.0, "slow_s": 4.0})
    driver = OpcUaInstrument(workdir=tmp_path, url=opcua.url, timeout_s=1.5, capabilities={"heat": OPCUA})
    job = Job("c", "heat", "s", {"temperature_C": 900.0}, 0)
    with pytest.raises(InstrumentFault, match="look at the server"):
        driver.run(job, quiet)
    assert opcua.ramps - before == acted
    assert driver.inspect(job) is None
    opcua.dial = FaultDial()
    driver.timeout_s = PATIENT_S
    assert driver.run(Job("c2", "heat", "s", {"temperature_C": 900.0}, 0), quiet).status == "ok"
    driver.close()


def test_two_dials_of_one_seed_misbehave_alike_whatever_the_thread():
    def draws() -> list[Any]:
        dial, found = FaultDial(seed=5, drop=0.3, crash_before=0.1, slow=0.3), []
        thread = threading.Thread(target=lambda: found.extend(dial.fate(True) for _ in range(50)))
        thread.start()
        thread.join()
        return found

    assert draws() == draws()
    assert {"", "drop", "slow", "crash_before"} == set(draws())
