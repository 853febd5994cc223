"""The conformance suite: our drivers keep their promises, and drivers that do not are found out."""

from __future__ import annotations

import json
import sys
import time

import pytest

from instruments import conformance
from instruments.conformance import check_driver, main
from instruments.driver import Capability, Job, Limit, Outcome
from instruments.drivers.human import Human
from instruments.drivers.mt_sics import MtSicsBalance
from instruments.drivers.scpi import ScpiSourceMeter
from instruments.simulators.dial import FaultDial
from instruments.simulators.eurotherm import REMOTE_SELECT, EurothermFurnace
from instruments.simulators.mt_sics import Balance
from instruments.simulators.scpi import SourceMeter
from instruments.simulators.server import TcpServer

PROMISES = 10


class Good:
    """Keeps every promise: acts by appending to a file, and looks there."""

    def __init__(self, *, workdir, file):
        self.file, self.stopped = file, False

    def capabilities(self):
        return [Capability("act", {"x": Limit(0, 1)}, {"y": Limit(0, 10)})]

    def run(self, job, progress):
        self.stopped = False
        x = job.parameters.get("x")
        if job.capability != "act" or isinstance(x, bool) or not isinstance(x, int | float) or not 0 <= x <= 1:
            return Outcome("failed", message="no")
        for _ in range(20):
            time.sleep(0.005)
            if self.stopped:
                return Outcome("failed", message="stopped")
        with open(self.file, "a") as stream:
            stream.write(f"{job.command_id}\n")
        return Outcome("ok", {"y": 2 * x})

    def stop(self):
        self.stopped = True

    def health(self):
        return {"fine": True}

    def inspect(self, job):
        with open(self.file) as stream:
            done = job.command_id in stream.read().split()
        return Outcome("ok", {"y": 2 * job.parameters["x"]}) if done else Outcome("untouched")


class Forgets(Good):
    def inspect(self, job):
        return Outcome("untouched")


class Lies(Good):
    def inspect(self, job):
        return Outcome("ok", {"y": 2 * job.parameters["x"]})


class Deaf(Good):
    def stop(self):
        pass

    def run(self, job, progress):
        time.sleep(0.3)
        return super().run(job, progress)


class Careless(Good):
    def run(self, job, progress):
        time.sleep(0.05)
        with open(self.file, "a") as stream:
            stream.write(f"{job.command_id}\n")
        return Outcome("ok", {"y": float(job.parameters["x"]), "z": 1.0})


class Silent(Good):
    def health(self):
        raise RuntimeError("no")

    def capabilities(self):
        return [Capability("act", {"x": Limit(1, 0)}, {"y": Limit()})]


def check(cls, tmp_path, **options):
    file = tmp_path / "device"
    file.write_text("")
    results = check_driver(
        cls,
        {"file": str(file)},
        Job("j", "act", "s", {"x": 0.5}, 0),
        acts=lambda: len(file.read_text().split()),
        **options,
    )
    assert len(results) == PROMISES
    return {result.name: result for result in results if not result.passed}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The children find this module by its name."""
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(Good, "__module__", "test_conformance")
    for cls in (Forgets, Lies, Deaf, Careless, Silent):
        monkeypatch.setattr(cls, "__module__", "test_conformance")


def test_a_driver_that_keeps_its_promises_passes(tmp_path):
    assert check(Good, tmp_path) == {}


@pytest.mark.parametrize(
    ("cls", "promise", "says"),
    [
        (Forgets, "asked again", "says untouched of a job that was done"),
        (Lies, "never begun", "says ok"),
        (Lies, "killed amid", "never acted"),
        (Deaf, "stops in time", "went on"),
        (Careless, "does the job", "does not announce"),
        (Careless, "does nothing outside", "return failed"),
        (Careless, "garbage in", "instead of failed"),
        (Silent, "says how it is", "RuntimeError"),
        (Silent, "announces", "limits 1..0"),
    ],
)
def test_a_broken_promise_is_found(tmp_path, monkeypatch, cls, promise, says):
    monkeypatch.setattr(conformance, "KILL_AT", (0.5,) if promise == "killed amid" else ())
    broken = check(cls, tmp_path, stop_s=0.05 if cls is Deaf else 1.0)
    (found,) = [result for name, result in broken.items() if name.startswith(promise)]
    assert says in found.detail


def failures(results):
    assert len(results) == PROMISES
    return [(result.name, result.detail) for result in results if not result.passed]


def test_the_furnace_keeps_them():
    pytest.importorskip("pymodbus", reason="pip install 'athanor[modbus]'")
    from instruments.drivers.modbus_furnace import ModbusFurnace

    dial = FaultDial()
    plant = EurothermFurnace(dial, tau_s=0.02)
    with TcpServer(plant, dial) as server:
        settings = {"host": "127.0.0.1", "port": server.port, "poll_s": 0.02, "max_ramp_C_per_min": 1e6}
        job = Job("j", "heat", "s", {"temperature_C": 80.0, "ramp_C_per_min": 2e4, "hold_min": 0.002}, 0)
        results = check_driver(ModbusFurnace, settings, job, acts=lambda: plant.writes[REMOTE_SELECT])
    assert failures(results) == []


def test_the_source_meter_and_the_balance_keep_them():
    meter = SourceMeter()
    with TcpServer(meter) as server:
        job = Job("j", "iv_sweep", "s", {"start_V": 0.0, "stop_V": 1.0, "points": 9, "compliance_A": 0.01}, 0)
        settings = {"address": f"tcp://127.0.0.1:{server.port}", "timeout_s": 0.5}
        assert failures(check_driver(ScpiSourceMeter, settings, job, acts=lambda: meter.times_on)) == []
    pan = Balance()
    with TcpServer(pan) as server:
        job = Job("j", "tare", "s", {}, 0)
        settings = {"address": f"tcp://127.0.0.1:{server.port}", "timeout_s": 0.5}
        assert failures(check_driver(MtSicsBalance, settings, job, acts=lambda: len(pan.acted))) == []


def test_a_person_who_is_not_there_fails_only_what_needs_one(monkeypatch):
    monkeypatch.setattr(conformance, "KILL_AT", ())
    settings = {"capabilities": {"look": {"instruction": "Look."}}, "timeout_h": 1e-5, "poll_s": 0.01}
    kept = {r.name for r in check_driver(Human, settings, Job("j", "look", "s", {}, 0)) if r.passed}
    assert {"announces what it can do, with limits", "never begun is never called done", "says how it is"} <= kept


def test_the_command_line_prints_a_line_a_promise(capsys, monkeypatch):
    monkeypatch.setattr(conformance, "KILL_AT", ())
    with TcpServer(Balance()) as server:
        arguments = ["mt_sics", "--settings", json.dumps({"address": f"tcp://127.0.0.1:{server.port}"})]
        assert main([*arguments, "--capability", "weigh"]) == 0
        assert capsys.readouterr().out.count("kept") == PROMISES
        assert main([*arguments, "--capability", "fly", "--json"]) == 1
        assert not json.loads(capsys.readouterr().out)[0]["passed"]
    assert main(["no-such-driver"]) == 2
    assert sys.modules["instruments.conformance"].__doc__
