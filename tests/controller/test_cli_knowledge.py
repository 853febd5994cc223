import json

import numpy as np
import pytest

from controller.cli import main


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    monkeypatch.delenv("ATHANOR_DATA", raising=False)


def peaks(angles, places):
    return 50 + sum(1000 * np.exp(-(((angles - p) / 0.08) ** 2)) for p in places)


@pytest.fixture
def pattern(tmp_path):
    angles = np.arange(35, 65, 0.03)
    # the reflections 111, 200 and 220 of MgO
    y = peaks(angles, [36.9]) * 0.1 + peaks(angles, [42.9]) + 0.5 * peaks(angles, [62.3])
    file = tmp_path / "mgo.xy"
    file.write_text("\n".join(f"{a:.3f} {b:.1f}" for a, b in zip(angles, np.random.default_rng(0).poisson(y))))
    return file


def test_phases_are_printed_for_people_and_for_programs(pattern, capsys):
    assert main(["phases", str(pattern), "--elements", "Mg,O"]) == 0
    assert "MgO" in capsys.readouterr().out
    assert main(["phases", str(pattern), "--elements", "Mg O", "--json"]) == 0
    (phase,) = json.loads(capsys.readouterr().out)["phases"]
    assert phase["formula"] == "MgO" and phase["weight_fraction"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--elements", "Zz"], "Zz"),
        (["--elements", "Mg,O", "--wavelength", "odd"], "anode"),
        (["--elements", "Mg,O", "--references", "/nowhere"], "no such folder"),
    ],
)
def test_bad_words_end_with_what_to_change(pattern, words, told, capsys):
    assert main(["phases", str(pattern), *words]) == 2
    assert told in capsys.readouterr().err


def test_a_pattern_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["phases", str(tmp_path / "none.xy"), "--elements", "Mg"]) == 2
    assert "none.xy" in capsys.readouterr().err


def test_reading_recipes_without_data_says_what_to_set(tmp_path, capsys):
    file = tmp_path / "a.txt"
    file.write_text("BaTiO3 was heated.")
    assert main(["extract", str(file)]) == 2
    assert "ATHANOR_DATA" in capsys.readouterr().err


def test_spans_of_a_line_that_is_no_object_are_refused(tmp_path, capsys):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": 3}\n')
    assert main(["extract", "--spans", str(file)]) == 2
    assert "line 1" in capsys.readouterr().err
