"""The fault table: what happens to running work when something is killed, beside three other controllers.

    python -m benchmarks.fault_table [--quick] [--only ROW]

Every row runs the whole program: `athanor` as a process, a host process, and a device that writes every physical
start and end to a book with fsync. Counts and gaps are taken from that book, as they were for the others. Prints
markdown; conditions and versions are in docs/benchmarks/faults.md.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import platform
import resource
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fault_lab import HANGS_S, Bench, Stage, end_all, until
from benchmarks.overhead import floors

ITEMS, MOVE_S, THIRD = 6, 0.5, 3
"""Of the rows that kill: items, seconds of a move, and the item that is amid its move then."""


@dataclass(frozen=True)
class Size:
    """How often everything is done."""

    kills: int = 3
    items: int = 200
    slow_items: int = 50
    stops: int = 20


def speed(folder: Path, size: Size) -> str:
    """Items started per second, the device's act taking no time."""
    bench = Bench(folder / "speed", items=size.items)
    bench.finish()
    starts = [line["t"] for line in bench.book("start")]
    rate = (len(starts) - 1) / (starts[-1] - starts[0])
    return f"**{rate:.0f} items/s** (n = {len(starts)}; {bench.counts()})"


def handover(folder: Path, size: Size) -> str:
    """End of one item to the start of the next, at the device."""
    said = []
    for name, items, seconds in (("empty item", size.items, 0.0), ("0.2 s item", size.slow_items, 0.2)):
        bench = Bench(folder / f"handover-{seconds}", items=items, seconds=seconds)
        bench.finish()
        ends, starts = ([line["t"] for line in bench.book(event)] for event in ("end", "start"))
        gaps = [(start - end) * 1e3 for end, start in zip(ends, starts[1:], strict=False)]
        p50, p99 = np.percentile(gaps, [50, 99])
        said.append(f"{name}: p50 **{p50:.1f} ms**, p99 **{p99:.1f} ms** (n = {len(gaps)})")
    return "; ".join(said)


def bare(folder: Path, size: Size) -> str:
    """The same device without a controller."""
    from instruments.driver import Job

    stage = Stage(workdir=folder, folder=str(folder))
    begin = time.perf_counter()
    for number in range(size.items):
        stage.run(Job(f"c{number}", "move", f"E{number}", {"x": 0.5}, 0), lambda *_: None)
    return f"{size.items / (time.perf_counter() - begin):.0f} items/s (the driver in a loop, n = {size.items})"


def each(size: Size, one: Callable[[int], tuple[Bench, str, float | None]]) -> str:
    """Repeat a fault; add the counts up, and show the range of what was timed, which is called ``word``."""
    benches, times, word = [], [], ""
    for number in range(size.kills):
        bench, word, seconds = one(number)
        benches.append(bench.counts())
        times += [] if seconds is None else [seconds]
    n, items = len(benches), sum(c.items for c in benches)
    executed, unknown = sum(c.executed for c in benches), sum(c.unknown for c in benches)
    twice, lost = sum(c.twice for c in benches), sum(c.lost for c in benches)
    text = f"n = {n}: {executed} of {items} executed, **{twice} twice, {lost} lost**"
    text += f", {unknown} unknown" if unknown else ""
    return text + (f"; {word} {min(times):.1f}-{max(times):.1f} s" if times else f"; {word}" if word else "")


def kill_controller(folder: Path, size: Size) -> str:
    """SIGKILL the controller amid a move, and start it again at once."""

    def one(number: int) -> tuple[Bench, str, float]:
        bench = Bench(folder / f"controller-{number}", items=ITEMS, seconds=MOVE_S)
        controller = bench.resume()
        bench.amid_move(THIRD)
        killed = time.monotonic()
        controller.kill()
        controller.wait()
        second = bench.resume()
        until(lambda: len(bench.book("start")) > THIRD)
        second.wait(HANGS_S)
        bench.finish()
        return bench, "kill to the next item's start", bench.book("start")[THIRD]["t"] - killed

    return each(size, one)


