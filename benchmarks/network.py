"""The laboratory network: what a durable command costs, how fast 128 instruments are served, how soon a stop arrives.

    python -m benchmarks.network [--instruments 128] [--steps 20000] [PART ...]

Parts: path (messages without disk), trip (durable round trip), lab (many instruments through the whole loop), busy
(trip and hand-over beside a process that writes to the same disk all the time), stop (the emergency stop), recovery (a
long journal). Real host processes on loopback with keys and ledgers; times are CLOCK_MONOTONIC, which all processes of
a machine share, and what an instrument does is noted by its driver. Beside each figure, from the same run: bare pyzmq
and the disk's own append + fsync.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import numpy as np
import zmq

from actors.orders import ChoiceAnswer, ChoiceOrder, Offer, Recipe, Step
from benchmarks.network_lab import Floor, Lab, order, percentiles
from controller import events as ev
from controller.journal import Journal
from controller.loop import Loop
from controller.snapshot import EVERY, FILE, save
from controller.state import ChooseTask, CommandTask, PlanTask, State, choice_order, decide, evolve
from instruments.keys import create_lab_keys
from instruments.ledger import starts
from instruments.messages import Command, Inbox, Outbox, Report, decode
from instruments.transport import Client, Server
from models.candidate import Candidate
from models.observation import Choice

PROCESSES = 4
"""Host processes that many instruments share."""
STEPS_EACH = 20
"""Steps of one experiment in the lab of many instruments."""


# The path of a message, without disk

ECHO = """
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.argv[1])
socket.send(b"here")
while True:
    socket.send_multipart(socket.recv_multipart())
