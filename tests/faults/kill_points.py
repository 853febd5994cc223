"""A thousand seeded kill points over controller and hosts, judged from the files that are left.

    python -m tests.faults.kill_points [--points 1000] [--seed 0] [--jobs 6]

Small campaigns run on real host processes. Each is laid out with several points (``tests.faults.fuse``) at which its
controller or a host is killed; it is resumed until it has ended; then ``tests.faults.witness`` looks at the ledgers,
the instruments' own books and the journal. In every third campaign the instruments are blind, so that a kill amid an
act leaves an outcome that nobody knows; then the harness plays the person who looks, and gives an explicit verdict.
A point that a campaign does not reach is laid out again in a later one, until all have killed.

A controller is a fork of a process that has loaded the program and nothing else: no sockets, no threads, no files; it
saves two seconds of imports a kill. The hosts are started anew, as always, by the controller.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from controller.errors import AthanorError
from controller.reconcile import reconcile
from controller.run import begin, go_on
from controller.rundir import RunDirectory
from instruments.process import living_holder
from tests.faults import fuse, witness
from tests.faults.fuse import Point

BUDGET = 4
SEEDS = 4
"""Campaigns differ by seed; so many undisturbed runs are what they are compared with."""
EACH = {"controller": 4, "kiln": 3, "gauge": 3}
"""Points a campaign is laid out with."""
JOBS = 6
LIVES = 60
HANGS_S = 900.0
ROUNDS = 25
"""A point that so many campaigns have not reached is an error of the harness, and counted as such."""

CAMPAIGN = """
name: mortal
budget: {{experiments: {budget}}}
space: {{kind: parameters, parameters: {{x: {{low: 0, high: 1}}}}}}
pool_size: 64
objectives: [{{name: strength_MPa}}]
acquisition: {{name: "tests.faults.science:Butterfly"}}
planner: {{name: "tests.faults.science:FireAndGauge"}}
batch: 2
lab:
  clock: simulated
  timeout_s: 600
  instruments:
    kiln:
      driver: "tests.faults.mortal:Kiln"
      process: {kiln}
      settings: {{folder: "{folder}", seconds: 0.04, blind: {blind}, together: {together}}}
    gauge:
      driver: "tests.faults.mortal:Gauge"
      settings: {{folder: "{folder}", seconds: 0.04, blind: {blind}, prompt: {prompt}}}
