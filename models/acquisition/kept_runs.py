"""Runs of a benchmark, kept in a file as they end."""

from __future__ import annotations

import csv
from pathlib import Path

from models.acquisition.evaluation import Run
from models.errors import DataError

_COLUMNS = ["pool", "method", "seed", "budget", "rows", "cpu_s"]


class KeptRuns:
    """Campaigns that were played, in a CSV file that grows by a line a campaign: hours survive an interruption.

    Nothing says which version of a planner played them: after changing one, take a new file.

    Args:
        path: is made if it is not there; ``None`` keeps nothing.
        budget: experiments a campaign; runs of another budget are not used.

    Raises:
        DataError: the file is no such table.
    """

    def __init__(self, path: Path | None, budget: int) -> None:
        self._path, self._budget = path, budget
        self._runs: dict[tuple[str, str, int], Run] = {}
        if path is not None and path.exists():
            try:
                with path.open(newline="") as file:
                    for line in csv.DictReader(file):
                        if int(line["budget"]) == budget:
                            run = Run(tuple(map(int, line["rows"].split())), tuple(map(float, line["cpu_s"].split())))
                            self._runs[line["pool"], line["method"], int(line["seed"])] = run
            except (KeyError, ValueError, AttributeError, TypeError) as error:
                raise DataError(
                    f"{path}: not a table of runs ({error}): move it away, or choose another folder"
                ) from None

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, pool: str, method: str, seed: int) -> Run | None:
        """The run, if it was played before."""
        return self._runs.get((pool, method, seed))

    def put(self, pool: str, method: str, seed: int, run: Run) -> None:
        """Keep a run."""
        self._runs[pool, method, seed] = run
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            table = csv.writer(file)
            if new:
                table.writerow(_COLUMNS)
            rows, spent = " ".join(map(str, run.order)), " ".join(f"{s:.4f}" for s in run.cpu_s)
            table.writerow([pool, method, seed, self._budget, rows, spent])
