"""Random search over the same space in the same simulated lab, so that the report has something to compare with."""

from __future__ import annotations

from pathlib import Path

import yaml

from controller.run import begin, go_on
from controller.rundir import RunDirectory
from controller.state import State


def run_baseline(directory: RunDirectory, state: State) -> Path | None:
    """Carry out the comparison that a finished campaign asks for; goes on with one that was interrupted.

    The same campaign with the same seed and budget, whose acquisition chooses at random among what passes the rules;
    its compute is local, since random choices need none.

    Returns:
        The comparison's run directory (``RUN/baseline/run``), or ``None`` where the campaign asks for none.

    Raises:
        AthanorError: as any run.
    """
    if state.started is None or state.require().baseline is None:
        return None
    folder = directory.path / "baseline"
    other = RunDirectory(folder / "run")
    if not other.exists():
        plan = yaml.safe_load(state.started.text)
        plan |= {"acquisition": {"name": "random"}, "compute": {"backend": "local"}}
        for key in (
            "baseline",
            "predictor",
            "stop",
            "replicates",
        ):
            plan.pop(key, None)
        folder.mkdir(exist_ok=True)
        file = folder / "campaign.yaml"
        file.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
        begin(
            file,
            other,
            seed=state.started.seed,
            budget=state.started.budget,
            base_dir=Path(state.started.base_dir),
        )
    go_on(other)
    return other.path