"""


def bare_trips(frames: list[bytes], seconds: float) -> float:
    """Round trips a second of plain pyzmq between two processes: ROUTER to DEALER and back, nothing else."""
    router = zmq.Context.instance().socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    peer = subprocess.Popen([sys.executable, "-c", ECHO, f"tcp://127.0.0.1:{port}"])
    try:
        route = router.recv_multipart()[0]
        done, begin = 0, time.perf_counter()
        while time.perf_counter() < begin + seconds:
            router.send_multipart([route, *frames])
            router.recv_multipart()
            done += 1
        return done / (time.perf_counter() - begin)
    finally:
        peer.kill()
        peer.wait()
        router.close(0)


def answer_commands(keys: str, endpoint: str) -> None:
    """The other process of ``validated_trips``: every command is checked and answered with a report, without a disk."""
    client = Client(zmq.Context(), keys=Path(keys), name="bench-000")
    client.connect(endpoint)
    outbox, inbox, selector = Outbox("host"), Inbox(), DefaultSelector()
    selector.register(client.descriptor or 0, EVENT_READ)
    while not client.send(outbox.wrap(Report(command_id="hello", status="ok"))):
        time.sleep(0.01)
    while True:
        if (frames := client.receive()) is None:
            selector.select(1.0)  # as a host waits
            continue
        message = decode(frames)
        if inbox.fresh(message) and isinstance(message.body, Command):
            client.send(outbox.wrap(Report(command_id=message.body.command_id, status="ok", readings={"y": 0.5})))


async def validated_trips(folder: Path, seconds: float) -> float:
    """Round trips a second of the same between the controller's socket and a host's: keys, pydantic, replay check."""
    keys = Path(tempfile.mkdtemp(dir=folder))
    create_lab_keys(keys, ["bench-000"])
    server = Server(keys=keys)
    endpoints = server.open()
    code = f"from benchmarks.network import answer_commands; answer_commands({str(keys)!r}, {endpoints['work']!r})"
    peer = subprocess.Popen([sys.executable, "-c", code])
    try:
        outbox, inbox, done = Outbox("controller", 1), Inbox(), 0
        received = await server.receive("work")
        begin = time.perf_counter()
        while time.perf_counter() < begin + seconds and received is not None:
            await server.send("work", received[0].route, outbox.wrap(order(done)))
            received = await server.receive("work")
            if received is not None and inbox.fresh(decode(received[1])):
                done += 1
        return done / (time.perf_counter() - begin)
    finally:
        peer.kill()
        peer.wait()
        server.close()


def path(folder: Path) -> None:
    frames = Outbox("controller", 1).wrap(order(1))
    rounds = [(bare_trips(frames, 1.0), asyncio.run(validated_trips(folder, 1.0))) for _ in range(9)]
    bare, ours = (float(np.median(column)) for column in zip(*rounds, strict=True))
    ratios = sorted(one / other for other, one in rounds)
    print(f"message path without disk, 9 pairs: bare pyzmq {bare:,.0f} round trips/s, ours {ours:,.0f}/s with CURVE,")
    print(f"  strict validation and replay check on both ends: {ratios[4]:.2f} of bare (median of the pairs, ", end="")
    print(f"{ratios[0]:.2f} to {ratios[-1]:.2f}; goal: at least 0.33)")


# One durable command after the other


async def _trips(folder: Path, count: int, floor: Floor, prompt: bool) -> list[float]:
    folder.mkdir()
    journal = Journal(folder / "trip.sqlite", create=True)
    spent = []
    async with Lab(folder / "trip", 1, prompt=prompt) as lab:
        name = lab.names[0]
        for number in range(count):
            floor.sample()
            command, begin = order(number), time.perf_counter()
            journal.stage([_ordered(command, name)])
            journal.commit()
            report = await lab.dispatcher.execute(name, command)
            journal.stage([ev.CommandReported(command_id=command.command_id, status=report.status)])
            journal.commit()
            await lab.dispatcher.acknowledge(name, command.command_id)
            spent.append(time.perf_counter() - begin)
    journal.close()
    return spent


def _ordered(command: Command, instrument: str) -> ev.CommandOrdered:
    return ev.CommandOrdered(
        command_id=command.command_id,
        experiment=command.experiment,
        step=0,
        round=1,
        attempt=0,
        instrument=instrument,
        start_s=0.0,
        seed=0,
    )


HANDS = {False: "a driver with a thread of its own", True: "a prompt driver"}


def trip(folder: Path, count: int = 3_000) -> None:
    print(f"durable round trip, one instrument, {count}:")
    print("  (journal intent, send, ledger started, act, ledger done, report, journal, acknowledge: 4 durable commits)")
    for prompt, hand in HANDS.items():
        sampled = Floor(folder)
        spent = asyncio.run(_trips(folder / str(prompt), count, sampled, prompt))[count // 3 :]
        floor, p50 = sampled.median_s, float(np.median(spent))
        print(f"  {hand}: {percentiles(spent)}; append + fsync p50 {floor * 1e3:.3f} ms: the p50 is ", end="")
        print(f"{p50 / floor:.1f} fsyncs, {p50 / floor - 4:.1f} above the floor of its four commits (goal: at most 4)")


# Many instruments through the whole loop

CAMPAIGN = """
name: network
budget: {{experiments: {experiments}}}
space: {{kind: parameters, parameters: {{x: {{low: 0, high: 1}}}}}}
objectives: [{{name: y}}]
batch: {batch}
lab:
  clock: wall
  queue: {batch}
  instruments: {{{instruments}}}
