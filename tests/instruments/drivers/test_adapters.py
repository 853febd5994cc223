"""The Bluesky and PyLabRobot adapters: by their documented shape, and with the real packages where installed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from instruments.driver import Driver, Job
from instruments.drivers.bluesky import BlueskyDevices
from instruments.drivers.pylabrobot import PyLabRobotHandler
from instruments.errors import InstrumentFault, LabError

HERE = Path(__file__).parent / "devices.py"
MOVE = {"move": {"write": {"angle_deg": "motor"}, "read": {"reached_deg": "motor"}, "limits": {"angle_deg": [-90, 90]}}}


def quiet(fraction: float, message: str) -> None:
    pass


def move(name: str = "c1", angle: object = 5.0) -> Job:
    return Job(name, "move", "s", {"angle_deg": angle}, 0)


@pytest.fixture
def bluesky(tmp_path):
    drivers = []

    def make(options=None, **settings):
        devices = {"motor": {"make": f"{HERE}:Motor", "options": options or {}}}
        spec = {"devices": devices, "capabilities": MOVE}
        drivers.append(BlueskyDevices(workdir=tmp_path, **(spec | settings)))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


def test_a_motor_is_set_and_read(bluesky):
    driver = bluesky()
    assert isinstance(driver, Driver)
    outcome = driver.run(move(), quiet)
    assert outcome.status == "ok" and outcome.readings == {"reached_deg": 5.0}
    assert driver.run(move(), quiet) == outcome and driver._find("motor").sets == 1
    assert driver.health()["reached_deg"] == 5.0


def test_limits_are_checked_here_and_by_the_device(bluesky):
    driver = bluesky()
    assert "outside the limits" in driver.run(move(angle=95.0), quiet).message
    outcome = driver.run(move("c2", 50.0), quiet)
    assert outcome.status == "failed" and "does not take" in outcome.message
    assert driver._find("motor").sets == 0


def test_a_motor_that_does_not_arrive_is_a_fault(bluesky):
    with pytest.raises(InstrumentFault, match="has not arrived"):
        bluesky({"stuck": True}, timeout_s=0.1).run(move(), quiet)


def test_stop_stops_a_moving_motor(bluesky):
    driver, found = bluesky({"stuck": True}), []
    driver._find("motor")

    def run():
        try:
            found.append(driver.run(move(), quiet))
        except InstrumentFault as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not driver._find("motor").sets:
        time.sleep(0.005)
    driver.stop()
    thread.join(60)
    assert not thread.is_alive() and found[0].status == "failed" and "stopped" in found[0].message


def test_wrong_names_are_named(bluesky, tmp_path):
    outcome = bluesky(capabilities={"move": {"write": {"angle_deg": "arm"}}}).run(move(), quiet)
    assert outcome.status == "failed" and "there are: motor" in outcome.message
    with pytest.raises(LabError, match="at least one"):
        BlueskyDevices(workdir=tmp_path, devices={}, capabilities=MOVE)


def test_an_ophyd_async_signal_is_set_and_read(tmp_path):
    pytest.importorskip("ophyd_async", reason="pip install 'athanor[bluesky]'")
    spec = {"move": {"write": {"x": "signal"}, "read": {"y": "signal"}}}
    driver = BlueskyDevices(workdir=tmp_path, devices={"signal": f"{HERE}:soft_signal"}, capabilities=spec)
    outcome = driver.run(Job("c", "move", "s", {"x": 2.5}, 0), quiet)
    driver.close()
    assert outcome.status == "ok" and outcome.readings == {"y": 2.5}


def transfer(name: str = "c1", **parameters: object) -> Job:
    told = {"source": "plate.A1", "target": "plate.B1", "tip": "tips.A1", "volume_uL": 50.0}
    return Job(name, "transfer", "s", told | parameters, 0)


@pytest.fixture
def handler(tmp_path):
    drivers = []

    def make(**options):
        drivers.append(PyLabRobotHandler(workdir=tmp_path, robot=f"{HERE}:Robot", options=options))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


def test_a_transfer_is_four_movements_and_done_once(handler):
    driver = handler()
    assert isinstance(driver, Driver)
    outcome = driver.run(transfer(), quiet)
    assert outcome.status == "ok" and outcome.readings == {"volume_uL": 50.0}
    moves = ["setup", "tip tips.A1", "aspirate 50 plate.A1", "dispense 50 plate.B1", "discard"]
    assert driver._robot.moves == moves
    assert driver.run(transfer(), quiet) == outcome and driver._robot.moves == moves


@pytest.mark.parametrize(
    "wrong", [{"volume_uL": 0.0}, {"volume_uL": 1e6}, {"source": "plate.Z9"}, {"target": "nowhere"}, {"tip": None}]
)
def test_nonsense_moves_nothing(handler, wrong):
    driver = handler()
    outcome = driver.run(transfer(**wrong), quiet)
    assert outcome.status == "failed" and "nothing was done" in outcome.message
    assert driver._robot is None or driver._robot.moves == ["setup"]


def test_a_jam_is_a_fault_and_the_notes_say_how_far_it_came(handler):
    driver = handler(jam="dispense 50 plate.B1")
    with pytest.raises(RuntimeError, match="blocked"):
        driver.run(transfer(), quiet)
    assert driver.inspect(transfer()) is None
    driver = handler(jam="tip tips.A1")
    with pytest.raises(RuntimeError, match="blocked"):
        driver.run(transfer("c2"), quiet)
    assert driver.inspect(transfer("c2")).status == "untouched"


def test_a_stop_comes_between_two_movements(handler):
    driver = handler()
    outcome = driver.run(transfer(), lambda fraction, message: driver.stop() if message == "aspirated" else None)
    assert outcome.status == "failed" and "before it dispensed" in outcome.message
    assert driver._robot.moves[-1].startswith("aspirate")


def test_the_real_pylabrobot_transfers(tmp_path):
    pytest.importorskip("pylabrobot", reason="pip install 'athanor[plr]'")
    driver = PyLabRobotHandler(workdir=tmp_path, robot=f"{HERE}:chatterbox")
    outcome = driver.run(transfer(), quiet)
    driver.close()
    assert outcome.status == "ok", outcome.message
