"""The conformance suite: our drivers keep their promises, and drivers that do not are found out."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from instruments import conformance
from instruments.conformance import check_driver
from instruments.conformance_cli import find_driver, main
from instruments.conformance_host import Broken, HostChecks
from instruments.driver import Capability, Job, Limit, Outcome
from instruments.drivers.human import Human
from instruments.drivers.mt_sics import MtSicsBalance
from instruments.drivers.scpi import ScpiSourceMeter
from instruments.simulators.dial import FaultDial
from instruments.simulators.eurotherm import REMOTE_SELECT, EurothermFurnace
from instruments.simulators.mt_sics import Balance
from instruments.simulators.scpi import SourceMeter
from instruments.simulators.server import TcpServer

PROMISES, HOSTED = 10, 5


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
    before_the_act_s = 60.0
    """In the process that is killed amid the act; here, see ``importable``."""

    def run(self, job, progress):
        time.sleep(self.before_the_act_s)
        return super().run(job, progress)

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


class Twice(Good):
    def run(self, job, progress):
        super().run(job, progress)
        return super().run(job, progress)


class Slow(Good):
    """Takes three seconds and no stop."""

    def stop(self):
        pass

    def run(self, job, progress):
        time.sleep(3.0)
        return super().run(job, progress)


class Fickle(Good):
    """Forgets its limits in a host."""

    def __init__(self, *, workdir, file):
        super().__init__(workdir=workdir, file=file)
        self.hosted = workdir.name == "host"

    def capabilities(self):
        return [Capability("act", {} if self.hosted else {"x": Limit(0, 1)}, {"y": Limit(0, 10)})]


class Batched(Good):
    def capabilities(self):
        return [Capability("act", {"x": Limit(0, 1)}, {"y": Limit(0, 10)}, batch=2)]

    def run_batch(self, jobs, progress):
        return [self.run(job, progress) for job in jobs]


class Lopsided(Batched):
    def run_batch(self, jobs, progress):
        return super().run_batch(jobs[:1], progress)


class Silent(Good):
    def health(self):
        raise RuntimeError("no")

    def capabilities(self):
        return [Capability("act", {"x": Limit(1, 0)}, {"y": Limit()})]


def check(cls, tmp_path, hosted=False, **options):
    file = tmp_path / "device"
    file.write_text("")
    results = check_driver(
        cls,
        {"file": str(file)},
        Job("j", "act", "s", {"x": 0.5}, 0),
        acts=lambda: len(file.read_text().split()),
        hosted=hosted,
        **options,
    )
    assert len(results) == PROMISES + HOSTED * hosted
    return {result.name: result for result in results if not result.passed}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The children find this module by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(Good, "__module__", "test_conformance")
    monkeypatch.setattr(Lies, "before_the_act_s", 0.0)
    for cls in (Forgets, Lies, Deaf, Careless, Silent, Twice, Slow, Fickle, Batched, Lopsided):
        monkeypatch.setattr(cls, "__module__", "test_conformance")


def test_a_driver_that_keeps_its_promises_passes(tmp_path):
    assert check(Good, tmp_path, stop_s=30.0) == {}


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Good, Batched])
def test_a_driver_that_keeps_its_promises_passes_in_a_host_too(tmp_path, cls):
    assert check(cls, tmp_path, hosted=True, stop_s=30.0) == {}


def hosted(cls, tmp_path, stop_s=2.0):
    """The checks in a host alone."""
    file, folder = tmp_path / "device", tmp_path / "hosts"
    file.write_text("")
    folder.mkdir()
    minted = iter(range(100))
    return HostChecks(
        target=f"test_conformance:{cls.__name__}",
        settings={"file": str(file)},
        folder=folder,
        capability=lambda: cls(workdir=tmp_path, file=file).capabilities()[0],
        mint=lambda: Job(f"j{next(minted)}", "act", "s", {"x": 0.5}, 0),
        acts=lambda: len(file.read_text().split()),
        duration_s=lambda: 0.1,
        stop_s=stop_s,
        release=lambda: None,
    )


def test_a_job_that_is_sent_twice_is_done_once_and_a_lost_report_is_found(tmp_path):
    checks = hosted(Batched, tmp_path)
    assert "one act, one report" in checks.sent_twice()
    assert "report that was lost" in checks.killed_after_the_act()
    assert checks.batch() == "2 of at most 2"


@pytest.mark.parametrize(
    ("cls", "promise", "says"),
    [
        pytest.param(Twice, "sent_twice", "acted 2 times for one command", marks=pytest.mark.slow),
        (Forgets, "killed_after_the_act", "untouched of a job that was done"),
        pytest.param(Slow, "stopped", "went on for", marks=pytest.mark.slow),
        pytest.param(Fickle, "refused", "x = 2 was carried out by the host", marks=pytest.mark.slow),
        pytest.param(Lopsided, "batch", "ended fault, fault", marks=pytest.mark.slow),
    ],
)
def test_a_promise_that_is_broken_in_a_host_is_found(tmp_path, cls, promise, says):
    with pytest.raises(Broken, match=says):
        getattr(hosted(cls, tmp_path, stop_s=0.5), promise)()


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
    assert len(results) in (PROMISES, PROMISES + HOSTED)
    return [(result.name, result.detail) for result in results if not result.passed]


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["alone", "hosted"])
def in_host(request):
    return request.param


def test_the_furnace_keeps_them(in_host):
    pytest.importorskip("pymodbus", reason="pip install 'athanor[modbus]'")
    from instruments.drivers.modbus_furnace import ModbusFurnace

    dial = FaultDial()
    plant = EurothermFurnace(dial, tau_s=0.02)
    with TcpServer(plant, dial) as server:
        settings = {
            "host": "127.0.0.1",
            "port": server.port,
            "poll_s": 0.02,
            "max_ramp_C_per_min": 1e6,
            "timeout_s": 20.0,
        }
        job = Job("j", "heat", "s", {"temperature_C": 80.0, "ramp_C_per_min": 2e4, "hold_min": 0.002}, 0)
        results = check_driver(
            ModbusFurnace, settings, job, acts=lambda: plant.writes[REMOTE_SELECT], hosted=in_host, stop_s=30.0
        )
    assert failures(results) == []


def test_the_source_meter_and_the_balance_keep_them(in_host):
    meter = SourceMeter()
    with TcpServer(meter) as server:
        job = Job("j", "iv_sweep", "s", {"start_V": 0.0, "stop_V": 1.0, "points": 9, "compliance_A": 0.01}, 0)
        settings = {"address": f"tcp://127.0.0.1:{server.port}", "timeout_s": 20.0}
        assert (
            failures(
                check_driver(ScpiSourceMeter, settings, job, acts=lambda: meter.times_on, hosted=in_host, stop_s=30.0)
            )
            == []
        )
    pan = Balance()
    with TcpServer(pan) as server:
        job = Job("j", "tare", "s", {}, 0)
        settings = {"address": f"tcp://127.0.0.1:{server.port}", "timeout_s": 20.0}
        assert (
            failures(
                check_driver(MtSicsBalance, settings, job, acts=lambda: len(pan.acted), hosted=in_host, stop_s=30.0)
            )
            == []
        )


def test_a_person_who_is_not_there_fails_only_what_needs_one(monkeypatch):
    monkeypatch.setattr(conformance, "KILL_AT", ())
    settings = {"capabilities": {"look": {"instruction": "Look."}}, "timeout_h": 1e-5, "poll_s": 0.01}
    kept = {r.name for r in check_driver(Human, settings, Job("j", "look", "s", {}, 0), hosted=False) if r.passed}
    assert {"announces what it can do, with limits", "never begun is never called done", "says how it is"} <= kept


def test_the_command_line_prints_a_line_a_promise(capsys, monkeypatch):
    monkeypatch.setattr(conformance, "KILL_AT", ())
    with TcpServer(Balance()) as server:
        settings = json.dumps({"address": f"tcp://127.0.0.1:{server.port}"})
        arguments = ["mt_sics", "--settings", settings, "--quick"]
        assert main([*arguments, "--job", '{"capability": "weigh"}']) == 0
        shown = capsys.readouterr().out
        assert shown.count("kept ") == PROMISES and "all kept" in shown
        assert main([*arguments, "--job", '{"capability": "fly"}', "--json"]) == 1
        assert not json.loads(capsys.readouterr().out)[0]["passed"]
        assert main([*arguments, "--job", '{"capability": "fly"}']) == 1
        assert "docs/instruments/conformance.md" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-driver"], "choose one of"),
        (["instruments.drivers.scpi"], "write instruments.drivers.scpi:CLASS"),
        (["mt_sics", "--settings", "{}"], "address"),
        (["human", "--settings", '{"capabilities": {}}'], "announces no capability"),
        (["human", "--job", '{"temperature_C": 80}'], "temperature_C unknown"),
    ],
)
def test_a_bad_command_says_what_to_write(capsys, arguments, says):
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", "@no-such-file.json"])
def test_settings_that_are_no_json_object_are_refused(capsys, text):
    with pytest.raises(SystemExit):
        main(["mt_sics", "--settings", text])
    assert "JSON" in capsys.readouterr().err


def test_a_module_with_one_driver_is_enough_to_name_it():
    assert find_driver("instruments.drivers.mt_sics") is MtSicsBalance
    assert sys.modules["instruments.conformance"].__doc__


def test_every_promise_is_explained_in_the_documents():
    page = (Path(__file__).parents[3] / "docs" / "instruments" / "conformance.md").read_text()
    checks = conformance._Checks(Good, {}, Job("j", "act", "s", {}, 0), Path(), 1.0, None)
    names = [*checks.all(), *hosted_names()]
    assert len(names) == PROMISES + HOSTED
    assert [name for name in names if name not in page] == []


def hosted_names():
    nothing = dict.fromkeys(("target", "settings", "folder", "capability", "mint", "acts", "duration_s", "stop_s"))
    return HostChecks(**nothing, release=None).all()  # type: ignore[arg-type]