compute: {{backend: local}}
"""

LOOKS_BACK, ASKS, UNCOUNTED = "look back", "send query", 1_000_000
AROUND, IN_COMMIT = ("before", "after"), ("before", "amid", "after")
CONTROLLER: dict[str, tuple[tuple[str, ...], int]] = {
    "journal commit": (IN_COMMIT, 7),
    "send command": (AROUND, 3),
    "send acknowledge": (AROUND, 3),
    ASKS: (AROUND, 1),
    "report arrives": (AROUND, 3),
    "start host": (AROUND, 2),
}
"""Where -> (when, the highest ``nth``)."""
HOST: dict[str, tuple[tuple[str, ...], int]] = {
    "command arrives": (AROUND, 2),
    "ledger start": (IN_COMMIT, 2),
    "act": (AROUND, 2),
    "ledger finish": (IN_COMMIT, 2),
    "ledger flush": (IN_COMMIT, 1),
    "ledger epoch": (AROUND, 1),
    LOOKS_BACK: (AROUND, 1),
    "send accepted": (AROUND, 2),
    "send report": (AROUND, 2),
}
ANY_TIME = {"controller": (100, 1.2), "kiln": (60, 0.8), "gauge": (40, 0.8)}
"""Process -> (of a thousand points, latest second after its start)."""


def draw(number: int, seed: int) -> list[Point]:
    """The points, in the order in which they are laid out."""
    generator = random.Random(seed)
    random_share = sum(count for count, _ in ANY_TIME.values()) / 1_000
    at_random = [name for name, (count, _) in ANY_TIME.items() for _ in range(count)]
    places = [("controller", where) for where in CONTROLLER for _ in range(3)]  # one controller, two hosts
    places += [(name, where) for name in ("kiln", "gauge") for where in HOST]
    points = []
    for n in range(number):
        if generator.random() < random_share:
            process = generator.choice(at_random)
            after_s = generator.uniform(0.0, ANY_TIME[process][1])
            points.append(Point(n, process, "any time", "-", 1, after_s))
            continue
        process, where = generator.choice(places)
        when, most = (CONTROLLER if process == "controller" else HOST)[where]
        points.append(Point(n, process, where, generator.choice(when), generator.randint(1, most)))
    return points


@dataclass
class Outcome:
    """What came of one campaign."""

    folder: Path
    seed: int
    blind: bool
    points: list[Point]
    killed: list[int]
    findings: witness.Findings
    unknowns: int = 0
    seconds: float = 0.0


@dataclass
class Row:
    """One kind of point: how many killed, and how many of them in a campaign with which findings."""

    points: int = 0
    wrong: Counter[str] = field(default_factory=Counter)


LOADED = ("actors.generator", "actors.predictor", "actors.acquisition", "actors.planner", "scipy.stats", "zmq.asyncio")
"""What a controller imports when it needs it, imported once for all of them."""

COLUMNS = ("lost", "twice", "silent", "not_ended", "otherwise")


def campaign_file(folder: Path, *, seed: int, blind: bool, budget: int = BUDGET) -> str:
    """The campaign's text. With an odd seed the kiln fires two samples in one act; with every second pair of seeds its
    process has a name, as that of many instruments has. With the second and the third seed the gauge is prompt."""
    kiln = "hall" if seed // 2 % 2 else '""'
    drivers = {"blind": str(blind).lower(), "together": 1 + seed % 2, "prompt": str(seed % 4 in (1, 2)).lower()}
    return CAMPAIGN.format(budget=budget, folder=folder, kiln=kiln, **drivers)


def live(folder: Path, seed: int, blind: bool, points: list[Point], undisturbed: list[str] | None) -> Outcome:
    """Run one campaign to its end, whatever kills it, and have it examined. To be called in a process of one thread."""
    begun = time.monotonic()
    folder.mkdir(parents=True)
    fuse.lay(folder, points + _company(points))
    file, run = folder / "mortal.yaml", RunDirectory(folder / "run")
    file.write_text(campaign_file(folder, seed=seed, blind=blind))
    begin(file, run, seed=seed, budget=None)
    person = random.Random(repr((seed, [point.number for point in points])))
    lost: list[str] = []
    durable: list[str] = []
    unknowns = 0
    hung = ""
    for _ in range(LIVES):
        code = _controller(folder)
        lost += witness.acknowledged_and_not_kept(folder)
        links = witness.chain(folder)
        if links[: len(durable)] != durable:
            lost.append("the journal lost events that were durable")
        durable = links
        if code == 0:
            break
        if code is None:
            hung = f"a controller has not ended in {HANGS_S:.0f} s"
            break
        for command in witness.open_questions(folder):
            unknowns += 1
            _judge(folder, run, command, person)
    _no_host_survives(folder)
    killed = fuse.kills(folder)
    findings = witness.examine(
        folder,
        budget=BUDGET,
        blind=blind,
        acting=[command for kill in killed for command in kill["acting"]],
        undisturbed=undisturbed,
    )
    findings.lost += lost
    findings.not_ended += [hung] if hung else []
    numbers = [kill["number"] for kill in killed if kill["number"] != UNCOUNTED]
    return Outcome(folder, seed, blind, points, numbers, findings, unknowns, time.monotonic() - begun)


def _company(points: list[Point]) -> list[Point]:
    """Who is to look back must have been killed amid an act, and a controller asks about what a host that is gone was
    doing; where no point brings that about, an uncounted one does."""
    alone = {"kiln", "gauge"}
    alone -= {point.process for point in points if point.where != LOOKS_BACK}
    alone &= {"kiln" if point.where == ASKS else point.process for point in points}
    return [Point(UNCOUNTED, name, "act", "before") for name in sorted(alone)]


def _controller(folder: Path) -> int | None:
    """One controller, from its start to its end: the exit code, negative where it was killed, None where it hung."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            out = os.open(folder / "controller.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for descriptor in (1, 2):
                os.dup2(out, descriptor)
            os.close(out)
            fuse.wrap_controller(folder)
            go_on(RunDirectory(folder / "run"))
            code = 0
        except AthanorError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            code = error.exit_code
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        finally:
            os._exit(code)
    deadline = time.monotonic() + HANGS_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _judge(folder: Path, run: RunDirectory, command: str, person: random.Random) -> None:
    """Look at the sample (the instrument's book) and say what is true, or give the sample up."""
    acts = {act["command"]: act for name in witness.INSTRUMENTS for act in witness.book(folder, name)}
    verdict, readings = "repeat", []
    if command in acts:
        verdict, readings = "done", [f"{name}={value!r}" for name, value in acts[command]["readings"].items()]
    if person.random() < 0.3:
        verdict, readings = person.choice(["failed", "discard"]), []
    reconcile(run, command, verdict, by=witness.PERSON, reason="looked at the sample", readings=readings)


def _no_host_survives(folder: Path) -> None:
    for name in witness.INSTRUMENTS:
        lock = folder / "run" / "lab" / "hosts" / name / "ledger.sqlite.lock"
        for _ in range(100):
            if living_holder(lock) is None:
                break
            time.sleep(0.05)
        else:
            with contextlib.suppress(ProcessLookupError):
                holder = living_holder(lock)
                if holder is not None:
                    os.kill(holder.pid, signal.SIGKILL)


