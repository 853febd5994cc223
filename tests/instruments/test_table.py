import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.driver import Driver, Job
from instruments.drivers.table import TableDriver
from instruments.errors import LabError

CSV = "temperature_C,solvent,yield_pct,note_pct\n100,water,10,1\n100.0,water,20,2\n150,water,30,\n150,dmf,nan,3\n"


def quiet(fraction: float, message: str) -> None:
    pass


def job(parameters: dict, seed: int = 0) -> Job:
    return Job("c1", "measure", "s1", {"candidate": "row-0", "parameters": parameters}, seed)


@pytest.fixture
def driver(tmp_path: Path) -> TableDriver:
    (tmp_path / "t.csv").write_text(CSV)
    return TableDriver(
        workdir=tmp_path,
        file=str(tmp_path / "t.csv"),
        quantities={"yield_pct": [0, 100]},
        parameters=["temperature_C", "solvent"],
        duration_s=60,
    )


def test_it_is_a_driver_and_announces_bounds_and_idempotence(driver):
    assert isinstance(driver, Driver)
    (capability,) = driver.capabilities()
    assert capability.name == "measure" and capability.idempotent
    assert (capability.quantities["yield_pct"].low, capability.quantities["yield_pct"].high) == (0, 100)
    assert driver.health() == {"settings": 3, "rows": 4}


@pytest.mark.parametrize("temperature", [150, 150.0, "150", 150.00000000000003])
def test_a_measured_row_is_replayed_however_its_number_is_written(driver, temperature):
    outcome = driver.run(job({"temperature_C": temperature, "solvent": "water"}), quiet)
    assert (outcome.status, outcome.readings, outcome.duration_s) == ("ok", {"yield_pct": 30.0}, 60)


def test_replicates_are_drawn_by_seed_and_a_repeated_seed_repeats_the_draw(driver):
    asked = {"temperature_C": 100, "solvent": "water"}
    draws = [driver.run(job(asked, seed), quiet).readings["yield_pct"] for seed in range(30)]
    again = [driver.run(job(asked, seed), quiet).readings["yield_pct"] for seed in range(30)]
    assert draws == again and set(draws) == {10.0, 20.0}


def test_a_missing_reading_is_reported_as_nan_not_hidden(driver):
    outcome = driver.run(job({"temperature_C": 150, "solvent": "dmf"}), quiet)
    assert outcome.status == "ok" and math.isnan(outcome.readings["yield_pct"])


def test_an_unknown_row_and_a_missing_parameter_fail_in_words(driver):
    assert "temperature_C=999" in driver.run(job({"temperature_C": 999, "solvent": "water"}), quiet).message
    outcome = driver.run(job({"solvent": "water"}), quiet)
    assert outcome.status == "failed" and "temperature_C" in outcome.message


def test_an_interrupted_look_up_is_known_to_have_touched_nothing(driver):
    outcome = driver.inspect(job({}))
    assert outcome is not None and outcome.status == "untouched"


def test_parameters_default_to_all_columns_but_the_quantities(tmp_path):
    with gzip.open(tmp_path / "t.csv.gz", "wt") as stream:
        stream.write(CSV)
    driver = TableDriver(workdir=tmp_path, file=str(tmp_path / "t.csv.gz"), quantities=["yield_pct", "note_pct"])
    assert driver.parameters == ["temperature_C", "solvent"]
    assert math.isnan(driver.run(job({"temperature_C": 150, "solvent": "water"}), quiet).readings["note_pct"])


def test_parquet_is_read_like_csv(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pd.DataFrame({"x": [1, 2], "y": [0.5, 0.25]}).to_parquet(tmp_path / "t.parquet")
    driver = TableDriver(workdir=tmp_path, file=str(tmp_path / "t.parquet"), quantities=["y"])
    assert driver.run(job({"x": 2}), quiet).readings == {"y": 0.25}


def test_a_path_may_name_an_environment_variable(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text(CSV)
    monkeypatch.setenv("ATHANOR_DATA", str(tmp_path))
    assert TableDriver(workdir=tmp_path, file="${ATHANOR_DATA}/t.csv", quantities=["yield_pct"]).health()["rows"] == 4
    monkeypatch.delenv("ATHANOR_DATA")
    with pytest.raises(LabError, match="not set"):
        TableDriver(workdir=tmp_path, file="${ATHANOR_DATA}/t.csv", quantities=["yield_pct"])


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        (None, {}, "no such file"),
        ("x,y\n", {}, "no rows"),
        ("x,z\n1,2\n", {}, "no column y; the table has: x, z"),
        ("x,y\n1,2\n3,oops\n", {}, "line 3: column y holds 'oops'"),
        ("x,y\n1,2\n", {"quantities": "y"}, "expected a list"),
    ],
)
def test_a_bad_table_is_refused_at_once_with_the_place(tmp_path, text, settings, says):
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    with pytest.raises(LabError, match=says):
        TableDriver(workdir=tmp_path, file=str(tmp_path / "t.csv"), **({"quantities": ["y"]} | settings))


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=20, unique_by=lambda x: f"{x:.12g}"))
def test_every_row_of_any_table_is_found_again(tmp_path_factory, xs):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text("x,y\n" + "".join(f"{x!r},{i}\n" for i, x in enumerate(xs)))
    driver = TableDriver(workdir=path.parent, file=str(path), quantities=["y"])
    assert [driver.run(job({"x": x}), quiet).readings["y"] for x in xs] == list(range(len(xs)))


def test_a_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa,y\n1,1.5\n2,3\n")
    driver = TableDriver(workdir=tmp_path, file=str(tmp_path / "t.csv"), quantities=["y"])
    assert driver.run(job({"a": 1}), quiet).readings == {"y": 1.5}


def test_a_column_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a,a,y\n1,2,3\n")
    with pytest.raises(LabError, match="stands twice"):
        TableDriver(workdir=tmp_path, file=str(tmp_path / "t.csv"), quantities=["y"])
