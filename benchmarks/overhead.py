"""The controller's own cost per experiment: deciding, journalling and dispatching, apart from physics and models.

    python -m benchmarks.overhead [--experiments 200]

Runs a campaign of three-step experiments on real instrument hosts whose drivers answer at once, with choices that cost
nothing, and adds up for each experiment the seconds that the controller's loop was busy. Beside it, from the same run:
the disk's floor (append and fsync) and SQLite's durable commit.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from controller.run import begin, go_on
from controller.rundir import RunDirectory

CAMPAIGN = """
name: overhead
budget: {{experiments: {experiments}}}
space: {{kind: parameters, parameters: {{x: {{low: 0, high: 1}}}}}}
pool_size: 8
objectives: [{{name: y}}]
acquisition: {{name: random}}
planner: {{name: "benchmarks.overhead:ThreeSteps"}}
batch: 1
lab:
  clock: simulated
  instruments:
    oven: {{driver: "benchmarks.overhead:Quick", settings: {{verb: heat, duration_s: 3600}}}}
    gauge: {{driver: "benchmarks.overhead:Quick", settings: {{verb: gauge, duration_s: 600}}}}
    meter: {{driver: "benchmarks.overhead:Quick", settings: {{verb: measure, duration_s: 900}}}}
compute: {{backend: local}}
"""


class ThreeSteps:
    """Heat, gauge, measure."""

    def plan(self, candidate):
        from models.route import Operation, Route

        steps = tuple(Operation(capability=v, parameters={"x": candidate.parameters["x"]}) for v in ("heat", "gauge"))
        last = Operation(capability="measure", parameters={"x": candidate.parameters["x"]}, quantities=("y",))
        return [Route(candidate=candidate.id, operations=(*steps, last), reason="three quick steps")]


class Quick:
    """Answers at once."""

    def __init__(self, *, workdir, verb, duration_s):
        self.verb, self.duration_s = verb, duration_s

    def capabilities(self):
        from instruments.driver import Capability, Limit

        return [Capability(self.verb, limits={"x": Limit(0, 1)}, idempotent=True)]

    def run(self, job, progress):
        from instruments.driver import Outcome

        return Outcome("ok", {"y": job.parameters["x"]}, duration_s=self.duration_s)

    def stop(self):
        pass

    def health(self):
        return {}

    def inspect(self, job):
        return None


def floors(folder: Path) -> tuple[float, float]:
    """Median milliseconds of append + fsync, and of a durable SQLite commit."""
    plain, commits = [], []
    with (folder / "plain").open("ab") as file:
        for _ in range(100):
            begin_s = time.perf_counter()
            file.write(b"x" * 400)
            file.flush()
            os.fsync(file.fileno())
            plain.append(time.perf_counter() - begin_s)
    database = sqlite3.connect(folder / "floor.sqlite")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t (x)")
    for _ in range(100):
        begin_s = time.perf_counter()
        with database:
            database.execute("INSERT INTO t VALUES (?)", ("x" * 400,))
        commits.append(time.perf_counter() - begin_s)
    database.close()
    return float(np.median(plain)) * 1e3, float(np.median(commits)) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=200)
    experiments = parser.parse_args().experiments
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        file = folder / "overhead.yaml"
        file.write_text(CAMPAIGN.format(experiments=experiments))
        run = RunDirectory(folder / "run")
        begin(file, run, seed=None, budget=None)
        ended: list[int] = []
        began = time.perf_counter()
        turns: list[int] = [0]

        def watch(state, lab) -> None:
            turns[0] += 1
            while len(ended) < len(state.observations):
                ended.append(turns[0])

        _, overhead = go_on(run, watch)
        wall = time.perf_counter() - began
        fsync_ms, commit_ms = floors(folder)
    spent = np.array(overhead.turns) * 1e3
    edges = [0, *ended]
    each = np.array([spent[a:b].sum() for a, b in pairwise(edges)])[5:]
    p50, p99 = np.percentile(each, [50, 99])
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{where}, load {os.getloadavg()[0]:.1f}")
    print(f"append + fsync {fsync_ms:.2f} ms, durable SQLite commit {commit_ms:.2f} ms (medians)")
    print(f"{experiments} experiments of 3 steps in {wall:.1f} s; {len(spent) / experiments:.1f} turns an experiment")
    print(f"controller's time an experiment: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"in durable commits: {p50 / commit_ms:.1f} and {p99 / commit_ms:.1f}")


if __name__ == "__main__":
    main()