compute: {{backend: local}}
"""


class Science:
    """Chooses the next numbers and plans ``STEPS_EACH`` acts: costs next to nothing."""

    def __init__(self) -> None:
        self.chosen = 0

    async def choose(self, order: ChoiceOrder) -> ChoiceAnswer:
        self.chosen += order.q
        new = (Candidate(id=f"c{k}", parameters={"x": 0.5}) for k in range(self.chosen - order.q, self.chosen))
        return ChoiceAnswer(choices=tuple(Choice(candidate=x, value=0.0, method="next") for x in new))

    async def plan(self, candidate: Candidate, offers: tuple[Offer, ...]) -> Recipe:
        step = Step(capability="act", parameters={"x": 0.5}, quantities=("y",), bounds={"y": (0.0, 1.0)})
        return Recipe(steps=(step,) * STEPS_EACH)

    async def close(self) -> None:
        pass


def opening(names: list[str], folder: Path, experiments: int) -> list[ev.Event]:
    """How the journal of a campaign on these instruments begins."""
    instruments = ", ".join(f"{name}: {{driver: none}}" for name in names)
    text = CAMPAIGN.format(experiments=experiments, batch=min(256, len(names)), instruments=instruments)
    offer = Offer(capability="act", quantities={"y": (0.0, 1.0)})
    return [
        ev.CampaignStarted(run_id="network", text=text, base_dir=str(folder), seed=0, budget=experiments, version="0"),
        ev.ControllerStarted(epoch=1, pid=os.getpid(), host="here"),
        *(ev.InstrumentAnnounced(instrument=name, driver="bench", offers=(offer,)) for name in names),
    ]


async def _serve(folder: Path, count: int, processes: int, steps: int, floor: Floor, prompt: bool) -> dict[str, Any]:
    """Run ``steps`` steps on ``count`` instruments."""
    async with Lab(folder, count, processes=processes, prompt=prompt) as lab:
        journal, state = Journal(folder / "journal.sqlite", create=True), State()
        begun = opening(lab.names, folder, steps // STEPS_EACH)
        journal.stage(begun)
        journal.commit()
        for event in begun:
            state = evolve(state, event)
        loop = Loop(state, journal, Science(), lab.dispatcher)
        sampling = asyncio.create_task(floor.keep_sampling())
        before, begin = _cpu_s(lab), time.monotonic()
        await loop.run()
        wall = time.monotonic() - begin
        sampling.cancel()
        cpu = [after - before for before, after in zip(before, _cpu_s(lab), strict=True)]
        journal.close()
    twice = sum(n > 1 for ledger in lab.hosts.ledgers().values() for n in starts(ledger).values())
    return {"wall": wall, "cpu": cpu, "books": lab.books(), "twice": twice}


def _cpu_s(lab: Lab) -> tuple[float, float]:
    """CPU seconds of this process, and of all hosts."""
    tick, total = os.sysconf("SC_CLK_TCK"), 0.0
    for pid in set(lab.hosts.pids().values()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / tick
    return time.process_time(), total


def lab(folder: Path, *sizes: tuple[int, int, int]) -> None:
    """``sizes``: instruments, host processes, steps."""
    for instruments, processes, number in sizes:
        for prompt, hand in HANDS.items():
            floor = Floor(folder)
            where = folder / f"lab-{instruments}-{prompt}"
            found = asyncio.run(_serve(where, instruments, processes, number, floor, prompt))
            books = [[(a, b) for kind, a, b in book if kind == "act"] for book in found["books"].values()]
            acts = sum(map(len, books))
            gaps = [later[0] - earlier[1] for book in books for earlier, later in pairwise(book)]
            print(f"{instruments} instruments in {processes} host processes, each {hand}, {acts} steps:")
            controller, hosts = (seconds / acts * 1e3 for seconds in found["cpu"])
            print(f"  {acts / found['wall']:,.0f} durable step completions/s; ", end="")
            print(f"CPU a step: controller {controller:.2f} ms, hosts {hosts:.2f} ms; executed twice: {found['twice']}")
            print(f"  end of a step to the start of the next at the device: {percentiles(gaps)}")
            print(f"  in fsyncs (append + fsync p50 {floor.median_s * 1e3:.3f} ms): ", end="")
            print(f"{np.median(gaps) / floor.median_s:.1f}")


# The same on a disk that somebody else keeps busy

WRITER = """
import os, sys
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        os.pwrite(file.fileno(), bytes(1 << 20), 0)
        os.fsync(file.fileno())
"""


def busy(folder: Path) -> None:
    print("beside a process that writes 1 MiB and waits for the disk, again and again:")
    folder = folder / "busy"
    folder.mkdir()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder / "other")])
    try:
        trip(folder, 600)
        lab(folder, (1, 1, 600))
    finally:
        writer.kill()
        writer.wait()


# The emergency stop


async def _stops(folder: Path, count: int, rounds: int, hold_s: float) -> tuple[list[float], list[float], int]:
    """Stop ``count`` instruments amid the work: seconds to each device, to its host's word; how many were missed."""
    to_device, to_word, missed, number = [], [], 0, 0
    async with Lab(folder, count, hold_s, processes=PROCESSES if count > 8 else 0) as lab:

        async def work(name: str) -> None:
            nonlocal number
            while True:
                number += 1
                command = order(number)
                journal.stage([_ordered(command, name)])
                journal.commit()
                report = await lab.dispatcher.execute(name, command)
                journal.stage([ev.CommandReported(command_id=command.command_id, status=report.status)])
                await lab.dispatcher.acknowledge(name, command.command_id)

        journal = Journal(folder / "stops.sqlite", create=True)
        for _ in range(rounds):
            busy = [asyncio.create_task(work(name)) for name in lab.names]
            await asyncio.sleep(2.0 if count > 1 else 0.1)
            asked = time.monotonic()
            answered = await lab.dispatcher.stop_all("amid the work", 10.0)
            to_word += [ms / 1e3 for ms in answered.values()]
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            for book in lab.books().values():
                told = [begin for kind, begin, _ in book if kind == "stop" and begin >= asked]
                to_device += [told[0] - asked] if told else []
                missed += not told
            for name in lab.names:
                await lab.dispatcher.reset(name, who="bench", reason="next round", timeout_s=30.0)
        journal.close()
    return to_device, to_word, missed