def kill_host(folder: Path, size: Size) -> str:
    """SIGKILL the process that drives the device amid a move. The device dies with it, and no sensor tells."""

    def one(number: int) -> tuple[Bench, str, float]:
        bench = Bench(folder / f"host-{number}", items=ITEMS, seconds=MOVE_S)
        controller = bench.resume()
        bench.amid_move(THIRD)
        killed = time.monotonic()
        os.kill(bench.host(), signal.SIGKILL)
        noticed = until(lambda: bench.events("outcome_unknown")) - killed
        controller.wait(HANGS_S)  # it has done the others, and asks a person
        bench.finish()
        return bench, "the others go on, a person is asked about this one; noticed after", noticed

    return each(size, one)


def kill_store(folder: Path, size: Size) -> str:
    """The store is a file of the controller's own, so it dies with it: SIGKILL amid a commit."""

    def one(number: int) -> tuple[Bench, str, None]:
        bench = Bench(folder / f"commit-{number}", items=ITEMS, seconds=0.1)
        bench.die_amid_commit(4 + 3 * number)
        bench.finish()
        return bench, "killed amid a commit, resumed", None

    return each(size, one)


def store_outage(folder: Path, size: Size) -> str:
    """The journal cannot be written for 0.5 s: another process holds it, or every write fails as on a full disk."""

    def held(number: int) -> tuple[Bench, str, None]:
        bench = Bench(folder / f"held-{number}", items=ITEMS, seconds=MOVE_S)
        controller = bench.resume()
        bench.amid_move(THIRD)
        other = sqlite3.connect(bench.run.journal, isolation_level=None, timeout=10)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(MOVE_S)  # over the end of the move, when its report is to be written
        other.execute("ROLLBACK")
        other.close()
        code = controller.wait(HANGS_S)
        bench.finish()
        return bench, f"the controller went on by itself (exit code {code})", None

    def full(number: int) -> tuple[Bench, str, None]:
        bench = Bench(folder / f"full-{number}", items=ITEMS, seconds=MOVE_S)
        controller = bench.resume()
        bench.amid_move(THIRD)
        soft, hard = resource.prlimit(controller.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(controller.pid, resource.RLIMIT_FSIZE, (1, hard))  # every write fails
        time.sleep(MOVE_S)
        if controller.poll() is None:
            resource.prlimit(controller.pid, resource.RLIMIT_FSIZE, (soft, hard))
        code = controller.wait(HANGS_S)
        bench.finish()
        return bench, f"the controller ended with exit code {code} and was resumed", None

    return f"held by another process: {each(size, held)}. Every write fails: {each(size, full)}"


def kill_all(folder: Path, size: Size) -> str:
    """SIGKILL controller and host at once amid a move, and start again."""

    def one(number: int) -> tuple[Bench, str, float]:
        bench = Bench(folder / f"all-{number}", items=ITEMS, seconds=MOVE_S)
        controller = bench.resume()
        bench.amid_move(THIRD)
        killed = time.monotonic()
        os.kill(bench.host(), signal.SIGKILL)
        controller.kill()
        controller.wait()
        second = bench.resume()
        until(lambda: len(bench.book("start")) > THIRD)
        second.wait(HANGS_S)
        bench.finish()
        return bench, "kill to the next item's start", bench.book("start")[THIRD]["t"] - killed

    return each(size, one)


def second_controller(folder: Path, size: Size) -> str:
    """A second controller on the same run."""

    def one(number: int) -> tuple[Bench, str, float]:
        bench = Bench(folder / f"second-{number}", items=4, seconds=2.0)
        first = bench.resume()
        bench.amid_move(2)
        begin = time.monotonic()
        code = bench.resume().wait(HANGS_S)
        seconds = time.monotonic() - begin
        if (code, first.wait(HANGS_S)) != (3, 0):
            raise RuntimeError(f"the second controller ended with {code}, the first with {first.returncode}")
        return bench, "refused with exit code 3, the first undisturbed; after", seconds

    return each(size, one)


def detector(folder: Path, size: Size) -> str:
    """A reading that is no number, and a detector that raises, both in the second item of four."""
    said = []
    for how in ("nan", "raise"):
        bench = Bench(folder / f"detector-{how}", items=4, spoil={"E0002": how})
        bench.finish()
        ended = {event["experiment"]: event for event in bench.events("experiment_finished")}
        good = sum(event["outcome"] == "measured" for event in ended.values())
        bad = ended["E0002"]
        counts = bench.counts()
        said.append(f'{how}: `{bad["outcome"]}`, "{bad["reason"]}"; {good} of 3 others measured, {counts.twice} twice')
    return "; ".join(said)


def stop(folder: Path, size: Size) -> str:
    """Emergency stop amid a 20 s move: from the request to the line that the device writes when it is told."""
    from controller import estop
    from controller.reconcile import describe_unknown, reconcile

    bench, told, answered = Bench(folder / "stop", items=size.stops + 1, seconds=20.0), [], []
    for number in range(1, size.stops + 1):
        controller = bench.resume()
        bench.amid_move(number)
        lab, runs = estop.find_lab(bench.run.path)
        begin = time.monotonic()
        done = estop.stop(lab, runs, by="benchmark", reason="measured")
        answered.append((time.monotonic() - begin) * 1e3)
        if not done.complete:
            raise RuntimeError(f"the stop is not complete: {done}")
        told.append((next(line["t"] for line in bench.book("stop") if line["t"] >= begin) - begin) * 1e3)
        controller.wait(HANGS_S)
        for unknown in describe_unknown(bench.run, bench.run.load()):
            reconcile(bench.run, unknown["command"], "discard", by="benchmark", reason="stopped")
        estop.reset(lab, runs, by="benchmark", reason="measured")
    again = bench.counts().twice
    return (
        f"request to device told: p50 **{np.median(told):.1f} ms**, max **{max(told):.1f} ms** (n = {len(told)}); "
        f"until it is latched and told who has acknowledged: p50 {np.median(answered):.0f} ms; "
        f"stopped items queued again: {again}"
    )


def listening(folder: Path, size: Size) -> str:
    """Every listening socket of a running campaign, and a stranger without a key at each."""
    import psutil
    import zmq

    said = []
    for backend in ("local", "ray"):
        bench = Bench(folder / f"listening-{backend}", items=2, seconds=5.0, backend=backend)
        controller = bench.resume()
        try:
            bench.amid_move(1)
        except RuntimeError as error:  # Ray gives up on a machine that is too busy
            said.append(f"compute {backend}: not measured, {error}")
            continue
        processes = [psutil.Process(controller.pid), *psutil.Process(controller.pid).children(recursive=True)]
        sockets = {c.laddr for p in processes for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        off = sorted({address.ip for address in sockets if not _is_loopback(address.ip)})
        outside = sum(address.ip in off for address in sockets)
        where = f" ({', '.join(off)})" if off else ""
        said.append(f"compute {backend}: {len(sockets)} sockets, **{outside} off loopback**{where}")
        if backend == "local":
            endpoints = json.loads((bench.run.lab / "endpoint.json").read_text())
            said[-1] += f", {_strangers(zmq, endpoints, bench)} of {2 * len(endpoints)} strangers without a key let in"
        controller.send_signal(signal.SIGTERM)
        controller.wait(HANGS_S)
    return "; ".join(said)


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _strangers(zmq: Any, endpoints: dict[str, str], bench: Bench) -> int:
    """Ask for a stop without CURVE and with a key of one's own; returns to how many anybody answered or obeyed."""
    from instruments.messages import Outbox, Stop

    context, before, let_in = zmq.Context(), len(bench.book("stop")), 0
    server = json.loads((bench.run.lab / "keys" / "registry.json").read_text())["keys"]
    public = next(key["public_key"] for key in server if key["role"] == "controller")
    for endpoint in endpoints.values():
        for own_key in (False, True):
            socket = context.socket(zmq.DEALER)
            socket.linger = 0
            if own_key:
                socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
                socket.curve_serverkey = public.encode()
            socket.connect(endpoint)
            for frame in [Outbox("stranger").wrap(Stop(stop_id="stranger", reason="let me in"))]:
                socket.send_multipart(frame, flags=zmq.NOBLOCK)
            let_in += bool(socket.poll(1_000))
            socket.close(0)
    context.destroy(0)
    return let_in + (len(bench.book("stop")) - before)


@dataclass(frozen=True)
class Row:
    """A test, how ours is measured, and what the others gave (bluesky-queueserver, MADSci, EOS)."""

    name: str
    ours: Callable[[Path, Size], str]
    queue_server: str
    madsci: str
    eos: str


# Measured by us with the same kind of device and book, on the same kind of machine: see docs/benchmarks/faults.md.
ROWS = (
    Row(
        "Items (steps) started per second",
        speed,
        "1.96-2.01 items/s, whatever the item does",
        "defaults 0.19 steps/s; both intervals at 0.1 s: about 1.0",
        "0 s steps, 30 runs at once: 8.9 steps/s",
    ),
    Row(
        "End of one to start of the next, at the device",
        handover,
        "empty plan: p50 484-491 ms, p99 500-508 ms; 0.2 s plan: 301 / 309 ms",
        "defaults: p50 5.07-5.28 s, p99 5.8 s; tuned: 0.99-1.06 s, 1.43 s",
        "p50 103 ms, p99 148 ms; loop at 100 Hz: 50 / 99 ms (n = 40)",
    ),
    Row("The same device without a controller", bare, "105 items/s (bare RunEngine)", "not run", "not run"),
    Row(
        "SIGKILL the controller in a run",
        kill_controller,
        "3/3: no loss, no duplicate, answers again after about 5 s",
        '1/1: running and all queued workflows "Cancelled"; 8 of 9 steps never ran',
        "3/3: 10 of 33 executed steps executed again, 0 lost; nothing continues by itself",
    ),
    Row(
        "SIGKILL the process that drives the device",
        kill_host,
        "3/3: not noticed (67 s watched); after a manual destroy the item runs twice",
        "1/1: noticed, step UNKNOWN, workflow failed, others went on; no duplicate",
        "step not repeated; whole campaign FAILED; device dead for good, health says `ok`",
    ),
    Row(
        "SIGKILL the store",
        kill_store,
        "Redis, distro defaults, 2/2: whole queue and history lost; with AOF: a finished item runs twice",
        "Redis, 1/1: all 3 workflows lost (404)",
        "not run",
    ),
    Row("Store away for a moment", store_outage, "0.3 s: manager wedged, 2/2", "not run", "not run"),
    Row(
        "SIGKILL all, restart",
        kill_all,
        "3/3: no loss, no duplicate; running item `unknown`; waits for an operator",
        "not run",
        "not run",
    ),
    Row(
        "Second controller on the same store",
        second_controller,
        "3/3: accepted; marks the first one's running item `unknown`",
        "not run",
        "3/3: not refused; fails the first one's work; 12 of 20 accepted runs stuck",
    ),
    Row(
        "Detector gives NaN / raises",
        detector,
        "NaN: 4/4 `completed`, no flag. Raises: failed, queue stops, item back at the front",
        "NaN: succeeded. Raises: failed, and the node stays `errored`: later work queues for ever",
        "NaN: whole campaign FAILED, task RUNNING for ever. Raises: whole campaign FAILED",
    ),
    Row(
        "Emergency stop while moving",
        stop,
        "device told: p50 2.4 ms, max 3.6 ms (n = 20); item back in the queue",
        "via workcell: p50 360 ms, max 715 ms (n = 8)",
        "there is none to call",
    ),
    Row(
        "Listening without authentication",
        listening,
        "control socket on all interfaces, plain text; arbitrary Python in one message",
        "loopback in what was run; no authentication, no TLS",
        "REST on loopback, none; Ray: 16 listeners off loopback; one request ran a shell command",
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="everything once, to see that it runs")
    parser.add_argument("--only", help="rows whose function has this in its name")
    given = parser.parse_args()
    size = Size(kills=1, items=30, slow_items=5, stops=2) if given.quick else Size()
    begun, failed = time.monotonic(), 0
    print("| test | Athanor | bluesky-queueserver 0.0.25 | MADSci 0.8.1 | EOS 0.26.0 |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="fault-table-") as name:
        folder = Path(name)
        fsync_ms, commit_ms = floors(folder)
        try:
            for row in ROWS:
                if given.only and given.only not in row.ours.__name__:
                    continue
                begin = time.monotonic()
                try:
                    ours = row.ours(folder, size)
                except RuntimeError as error:
                    failed, ours = failed + 1, f"NOT MEASURED: {error}"
                print(f"| {row.name} | {ours} | {row.queue_server} | {row.madsci} | {row.eos} |", flush=True)
                print(f"{row.ours.__name__}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
        finally:
            end_all()
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(
        f"\n{where}, load {os.getloadavg()[0]:.1f}; append and fsync {fsync_ms:.2f} ms, durable SQLite commit", end=" "
    )
    print(f"{commit_ms:.2f} ms (medians); {(time.monotonic() - begun) / 60:.1f} minutes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