class Thousand:
    """Lays the points out over campaigns until every one has killed.

    Args:
        points: to lay out.
        folder: where the campaigns run; a campaign's folder is deleted unless something was found in it.
        jobs: campaigns at a time (they mostly wait).
        seeds: how many different campaigns.
        tell: called with a line after every campaign.
    """

    def __init__(
        self,
        points: list[Point],
        folder: Path,
        *,
        jobs: int = JOBS,
        seeds: int = SEEDS,
        tell: Callable[[str], None] = print,
    ):
        self.folder, self.jobs, self.seeds, self.tell = folder, jobs, seeds, tell
        self.left, self.rounds = list(points), Counter[int]()
        self.never: list[Point] = []
        self.outcomes: list[Outcome] = []
        self._campaigns = 0
        self._total = len(points)
        self._undisturbed: dict[int, list[str]] = {}

    def run(self) -> dict[str, Row]:
        """Kind of point -> row."""
        # Forked before there is any thread, and each forks its controllers.
        for module in LOADED:
            importlib.import_module(module)
        with ProcessPoolExecutor(self.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
            quiet = {seed: self._submit(pool, seed, False, []) for seed in range(self.seeds)}
            for seed, future in quiet.items():
                outcome = future.result()
                if problems := outcome.findings.all():
                    raise AssertionError(f"an undisturbed campaign (seed {seed}) is not as it must be: {problems}")
                self._undisturbed[seed] = witness.learnt(outcome.folder)
                shutil.rmtree(outcome.folder)
            running: set[Future[Outcome]] = set()
            while self.left or running:
                while self.left and len(running) < self.jobs:
                    number = self._campaigns
                    running.add(self._submit(pool, number % self.seeds, number % 3 == 2, self._take()))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    self._note(future.result())
        return self.table()

    def _submit(self, pool: ProcessPoolExecutor, seed: int, blind: bool, points: list[Point]) -> Future[Outcome]:
        folder = self.folder / f"campaign-{self._campaigns:04d}"
        self._campaigns += 1
        return pool.submit(live, folder, seed, blind, points, self._undisturbed.get(seed))

    def _take(self) -> list[Point]:
        taken: list[Point] = []
        for process, most in EACH.items():
            of_it = [point for point in self.left if point.process == process]
            back = [point for point in of_it if point.where == LOOKS_BACK][:1]  # rarely reached: one in each campaign
            taken += (back + [point for point in of_it if point.where != LOOKS_BACK])[:most]
        self.left = [point for point in self.left if point not in taken]
        return taken

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        again = [point for point in outcome.points if point.number not in outcome.killed]
        for point in again:
            self.rounds[point.number] += 1
        self.never += [point for point in again if self.rounds[point.number] >= ROUNDS]
        self.left = [point for point in again if self.rounds[point.number] < ROUNDS] + self.left
        kills = sum(len(x.killed) for x in self.outcomes)
        line = f"{kills}/{self._total} kills, {len(self.outcomes)} campaigns, last {outcome.seconds:.1f} s"
        if problems := outcome.findings.all():
            line += f"; kept {outcome.folder} (seed {outcome.seed}, blind {outcome.blind}): " + "; ".join(problems)
        else:
            shutil.rmtree(outcome.folder)
        self.tell(line)

    def table(self) -> dict[str, Row]:
        """What came out. A finding is charged to every kind of point that killed in its campaign."""
        rows: dict[str, Row] = {}
        for outcome in self.outcomes:
            for point in outcome.points:
                if point.number in outcome.killed:
                    who = "controller" if point.process == "controller" else "host"
                    row = rows.setdefault(f"{who}: {point.where}", Row())
                    row.points += 1
                    row.wrong.update({name: 1 for name in COLUMNS if getattr(outcome.findings, name)})
        return dict(sorted(rows.items()))


def show(rows: dict[str, Row]) -> str:
    """The table as markdown."""
    lines = ["| kind of point | points | lost | twice | silently resolved | not ended | decided otherwise |"]
    lines.append("|---|---|---|---|---|---|---|")
    total = Row(sum(row.points for row in rows.values()), sum((row.wrong for row in rows.values()), Counter()))
    for name, row in [*rows.items(), ("**total**", total)]:
        lines.append(f"| {name} | {row.points} | " + " | ".join(str(row.wrong[column]) for column in COLUMNS) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=JOBS, help="campaigns at a time; they mostly wait")
    given = parser.parse_args(arguments)
    begun, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="kill-points-"))
    thousand = Thousand(
        draw(given.points, given.seed), folder, jobs=given.jobs, tell=lambda line: print(line, file=sys.stderr)
    )
    rows = thousand.run()
    print(show(rows))
    blind = [outcome for outcome in thousand.outcomes if outcome.blind]
    print(
        f"\n{sum(row.points for row in rows.values())} kills in {len(thousand.outcomes)} campaigns "
        f"({len(blind)} with blind instruments, {sum(x.unknowns for x in blind)} unknown outcomes judged), "
        f"{(time.monotonic() - begun) / 60:.1f} minutes, seed {given.seed}"
    )
    for point in thousand.never:
        print(f"never reached in {ROUNDS} campaigns: {point}")
    wrong = sum(sum(row.wrong.values()) for row in rows.values()) + len(thousand.never)
    if wrong:
        print(f"the campaigns in question are kept in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
