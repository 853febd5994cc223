"""The safety envelope on real hosts: what breaks it leaves no trace in the furnace's book."""

from __future__ import annotations

import json

from controller.run import begin
from controller.rundir import RunDirectory
from tests.faults.lab import Bench


class Guarded(Bench):
    """The kiln campaign with a safety section."""

    def __init__(self, folder, section: str) -> None:
        self.folder, self.run = folder, RunDirectory(folder / "run")
        begin(self.campaign(f"safety: {section}\n", budget=8), self.run, seed=None, budget=None)


def test_nothing_outside_the_envelope_is_ever_fired(tmp_path):
    bench = Guarded(tmp_path, "{limits: {fire.x: {high: 0.5}}}")
    code, _, err = bench.finish()
    assert code == 0, err
    fired = [json.loads(line)["x"] for line in (tmp_path / "fired.jsonl").read_text().splitlines()]
    state = bench.run.load()
    wanted = [float(e.candidate.parameters["x"]) for e in state.experiments.values()]
    assert any(x > 0.5 for x in wanted), "the campaign did try"
    assert sorted(fired) == sorted(x for x in wanted if x <= 0.5)


def test_a_limit_with_a_slip_of_the_pen_stops_the_campaign_instead_of_guarding_nothing(tmp_path):
    bench = Guarded(tmp_path, "{limits: {fier.x: {high: 0.5}}}")
    code, _, err = bench.finish()
    assert code == 2
    assert "fier.x" in err
    assert not (tmp_path / "fired.jsonl").exists()
