"""SiLA 2: our own instrument served, and driven by our client, over gRPC with TLS on loopback."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import pytest

pytest.importorskip("sila2", reason="pip install 'athanor[sila]'")

from instruments.driver import Capability, Driver, Job, Limit, Outcome
from instruments.drivers.sila import SilaInstrument
from instruments.drivers.sila_server import serve_driver
from instruments.errors import InstrumentFault, LabError

# grpcio and sila2 import parts of the standard library and of protobuf that warn; nothing of ours does.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RUN = {
    "call": "AthanorInstrument.Run",
    "arguments": {"CommandId": "id", "Capability": "what", "Sample": "on", "Parameters": "json"},
    "results": {},
}


def quiet(fraction: float, message: str) -> None:
    pass


class Hotplate:
    """What is served."""

    def __init__(self):
        self.ran, self.stops, self.stopped = [], 0, threading.Event()

    def capabilities(self):
        return [Capability("warm", {"temperature_C": Limit(0, 300)}, {"reached_C": Limit()})]

    def run(self, job, progress):
        self.stopped.clear()
        self.ran.append(job.command_id)
        if job.parameters.get("break"):
            raise RuntimeError("the plate is cracked")
        if self.stopped.wait(float(job.parameters.get("wait_s", 0.0))):
            return Outcome("failed", message="stopped")
        return Outcome("ok", {"reached_C": job.parameters["temperature_C"]})

    def stop(self):
        self.stops += 1
        self.stopped.set()

    def health(self):
        return {"temperature_C": 21.0}

    def inspect(self, job):
        return None


@pytest.fixture
def bench(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    plate, drivers = Hotplate(), []
    server = serve_driver(plate, tmp_path, name="hotplate", port=port)

    def make(folder="client", **settings):
        spec = {
            "capabilities": {"run": RUN},
            "stop": {"call": "AthanorInstrument.Stop"},
            "certificate": str(tmp_path / "sila.pem"),
            "poll_s": 0.02,
        }
        drivers.append(SilaInstrument(workdir=tmp_path / folder, host="127.0.0.1", port=port, **(spec | settings)))
        return drivers[-1]

    yield make, plate, server
    for driver in drivers:
        driver.close()
    with contextlib.suppress(RuntimeError):  # a test may have stopped it
        server.stop()


def job(remote_id: str = "r1", what: str = "warm", name: str | None = None, **parameters: object) -> Job:
    told = {"id": remote_id, "what": what, "on": "s1", "json": json.dumps({"temperature_C": 80.0, **parameters})}
    return Job(name or f"c-{remote_id}", "run", "s1", told, 0)


def test_our_instrument_is_served_and_driven(bench):
    make, plate, _ = bench
    driver = make()
    assert isinstance(driver, Driver)
    outcome = driver.run(job(), quiet)
    assert outcome.status == "ok", outcome.message
    assert plate.ran == ["r1"]
    assert json.loads(driver.read_value("AthanorInstrument.Health")) == {"temperature_C": 21.0}
    capabilities = json.loads(driver.read_value("AthanorInstrument.Capabilities"))
    assert capabilities["warm"]["limits"]["temperature_C"] == {"low": 0, "high": 300}


def test_a_command_id_is_carried_out_once_also_from_another_client(bench):
    make, plate, _ = bench
    first = make("a").invoke("AthanorInstrument.Run", remote("r1"), quiet)
    again = make("b").invoke("AthanorInstrument.Run", remote("r1"), quiet)
    assert first.Report == again.Report and plate.ran == ["r1"]


def remote(name: str, what: str = "warm", **parameters: object) -> dict[str, str]:
    told = json.dumps({"temperature_C": 80.0, **parameters})
    return {"CommandId": name, "Capability": what, "Sample": "s1", "Parameters": told}


def test_limits_faults_and_unknown_capabilities_come_back_as_reports(bench):
    make, plate, _ = bench
    driver = make()
    for arguments, status, says in (
        (remote("hot", temperature_C=9000.0), "failed", "outside the limits"),
        (remote("fly", what="fly"), "failed", "cannot fly"),
        (remote("crack", **{"break": True}), "fault", "cracked"),
    ):
        answer = driver.invoke("AthanorInstrument.Run", arguments, quiet)
        assert answer.Status == status and says in json.loads(answer.Report)["message"]
    assert plate.ran == ["crack"]
    with pytest.raises(InstrumentFault, match="JSON"):
        driver.invoke("AthanorInstrument.Run", remote("x") | {"Parameters": "{"}, quiet)


def test_what_the_remote_device_calls_failed_or_broken_is_never_a_success(bench):
    make, _, _ = bench
    driver = make()
    outcome = driver.run(job("hot", temperature_C=9000.0), quiet)
    assert outcome.status == "failed" and "outside the limits" in outcome.message
    with pytest.raises(InstrumentFault, match="cracked"):
        driver.run(job("crack", **{"break": True}), quiet)


def test_stop_reaches_the_device_while_it_runs(bench):
    make, plate, _ = bench
    driver, found = make(), []
    thread = threading.Thread(target=lambda: found.append(driver.run(job(wait_s=30.0), quiet)))
    thread.start()
    end = time.monotonic() + 60
    while not plate.ran:
        assert time.monotonic() < end
        time.sleep(0.01)
    driver.stop()
    thread.join(60)
    assert plate.stops >= 1 and found[0].status == "failed" and "stopped" in found[0].message


def test_a_feature_that_is_not_there_is_refused(bench):
    make, _, _ = bench
    driver = make(capabilities={"run": {"call": "Nothing.AtAll"}})
    outcome = driver.run(job(), quiet)
    assert outcome.status == "failed" and "no Nothing.AtAll" in outcome.message


def test_a_server_that_dies_is_a_fault_and_nobody_can_tell(bench):
    make, _, server = bench
    driver = make()
    assert driver.run(job(), quiet).status == "ok"
    server.stop()
    with pytest.raises(InstrumentFault):
        driver.run(job("r2"), quiet)
    assert driver.inspect(job("r2")) is None


def test_a_server_without_our_certificate_is_not_spoken_to(bench, tmp_path):
    make, plate, _ = bench
    with pytest.raises(InstrumentFault):
        make(certificate="").run(job(), quiet)
    assert not plate.ran
    with pytest.raises(LabError, match="certificate"):
        make(certificate=str(tmp_path / "none.pem"))


def test_insecure_is_for_loopback_only(tmp_path):
    with pytest.raises(LabError, match="loopback"):
        SilaInstrument(workdir=tmp_path, host="10.0.0.1", port=1, insecure=True, capabilities={"run": RUN})
    with pytest.raises(LabError, match="loopback"):
        serve_driver(Hotplate(), tmp_path, name="x", host="0.0.0.0", insecure=True)
    with pytest.raises(LabError, match="cannot be written"):
        SilaInstrument(workdir=tmp_path, host="::1", port=1, capabilities={"run": {"write": {"x": "A.B"}}})