def stop(folder: Path, count: int) -> None:
    for instruments, rounds, hold_s in ((1, 50, 5.0), (count, 5, 0.0)):
        what = "moving" if hold_s else "under full load"
        device, word, missed = asyncio.run(_stops(folder / f"stop-{instruments}", instruments, rounds, hold_s))
        print(f"emergency stop, {instruments} instruments {what}, {rounds} times: request to the device told to stop")
        print(f"  {percentiles(device)}; to the host's word: {percentiles(word)}; missed: {missed}")


# A long journal


async def _past(events: int, count: int = 16) -> list[ev.Event]:
    """How a campaign on ``count`` instruments goes: that many events of real decisions, with made-up reports."""
    state, science, past = State(), Science(), list[ev.Event]()

    def tell(*new: ev.Event) -> None:
        nonlocal state
        for event in new:
            state = evolve(state, event)
            past.append(event)

    tell(*opening([f"bench-{k:03d}" for k in range(count)], Path.cwd(), 10**6))
    while len(past) < events:
        plan = decide(state)
        tell(*plan.events)
        if not plan.events:
            tell(ev.ClockRead(now_s=state.now_s + 1))
        for task in plan.tasks:
            match task:
                case ChooseTask() if state.choosing is not None:
                    answer = await science.choose(choice_order(state, state.choosing))
                    tell(ev.ChoiceMade(decision=task.decision, choices=answer.choices))
                case PlanTask(name):
                    recipe = await science.plan(state.experiments[name].candidate, ())
                    tell(ev.RecipePlanned(experiment=name, recipe=recipe))
                case CommandTask(name):
                    tell(ev.CommandReported(command_id=name, status="ok", readings={"y": 0.5}))
    return past[:events]


def recovery(folder: Path, events: int = 100_000) -> None:
    run = folder / "long"
    run.mkdir()
    past = asyncio.run(_past(events))

    def write(new: list[ev.Event]) -> None:
        journal = Journal(run / "journal.sqlite", create=True)
        journal.stage(new)
        journal.commit()
        journal.close()

    def ready_s() -> float:
        code = "import sys, time; from pathlib import Path; from controller.journal import Journal; "
        code += "from controller.snapshot import fold; begin = time.perf_counter(); run = Path(sys.argv[1]); "
        code += "fold(run, Journal(run / 'journal.sqlite')); print(time.perf_counter() - begin)"
        return min(float(subprocess.check_output([sys.executable, "-c", code, str(run)])) for _ in range(3))

    write(past[:-EVERY])
    save(run)
    write(past[-EVERY:])
    with_snapshot = ready_s()
    (run / FILE).unlink()
    without = ready_s()
    steps = sum(isinstance(event, ev.StepFinished) for event in past)
    print(f"recovery: a journal of {events:,} events ({steps:,} steps) to the state, in a fresh process, best of 3:")
    print(f"  {with_snapshot:.2f} s with a snapshot {EVERY:,} events old, {without:.2f} s without (goal: at most 2 s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="path, trip, lab, busy, stop, recovery; none: all")
    parser.add_argument("--instruments", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20_000)
    given = parser.parse_args()
    parts = {
        "path": lambda: path(folder),
        "trip": lambda: trip(folder),
        "lab": lambda: lab(folder, (1, 1, 2_000), (given.instruments, PROCESSES, given.steps)),
        "busy": lambda: busy(folder),
        "stop": lambda: stop(folder, given.instruments),
        "recovery": lambda: recovery(folder),
    }
    if unknown := set(given.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}")
    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".network-"))
    try:
        for name in given.parts or parts:
            parts[name]()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
