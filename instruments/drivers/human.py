"""A person as an instrument: told what to do, asked what came of it."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instruments.driver import Capability, Job, Outcome, Progress
from instruments.drivers.base import RealInstrument, Stopped, limits_of
from instruments.drivers.table import bounds_of
from instruments.errors import InstrumentError, LabError, Refused
from instruments.files import write_whole

OPEN, WITHDRAWN = "open", "withdrawn"


class Human(RealInstrument):
    """Asks a person to act, and waits for what they report with ``answer_request``.

    Settings:
        capabilities: name -> ``instruction`` (text; ``{sample}`` and the parameters' names in braces are filled in),
            ``readings`` (names or name -> [low, high]), ``limits`` (parameter -> [low, high]), ``idempotent``.
        timeout_h: after so many hours without an answer the command ends as a fault.
        poll_s: how often to look for an answer.

    Each request is a file in ``WORKDIR/requests`` until it is answered; the answer is kept beside it, so an answer
    given while the host is down is found by ``inspect``.

    Raises:
        LabError: a capability is malformed.
    """

    name = "human"

    def __init__(
        self,
        *,
        workdir: Path,
        capabilities: Mapping[str, Mapping[str, Any]],
        timeout_h: float = 72.0,
        poll_s: float = 0.5,
    ) -> None:
        super().__init__(workdir=workdir)
        self.timeout_s, self.poll_s = 3600 * timeout_h, poll_s
        self._capabilities: dict[str, Capability] = {}
        self._instructions: dict[str, str] = {}
        for name, what in capabilities.items():
            unknown = set(what) - {"instruction", "readings", "limits", "idempotent"}
            if unknown or not what.get("instruction"):
                raise LabError(
                    f"capability {name}: give instruction, and if you like readings, limits, idempotent"
                    + (f"; not {', '.join(sorted(unknown))}" if unknown else "")
                )
            self._instructions[name] = str(what["instruction"])
            self._capabilities[name] = Capability(
                name,
                limits_of(what.get("limits", {})),
                bounds_of(what.get("readings", [])),
                bool(what.get("idempotent")),
            )
        (self.workdir / "requests").mkdir(exist_ok=True)

    def capabilities(self) -> list[Capability]:
        """As the settings say."""
        return list(self._capabilities.values())

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """Ask, and wait for the answer."""
        capability = self._capabilities[job.capability]
        try:
            instruction = self._instructions[job.capability].format_map({**given, "sample": job.sample})
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise Refused(f"the instruction cannot be filled in: {error} is missing or malformed") from None
        request = {
            "command_id": job.command_id,
            "capability": job.capability,
            "sample": job.sample,
            "instruction": instruction,
            "parameters": given,
            "readings": {name: [limit.low, limit.high] for name, limit in capability.quantities.items()},
            "asked_at": time.time(),
            "state": OPEN,
        }
        begun, path = time.monotonic(), _path(self.workdir, job.command_id)
        self.check_stop()
        self.notes.put(job.command_id, phase="asked")
        write_whole(path, json.dumps(request))
        progress(0.0, f"waiting for a person: {instruction}")
        while (outcome := _answered(path)) is None:
            if time.monotonic() - begun > self.timeout_s:
                write_whole(path, json.dumps(request | {"state": WITHDRAWN}))
                raise TimeoutError(f"nobody answered in {self.timeout_s / 3600:g} h: {instruction}")
            try:
                self.wait(self.poll_s)
            except Stopped:
                if (outcome := _answered(path)) is not None:
                    break
                write_whole(path, json.dumps(request | {"state": WITHDRAWN}))
                raise Stopped(f"a person may have begun: {instruction}") from None
        return Outcome(outcome.status, outcome.readings, {}, time.monotonic() - begun, outcome.message)

    def look(self, job: Job, note: Mapping[str, Any]) -> Outcome | None:
        """What the person answered while nobody listened; else only the person knows."""
        if note["phase"] == "begun":
            return Outcome("untouched", message="nobody was asked")
        return _answered(_path(self.workdir, job.command_id))

    def facts(self) -> dict[str, Any]:
        """How many requests wait for an answer."""
        return {"open_requests": len(open_requests(self.workdir))}


def open_requests(workdir: Path) -> list[dict[str, Any]]:
    """What a person is asked to do, oldest first: command_id, capability, sample, instruction, readings, asked_at."""
    found = [_read(path) for path in (Path(workdir) / "requests").glob("*.request.json")]
    waiting = [request for request in found if request["state"] == OPEN and not _answer_path(workdir, request).exists()]
    return sorted(waiting, key=lambda request: request["asked_at"])


def answer_request(
    workdir: Path, command_id: str, *, who: str, readings: Mapping[str, float], failed: bool = False, note: str = ""
) -> None:
    """Record what a person saw; the running host picks it up.

    Args:
        workdir: the instrument's folder.
        command_id: of the request.
        who: name of the person; it goes into the journal.
        readings: every reading that was asked for, unless ``failed``.
        failed: True where the thing could not be done; say why in ``note``.
        note: anything else worth knowing.

    Raises:
        Refused: no such request, it was withdrawn or answered already, or the readings are not what was asked for.
    """
    path = _path(Path(workdir), command_id)
    if not path.exists():
        raise Refused(f"nobody asked for {command_id}; list the open requests first")
    request = _read(path)
    if request["state"] == WITHDRAWN:
        raise Refused(
            f"the request {command_id} was withdrawn; tell the operator what you did so that they reconcile it"
        )
    answer = _answer_path(workdir, request)
    if answer.exists():
        raise Refused(f"{command_id} has been answered already")
    if not who.strip():
        raise Refused("say who you are")
    wanted = request["readings"]
    values = {name: float(value) for name, value in readings.items()}
    if unknown := set(values) - set(wanted):
        raise Refused(f"nobody asked for {', '.join(sorted(unknown))}; asked were {', '.join(wanted) or 'no readings'}")
    if failed and not note.strip():
        raise Refused("say in a note why it failed")
    if not failed:
        for name, (low, high) in wanted.items():
            if name not in values:
                raise Refused(f"{name} is missing")
            if math.isnan(values[name]) or not low <= values[name] <= high:
                raise Refused(f"{name} = {values[name]:g} is outside {low:g}..{high:g}: look again at the unit")
    message = f"{who.strip()}: {note.strip() or ('could not be done' if failed else 'done')}"
    write_whole(answer, json.dumps({"failed": failed, "readings": values, "message": message}))


def main(arguments: list[str] | None = None) -> int:
    """List what a person is asked to do, or answer it. Returns 0, or 2 where the answer is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m instruments.drivers.human",
        description="List open requests, or answer one: ... WORKDIR COMMAND_ID --who ana mass_g=1.2034",
    )
    parser.add_argument("workdir", type=Path)
    parser.add_argument("command_id", nargs="?")
    parser.add_argument("readings", nargs="*", help="name=number")
    parser.add_argument("--who", default="")
    parser.add_argument("--note", default="")
    parser.add_argument("--failed", action="store_true")
    given = parser.parse_intermixed_args(arguments)
    try:
        if given.command_id is None:
            for request in open_requests(given.workdir):
                print(f"{request['command_id']}  {request['instruction']}  [{', '.join(request['readings'])}]")
            return 0
        readings = {name: float(value) for name, _, value in (text.partition("=") for text in given.readings)}
        answer_request(
            given.workdir, given.command_id, who=given.who, readings=readings, failed=given.failed, note=given.note
        )
    except (InstrumentError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _answered(path: Path) -> Outcome | None:
    answer = path.with_name(path.name.replace(".request.", ".answer."))
    if not answer.exists():
        return None
    found = _read(answer)
    return Outcome("failed" if found["failed"] else "ok", found["readings"], message=found["message"])


def _path(workdir: Path, command_id: str) -> Path:
    return Path(workdir) / "requests" / f"{hashlib.sha256(command_id.encode()).hexdigest()[:24]}.request.json"


def _answer_path(workdir: Path, request: Mapping[str, Any]) -> Path:
    path = _path(Path(workdir), request["command_id"])
    return path.with_name(path.name.replace(".request.", ".answer."))


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LabError(f"cannot read {path} ({error}); restore it or ask again") from None


if __name__ == "__main__":
    sys.exit(main())
