"""The OPC UA driver against a real OPC UA server on loopback."""

from __future__ import annotations

import math
import socket
import threading
import time

import pytest

pytest.importorskip("asyncua", reason="pip install 'athanor[opcua]'")

from instruments.driver import Driver, Job
from instruments.drivers.opcua import OpcUaInstrument
from instruments.errors import InstrumentFault, LabError
from instruments.simulators.opcua import OpcUaFurnace

HEAT = {
    "write": {"temperature_C": "ns=2;s=SP"},
    "call": "ns=2;s=Furnace -> ns=2;s=StartRamp",
    "arguments": ["temperature_C"],
    "results": {"accepted": 0},
    "wait": {"address": "ns=2;s=Busy", "equals": False, "timeout_s": 60, "poll_s": 0.05, "settle_s": 0.2},
    "read": {"reached_C": "ns=2;s=PV"},
    "limits": {"temperature_C": [0, 1500]},
    "bounds": {"reached_C": [0, 1700]},
}
SETTINGS = {"capabilities": {"heat": HEAT}, "stop": {"write": {"ns=2;s=SP": 20.0}}, "tag": "ns=2;s=Tag"}


def quiet(fraction: float, message: str) -> None:
    pass


def job(name: str = "c1", **parameters: object) -> Job:
    return Job(name, "heat", "s1", {"temperature_C": 900.0, **parameters}, 0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    furnace = OpcUaFurnace(port=free_port())  # takes seconds to start
    ended = threading.Event()

    def live():
        while not ended.wait(0.02):
            furnace.update()

    thread = threading.Thread(target=live)
    thread.start()
    yield furnace
    ended.set()
    thread.join()
    furnace.close()


@pytest.fixture
def bench(tmp_path, server):
    server.ramp_s, server.ramps, server.dial.nan, server._busy_until = 0.1, 0, 0.0, 0.0
    driver = OpcUaInstrument(workdir=tmp_path, url=server.url, timeout_s=20.0, **SETTINGS)
    driver.stop()
    yield driver, server
    driver.close()


def test_write_call_wait_and_read_are_one_capability(bench):
    driver, furnace = bench
    assert isinstance(driver, Driver)
    outcome = driver.run(job(), quiet)
    assert outcome.status == "ok", outcome.message
    assert outcome.readings["accepted"] == 1 and furnace.ramps == 1
    assert furnace.value("SP") == 900 and furnace.value("Tag") == "c1"
    assert driver.health()["reachable"]
    assert driver.run(job(), quiet) == outcome and furnace.ramps == 1, "asked again, it answers and does not act"


def test_limits_are_checked_before_the_wire(bench):
    driver, furnace = bench
    for wrong in (5000.0, math.nan, "hot", None, [1.0]):
        assert driver.run(job(temperature_C=wrong), quiet).status == "failed"
    assert furnace.value("SP") == 20 and furnace.ramps == 0


def test_a_node_that_the_server_protects_is_refused(bench, tmp_path):
    _, furnace = bench
    spec = {"heat": {"write": {"temperature_C": "ns=2;s=PV"}}}
    other = OpcUaInstrument(workdir=tmp_path / "other", url=furnace.url, capabilities=spec)
    outcome = other.run(job(), quiet)
    other.close()
    assert outcome.status == "failed" and ("BadUserAccessDenied" in outcome.message or "NotWritable" in outcome.message)


def test_stop_writes_the_safe_state_and_ends_the_wait(bench):
    driver, furnace = bench
    furnace.ramp_s = 60.0
    found = []
    thread = threading.Thread(target=lambda: found.append(driver.run(job(), quiet)))
    thread.start()
    end = time.monotonic() + 60
    while not furnace.ramps:
        assert time.monotonic() < end
        time.sleep(0.01)
    driver.stop()
    assert furnace.value("SP") == 20
    thread.join(60)
    assert found[0].status == "failed" and "stopped" in found[0].message


def test_the_tag_proves_that_nothing_was_done(bench):
    driver, _ = bench
    assert driver.run(job("c1"), quiet).status == "ok"
    driver.notes.put("c2", phase="acting")
    assert driver.inspect(job("c2")).status == "untouched"
    driver.notes.put("c1", phase="acting", outcome=None)
    assert driver.inspect(job("c1")) is None


def test_a_sensor_that_reads_nan_is_left_to_the_result_gate(bench):
    driver, furnace = bench
    furnace.dial.nan = 1.0
    furnace.update()
    assert math.isnan(driver.run(job(), quiet).readings["reached_C"])


def test_a_server_that_is_not_there_is_a_fault_that_says_where(tmp_path):
    port = free_port()
    driver = OpcUaInstrument(workdir=tmp_path, url=f"opc.tcp://127.0.0.1:{port}/", timeout_s=0.5, **SETTINGS)
    with pytest.raises(InstrumentFault, match=str(port)):
        driver.run(job(), quiet)
    assert driver.health()["reachable"] is False


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"capabilities": {}}, "at least one"),
        ({"capabilities": {"heat": {"wrte": {}}}}, "wrte"),
        ({"capabilities": {"heat": {"wait": {"address": "x"}}}}, "equals"),
        ({"capabilities": {"heat": {"results": {"x": 0}}}}, "belong to a call"),
        ({"capabilities": {"heat": {"limits": {"x": 3}}}}, "low, high"),
        ({"capabilities": {"heat": {}}, "stop": {"goto": 1}}, "goto"),
        ({"capabilities": {"heat": {}}, "user": "ana"}, "in clear"),
    ],
)
def test_wrong_settings_are_named(tmp_path, settings, says):
    with pytest.raises(LabError, match=says):
        OpcUaInstrument(workdir=tmp_path, url="opc.tcp://x:1/", **settings)
