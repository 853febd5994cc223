"""A snapshot of the state beside the journal, so that going on with a long run does not mean reading it all again.

The journal stays the truth. A snapshot is the fold of its first events, made by a process of its own
(``python -m controller.snapshot RUN``) while the campaign goes on, and it counts only where it fits: written by this
very code, whole, and with the journal's own hash chain at its last event. Otherwise everything is folded, as ever.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import os
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import to_json

import actors
import controller
import models
from actors.orders import Offer
from controller import events as ev
from controller.filing import Filing
from controller.fold import read_campaign
from controller.journal import Journal
from controller.records import Schedule, State
from controller.state import evolve
from controller.tasks import CommandTask, PlanTask, ReturnTask
from instruments.files import write_whole

log = logging.getLogger(__name__)

FILE = "snapshot.json"
EVERY = 10_000
"""Events between two snapshots: what a restart folds at most, and a little more."""

_RELATED = ("campaign", "active", "filing", "schedule", "offers_kept")
"""Fields that refer to others, and are restored by reference."""


def fold(run: Path, journal: Journal) -> State:
    """The state of a run: the snapshot where one fits, and every event after it. Raises StorageError."""
    return _fold(run, journal)[0]


def save(run: Path) -> int:
    """Write the snapshot of a run as its journal is now; returns the number of its last event. Raises StorageError."""
    journal = Journal(run / "journal.sqlite", readonly=True)
    try:
        state, seq = _fold(run, journal)
        body = b"\n".join(name.encode() + b" " + text for name, text in _pack(state).items())
        head = {"code": _code(), "seq": seq, "chain": journal.chain_at(seq), "sha256": hashlib.sha256(body).hexdigest()}
    finally:
        journal.close()
    write_whole(run / FILE, json.dumps(head).encode() + b"\n" + body)
    return seq


def _fold(run: Path, journal: Journal) -> tuple[State, int]:
    collecting = gc.isenabled()
    gc.disable()  # everything that is made here stays: looking for rubbish among it takes longer than making it
    try:
        state, seq = _restore(run / FILE, journal) or (State(), 0)
        for number, _, event in journal.read(after=seq):
            state, seq = evolve(state, event), number
        return state, seq
    finally:
        if collecting:
            gc.enable()


class Snapshots:
    """Has a snapshot made whenever the journal has grown by ``EVERY`` events, without keeping the campaign waiting."""

    def __init__(self, run: Path, journal: Journal) -> None:
        self._run, self._journal, self._last = run, journal, journal.version
        self._process: subprocess.Popen[bytes] | None = None

    def look(self) -> None:
        """Start a process where it is time. Quick; call now and then."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._journal.version - self._last >= EVERY:
            self._last = self._journal.version
            self._process = subprocess.Popen(
                [sys.executable, "-m", "controller.snapshot", str(self._run)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(Path(controller.__file__).parent.parent)},
            )

    def close(self) -> None:
        """End a process that is still at it: its work is not needed to go on."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _restore(path: Path, journal: Journal) -> tuple[State, int] | None:
    try:
        head_line, _, body = path.read_bytes().partition(b"\n")
        head = json.loads(head_line)
        if head["code"] != _code() or head["chain"] != journal.chain_at(head["seq"]):
            return None
        if hashlib.sha256(body).hexdigest() != head["sha256"]:
            raise ValueError("it was changed after it was written")
        return _unpack(dict(line.split(b" ", 1) for line in body.split(b"\n"))), int(head["seq"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be used (%s): everything is folded", path, error)
        return None


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(State)
    return {field.name: TypeAdapter(hints[field.name]) for field in fields(State) if field.name not in _RELATED}


@cache
def _code() -> str:
    """Digest of everything that a fold may depend on: another version of the program folds anew."""
    found = hashlib.sha256()
    for package in (controller, actors, models):
        for file in sorted(Path(package.__file__ or "").parent.glob("*.py")):
            found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


def _pack(state: State) -> dict[str, bytes]:
    """Field -> JSON."""
    filing, schedule = state.filing, state.schedule
    packed: dict[str, Any] = {name: getattr(state, name) for name in _adapters()}
    packed["active"] = list(state.active)
    packed["filing"] = {
        "waiting": filing.waiting,
        "due": filing.due,
        "idle": {capability: list(names) for capability, names in filing.idle.items()},
        "offered": filing.offered,
        **{name: list(getattr(filing, name)) for name in _BY_NAME},
    }
    packed["schedule"] = schedule and {"number": schedule.number, "acts": schedule.acts, "left": list(schedule.of)}
    return {name: to_json(value, inf_nan_mode="constants") for name, value in packed.items()}


_BY_NAME = ("unplanned", "asking", "over", "unstarted", "holding", "under_way", "reported", "absent", "troubled")


def _unpack(packed: dict[bytes, bytes]) -> State:
    state = State(**{name: adapter.validate_json(packed[name.encode()]) for name, adapter in _adapters().items()})
    read_campaign(state, state.lab_text)
    state.active = {name: state.experiments[name] for name in json.loads(packed[b"active"])}
    filed = json.loads(packed[b"filing"])
    experiments, commands = state.experiments, state.commands
    state.filing = Filing(
        unplanned={name: PlanTask(name) for name in filed["unplanned"]},
        asking={name: experiments[name] for name in filed["asking"]},
        over={name: experiments[name] for name in filed["over"]},
        unstarted=dict.fromkeys(filed["unstarted"]),
        waiting={name: [_key(key) for key in keys] for name, keys in filed["waiting"].items()},
        due=[_key(key) for key in filed["due"]],
        holding=dict.fromkeys(filed["holding"]),
        under_way={name: CommandTask(name) for name in filed["under_way"]},
        reported={name: commands[name] for name in filed["reported"]},
        idle={capability: dict.fromkeys(names) for capability, names in filed["idle"].items()},
        absent={name: ReturnTask(name) for name in filed["absent"]},
        troubled=dict.fromkeys(filed["troubled"]),
        offered={name: Offer.model_validate(offer) for name, offer in filed["offered"].items()},
    )
    if (kept := json.loads(packed[b"schedule"])) is not None:
        acts = {name: [ev.Act.model_validate(act) for act in acts] for name, acts in kept["acts"].items()}
        of = {work: act for each in acts.values() for act in each for work in act.works}
        state.schedule = Schedule(kept["number"], acts, {(name, step): of[name, step] for name, step in kept["left"]})
    return state


def _key(key: list[Any]) -> tuple[float, int, str]:
    due_s, number, name = key
    return float(due_s), number, name


if __name__ == "__main__":
    os.nice(10)
    save(Path(sys.argv[1]))
