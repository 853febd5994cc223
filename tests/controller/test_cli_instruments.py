"""`athanor human` in a real campaign on the wall clock, and `athanor driver`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controller.cli import main
from controller.events import CommandReported
from controller.journal import Journal
from controller.rundir import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
CAMPAIGN = """\
name: pellets
budget: {experiments: 2}
space:
  kind: parameters
  parameters: {pressure_MPa: {type: float, low: 50, high: 300}}
objectives: [{name: density_g_per_cm3}]
acquisition: {name: random}
planner: {name: direct, capability: press}
lab:
  clock: wall
  instruments:
    ana:
      driver: human
      settings:
        poll_s: 0.05
        capabilities:
          press:
            instruction: "Press {sample} at {pressure_MPa:.0f} MPa and weigh it."
            readings: {density_g_per_cm3: [0, 25]}
compute: {backend: local}
"""


@pytest.fixture
def campaign(tmp_path):
    (tmp_path / "pellets.yaml").write_text(CAMPAIGN)
    process = subprocess.Popen(
        [sys.executable, "-m", "controller.cli", "run", "pellets.yaml", "--dir", "run", "--quiet", "--no-report"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process, tmp_path / "run"
    if process.poll() is None:
        process.terminate()
        process.communicate(timeout=60)


def asked(run: Path, process: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Wait until a person is asked to do something; return what they read."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if (run / "journal.sqlite").exists() and main(["human", str(run)]) == 0:
            shown = capsys.readouterr().out
            if "nobody" not in shown:
                return shown
        time.sleep(0.1)
    raise AssertionError(f"nobody was asked: {process.communicate(timeout=60)[0] if process.poll() else ''}")


def test_a_person_is_an_instrument_of_a_real_campaign(campaign, capsys):
    process, run = campaign
    shown = asked(run, process, capsys)
    assert "ana: Press " in shown and " MPa and weigh it." in shown
    assert "density_g_per_cm3 = ?  (0 .. 25)" in shown
    command = shown.split()[0]
    assert main(["human", str(run), command, "density_g_per_cm3=3.1"]) == 2
    assert "who you are" in capsys.readouterr().err
    assert main(["human", str(run), command, "density_g_per_cm3=900", "--by", "Ana"]) == 2
    assert "look again at the unit" in capsys.readouterr().err
    assert main(["human", str(run), "no/such/0/0", "--by", "Ana"]) == 2
    assert main(["human", str(run), command, "density_g_per_cm3=3.1", "--by", "Ana", "--note", "a crack"]) == 0
    while (second := asked(run, process, capsys).split()[0]) == command:
        time.sleep(0.1)
    assert main(["human", str(run), second, "--failed", "--note", "it crumbled", "--by", "Ana"]) == 0
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    state = RunDirectory(run).load()
    assert state.finished
    measured = [o.values for o in state.observations if o.values]
    assert [values["density_g_per_cm3"] for values in measured] == [3.1]
    with contextlib.closing(Journal(RunDirectory(run).journal, readonly=True)) as journal:
        said = [event.message for _, _, event in journal.read() if isinstance(event, CommandReported)]
    assert said == ["Ana: a crack", "Ana: it crumbled"]


def test_driver_list_names_every_driver_for_people_and_programs(capsys):
    assert main(["driver", "list"]) == 0
    assert "modbus_furnace" in capsys.readouterr().out
    assert main(["driver", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["driver"]: row["class"] for row in rows}["human"] == "instruments.drivers.human:Human"


def test_driver_check_finds_a_module_beside_the_user(tmp_path, monkeypatch, capsys):
    readme = (ROOT / "docs" / "instruments" / "README.md").read_text()
    code = readme.split("```python\n", 1)[1].split("```", 1)[0]
    (tmp_path / "my_oven.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    job = '{"capability": "heat", "parameters": {"temperature_C": 80}}'
    assert main(["driver", "check", "my_oven", "--quick", "--job", job]) == 0, capsys.readouterr()
    assert "all kept" in capsys.readouterr().out
    assert main(["driver", "check", "no_such_module"]) == 2
    assert "choose one of" in capsys.readouterr().err
