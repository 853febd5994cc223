import math
from pathlib import Path

import pytest

from instruments.driver import Driver, Job
from instruments.drivers.function import FunctionDriver
from instruments.errors import LabError

LAB = """
def bowl(x, y):
    return (x - 1) ** 2 + y

def both(x):
    return {"a": x, "b": 2 * x, "extra": 0}

def broken(x):
    raise ValueError("the pump is empty")

def missing(x):
    return float("nan")

def text(x):
    return "hello"

number = 3
"""


def quiet(fraction: float, message: str) -> None:
    pass


def job(**parameters: object) -> Job:
    return Job("c1", "measure", "s1", {"candidate": "p-1", "parameters": parameters}, 0)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    path = tmp_path / "lab.py"
    path.write_text(LAB)
    return path


def make(lab: Path, name: str, **settings: object) -> FunctionDriver:
    return FunctionDriver(workdir=lab.parent, function=f"{lab}:{name}", **settings)  # type: ignore[arg-type]


def test_a_number_is_the_one_quantity(lab):
    driver = make(lab, "bowl", quantities=["height_mm"], duration_s=5)
    assert isinstance(driver, Driver)
    outcome = driver.run(job(x=3, y=0.5), quiet)
    assert (outcome.status, outcome.readings, outcome.duration_s) == ("ok", {"height_mm": 4.5}, 5)
    assert make(lab, "bowl").run(job(x=1, y=2), quiet).readings == {"value": 2.0}


def test_a_dict_gives_the_declared_quantities_only(lab):
    assert make(lab, "both", quantities={"a": [0, 9], "b": []}).run(job(x=2), quiet).readings == {"a": 2, "b": 4}


def test_a_module_path_works_too(tmp_path):
    driver = FunctionDriver(workdir=tmp_path, function="operator:index")
    assert "TypeError" in driver.run(job(x=3), quiet).message


def test_an_exception_is_a_fault_to_repair_and_no_chemistry(lab):
    driver = make(lab, "broken")
    outcome = driver.run(job(x=1), quiet)
    assert outcome.status == "fault" and "the pump is empty" in outcome.message
    assert "the pump is empty" in driver.health()["last_error"]


def test_nan_passes_through_for_the_gate_to_judge(lab):
    assert math.isnan(make(lab, "missing").run(job(x=1), quiet).readings["value"])


@pytest.mark.parametrize(
    ("name", "quantities", "says"),
    [("text", ["value"], "hello"), ("both", ["a", "c"], "lacks c"), ("bowl", ["a", "b"], "return a dict with a, b")],
)
def test_an_answer_of_the_wrong_kind_says_what_to_return(lab, name, quantities, says):
    arguments = {"x": 1, "y": 1} if name == "bowl" else {"x": 1}
    outcome = make(lab, name, quantities=quantities).run(job(**arguments), quiet)
    assert outcome.status == "fault" and says in outcome.message


def test_limits_are_checked_before_the_call(lab):
    driver = make(lab, "bowl", limits={"x": [0, 1]})
    assert "outside 0..1" in driver.run(job(x=2, y=0), quiet).message
    assert driver.health()["calls"] == 0
    assert driver.capabilities()[0].limits["x"].high == 1


def test_an_interrupted_call_is_unknown_unless_declared_harmless(lab):
    assert make(lab, "bowl").inspect(job()) is None
    outcome = make(lab, "bowl", idempotent=True).inspect(job())
    assert outcome is not None and outcome.status == "untouched"


def test_a_stop_during_the_call_drops_the_answer_and_the_next_call_works(lab):
    driver = make(lab, "bowl")
    function, driver.function = driver.function, lambda **k: (driver.stop(), 1.0)[1]
    assert driver.run(job(x=1, y=1), quiet).status == "failed"
    driver.function = function
    assert driver.run(job(x=1, y=1), quiet).status == "ok"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("lab.py", "write 'path"),
        ("/nowhere/lab.py:f", "no file"),
        ("no_such_module:f", "no_such_module"),
        ("math:no_such_name", "no_such_name"),
        ("math:pi", "not callable"),
    ],
)
def test_a_function_that_does_not_exist_is_refused_at_once(tmp_path, target, says):
    with pytest.raises(LabError, match=says):
        FunctionDriver(workdir=tmp_path, function=target)


def test_a_file_that_fails_to_import_says_why(tmp_path):
    (tmp_path / "lab.py").write_text("1 / 0\n")
    with pytest.raises(LabError, match="ZeroDivisionError"):
        FunctionDriver(workdir=tmp_path, function=f"{tmp_path}/lab.py:f")


def test_a_function_that_measures_crystals_gets_the_crystal(tmp_path):
    (tmp_path / "lab.py").write_text("def count(target, hours=1):\n    return len(target['species']) * hours\n")
    function = f"{tmp_path}/lab.py:count"
    crystal = {"species": ["Ga", "As"]}
    told = FunctionDriver(workdir=tmp_path, function=function, quantities=["atoms"], target=True)
    told_to = Job("c1", "measure", "s1", {"parameters": {"hours": 3}, "target": crystal}, 0)
    assert told.run(told_to, quiet).readings == {"atoms": 6.0}
    silent = FunctionDriver(workdir=tmp_path, function=function, quantities=["atoms"])
    assert silent.run(told_to, quiet).status == "fault"
