"""The conformance suite at the command line: ``python -m instruments.conformance`` and ``athanor driver check``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instruments.driver import Driver, Job
from instruments.errors import InstrumentError, LabError

if TYPE_CHECKING:
    from instruments.conformance import CheckResult

EXAMPLE = (
    'athanor driver check mt_sics --settings \'{"address": "tcp://10.0.0.7:4305"}\' --job \'{"capability": "tare"}\''
)
DEFAULT_JOB = {"command_id": "check", "sample": "check-sample", "parameters": {}, "seed": 0}
OK, BROKEN, BAD_INPUT = 0, 1, 2


# Nothing heavy is imported at the top: the help of the command line is instant.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``check`` reads."""
    parser.add_argument(
        "driver", metavar="DRIVER", help="a name (`list` shows them), MODULE:CLASS, or MODULE with one driver"
    )
    parser.add_argument("--settings", type=_json, default={}, metavar="JSON", help="of the driver, or @FILE.json")
    parser.add_argument(
        "--job",
        type=_json,
        default={},
        metavar="JSON",
        help='capability (default: the first), parameters, sample, seed: \'{"capability": "heat", "parameters": '
        '{"temperature_C": 80}}\', or @FILE.json. It must end well, and bear being repeated two dozen times',
    )
    parser.add_argument(
        "--stop-s", type=float, default=2.0, help="longest time that a stop may take (default: %(default)g)"
    )
    parser.add_argument("--quick", action="store_true", help="leave out what needs a host process")
    parser.add_argument("--json", action="store_true", help="one list for programs")


def check(given: argparse.Namespace) -> int:
    """Check a driver and print a line a promise. Returns 0 where all were kept, 1 where not, 2 for bad input."""
    from instruments.conformance import check_driver

    if "" not in sys.path:
        sys.path.insert(0, "")  # a module beside the user, as a host started here finds it
    try:
        cls = find_driver(given.driver)
        job = _job(cls, given.settings, given.job)
    except (InstrumentError, TypeError) as error:
        print(f"{given.driver}: {error}", file=sys.stderr)
        return BAD_INPUT
    results = check_driver(cls, given.settings, job, stop_s=given.stop_s, hosted=not given.quick)
    if given.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        _print(given.driver, job, results)
    return OK if all(result.passed for result in results) else BROKEN


def list_drivers(*, as_json: bool = False) -> int:
    """Print every driver there is by name: where it comes from and what it is. Returns 0."""
    from instruments.registry import BUILT_IN, plugins, resolve_driver

    rows = []
    for name, target in sorted((BUILT_IN | plugins()).items()):
        try:
            what = (resolve_driver(name).__doc__ or "").strip().splitlines()[0]
        except LabError as error:
            what = f"cannot be loaded: {error}"
        rows.append({"driver": name, "class": target, "what": what})
    if as_json:
        print(json.dumps(rows, indent=2))
        return OK
    width = max(len(row["driver"]) for row in rows)
    for row in rows:
        print(f"{row['driver']:{width}}  {row['what']}")
    return OK


def find_driver(name: str) -> type[Any]:
    """Return the class that a name, ``module:Class`` or ``module`` means. Raises LabError, with what there is."""
    from instruments.registry import BUILT_IN, plugins, resolve_driver

    if ":" in name or name in BUILT_IN or name in plugins():
        return resolve_driver(name)
    try:
        module = import_module(name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in name:
            raise LabError(f"{name} cannot be imported: {error}") from None
        return resolve_driver(name)  # says which names there are
    found = [
        what
        for what in vars(module).values()
        if isinstance(what, type) and what.__module__ == module.__name__ and issubclass(what, Driver)
    ]
    if len(found) != 1:
        there = ", ".join(cls.__name__ for cls in found) or "none with run, stop, health, inspect and capabilities"
        raise LabError(f"{name} has not one driver class but {len(found)} ({there}); write {name}:CLASS")
    return found[0]


def _job(cls: type[Any], settings: Mapping[str, Any], asked: Mapping[str, Any]) -> Job:
    if unknown := set(asked) - {"capability", *DEFAULT_JOB}:
        raise LabError(f"--job: {', '.join(sorted(unknown))} unknown; it has capability, {', '.join(DEFAULT_JOB)}")
    capability = asked.get("capability")
    if capability is None:
        with tempfile.TemporaryDirectory() as folder:
            driver = cls(workdir=Path(folder), **settings)
            announced = driver.capabilities()
            if callable(close := getattr(driver, "close", None)):
                close()
        if not announced:
            raise LabError("it announces no capability; return at least one from capabilities()")
        capability = announced[0].name
    return Job(**{**DEFAULT_JOB, **asked, "capability": capability})


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return found


def _print(name: str, job: Job, results: list[CheckResult]) -> None:
    print(f"{name}: {job.capability} on {job.sample}, {len(results)} promises")
    width = max(len(result.name) for result in results)
    for result in results:
        print(f"{'kept' if result.passed else 'BROKEN':6}  {result.name:{width}}  {result.detail}")
    broken = sum(not result.passed for result in results)
    print(f"{broken} broken: docs/instruments/conformance.md says what each means" if broken else "all kept")


def main(arguments: list[str] | None = None) -> int:
    """Check a driver from its own command line."""
    parser = argparse.ArgumentParser(
        prog="python -m instruments.conformance",
        description="Try a driver's promises. It acts: use a simulator or a job that may be repeated.",
        epilog=f"example: {EXAMPLE}",
    )
    add_arguments(parser)
    return check(parser.parse_args(arguments))
