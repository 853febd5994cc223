"""A person as an instrument."""

from __future__ import annotations

import threading
import time

import pytest

from instruments.driver import Driver, Job
from instruments.drivers.human import Human, answer_request, main, open_requests
from instruments.errors import LabError, Refused

CAN = {
    "press": {
        "instruction": "Press {sample} at {pressure_MPa:g} MPa for {time_min:g} min.",
        "readings": {"thickness_mm": [0, 20]},
        "limits": {"pressure_MPa": [0, 500]},
    }
}


def quiet(fraction: float, message: str) -> None:
    pass


def job(name: str = "c/1", **parameters: object) -> Job:
    return Job(name, "press", "s1", {"pressure_MPa": 200.0, "time_min": 5, **parameters}, 0)


@pytest.fixture
def person(tmp_path):
    return Human(workdir=tmp_path, capabilities=CAN, poll_s=0.01)


def begin(driver, a_job):
    found = []

    def run():
        try:
            found.append(driver.run(a_job, quiet))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def asked(path):
    end = time.monotonic() + 60
    while not (found := open_requests(path)):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


def test_a_person_is_told_what_to_do_and_says_what_they_saw(person, tmp_path):
    assert isinstance(person, Driver)
    thread, found = begin(person, job())
    (request,) = asked(tmp_path)
    assert request["instruction"] == "Press s1 at 200 MPa for 5 min."
    assert person.health()["open_requests"] == 1
    answer_request(tmp_path, "c/1", who="Ana", readings={"thickness_mm": 1.9}, note="a small crack")
    thread.join(60)
    assert found[0].status == "ok" and found[0].readings == {"thickness_mm": 1.9}
    assert found[0].message == "Ana: a small crack" and not open_requests(tmp_path)


def test_a_person_may_say_that_it_failed(person, tmp_path):
    thread, found = begin(person, job())
    asked(tmp_path)
    with pytest.raises(Refused, match="why"):
        answer_request(tmp_path, "c/1", who="Ana", readings={}, failed=True)
    answer_request(tmp_path, "c/1", who="Ana", readings={}, failed=True, note="it broke")
    thread.join(60)
    assert found[0].status == "failed" and "it broke" in found[0].message


@pytest.mark.parametrize(
    ("who", "readings", "says"),
    [
        ("", {"thickness_mm": 1.0}, "who"),
        ("Ana", {}, "missing"),
        ("Ana", {"thickness_mm": 1900.0}, "unit"),
        ("Ana", {"thickness_mm": float("nan")}, "outside"),
        ("Ana", {"thickness_mm": 1.0, "colour": 3}, "nobody asked for colour"),
    ],
)
def test_an_answer_that_cannot_be_right_is_refused(person, tmp_path, who, readings, says):
    thread, _ = begin(person, job())
    asked(tmp_path)
    with pytest.raises(Refused, match=says):
        answer_request(tmp_path, "c/1", who=who, readings=readings)
    person.stop()
    thread.join(60)


def test_stop_withdraws_the_request(person, tmp_path):
    thread, found = begin(person, job())
    asked(tmp_path)
    person.stop()
    thread.join(60)
    assert found[0].status == "failed" and "may have begun" in found[0].message
    assert not open_requests(tmp_path)
    with pytest.raises(Refused, match="withdrawn"):
        answer_request(tmp_path, "c/1", who="Ana", readings={"thickness_mm": 1.0})


def test_nobody_answers_and_that_is_a_fault(tmp_path):
    thread, found = begin(Human(workdir=tmp_path, capabilities=CAN, poll_s=0.01, timeout_h=1e-5), job())
    thread.join(60)
    assert isinstance(found[0], TimeoutError) and not open_requests(tmp_path)


def test_an_answer_given_while_the_host_was_down_is_found(person, tmp_path):
    thread, _ = begin(person, job())
    asked(tmp_path)
    fresh = Human(workdir=tmp_path, capabilities=CAN)  # as after a crash: the notes say that a person was asked
    assert fresh.inspect(job()) is None
    assert fresh.inspect(job("other")).status == "untouched"
    answer_request(tmp_path, "c/1", who="Ana", readings={"thickness_mm": 2.0})
    assert fresh.inspect(job()).readings == {"thickness_mm": 2.0}
    thread.join(60)
    with pytest.raises(Refused, match="already"):
        answer_request(tmp_path, "c/1", who="Ben", readings={"thickness_mm": 3.0})


def test_nonsense_asks_nobody(person, tmp_path):
    assert "outside" in person.run(job(pressure_MPa=1e6), quiet).message
    assert "cannot be filled in" in person.run(job("c2", time_min="long"), quiet).message
    assert "cannot polish" in person.run(Job("c3", "polish", "s", {}, 0), quiet).message
    assert not open_requests(tmp_path)


def test_the_command_line_lists_and_answers(person, tmp_path, capsys):
    thread, found = begin(person, job())
    asked(tmp_path)
    assert main([str(tmp_path)]) == 0
    assert "Press s1 at 200 MPa" in capsys.readouterr().out
    assert main([str(tmp_path), "c/1", "thickness_mm=x", "--who", "Ana"]) == 2
    assert main([str(tmp_path), "c/1", "thickness_mm=2.5", "--who", "Ana"]) == 0
    thread.join(60)
    assert found[0].readings == {"thickness_mm": 2.5}


def test_a_malformed_capability_is_named(tmp_path):
    with pytest.raises(LabError, match="instruction"):
        Human(workdir=tmp_path, capabilities={"x": {}})
    with pytest.raises(LabError, match="colour"):
        Human(workdir=tmp_path, capabilities={"x": {"instruction": "do", "colour": 1}})
