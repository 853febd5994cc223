"""What `make run` promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.campaign import load_campaign
from controller.science import check_science
from models import elements

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "campaigns" / "heusler-magnets.yaml"


def test_the_space_is_as_large_as_its_closed_form_and_holds_no_element_that_it_should_not():
    campaign, _ = load_campaign(FILE)
    symbols = campaign.space.elements["*"]
    n = len(symbols)
    assert check_science(campaign, FILE.parent) == n * (n - 1) * (n - 2) == 39_270
    assert not set(symbols) & {*elements.RARE_EARTH, *elements.RADIOACTIVE, *elements.POISONOUS}
    assert campaign.budget.experiments == 60


@pytest.mark.slow
def test_the_main_job_survives_a_kill_and_decides_on_ray_what_it_decides_without(tmp_path):
    def athanor(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "controller.cli", *map(str, arguments)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)

    local = tmp_path / "local.yaml"
    local.write_text(FILE.read_text().replace("backend: ray", "backend: local"))
    assert athanor("run", local, "--dir", tmp_path / "a", "--budget", 12, "--quiet", "--no-report").returncode == 0

    begin = ["-m", "controller.cli", "run", "--budget", "12", "--json", "--no-report"]
    process = subprocess.Popen(
        [sys.executable, *begin, str(FILE), "--dir", str(tmp_path / "b")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("number") == 5:
            break
    process.kill()
    process.wait()
    assert athanor("resume", tmp_path / "b", "--quiet", "--no-report").returncode == 0
    first, second = (json.loads(athanor("status", tmp_path / d, "--json").stdout) for d in "ab")
    assert first["choices"] == second["choices"]
    assert first["state"] == second["state"] == "finished"
    assert athanor("replay", tmp_path / "b").returncode == 0
