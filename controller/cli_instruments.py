"""Commands about instruments: ``athanor driver check``, ``athanor driver list``, ``athanor human``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller.errors import CampaignError

EXAMPLE = 'athanor driver check my_oven:Oven --settings \'{"port": "/dev/ttyUSB0"}\' --job \'{"capability": "heat"}\''


def add_commands(commands: Any, add: Callable[..., Any]) -> None:
    """Add them to the parser; ``add(commands, name, function, text, example)`` is the command line's own."""
    from instruments.conformance_cli import add_arguments

    about = "try a driver's promises, or list the drivers"
    driver = add(commands, "driver", _list, about, EXAMPLE)
    verbs = driver.add_subparsers(metavar="VERB", required=True)
    check = add(verbs, "check", _check, "try a driver's promises: crashes, repetition, stops, limits, garbage", EXAMPLE)
    add_arguments(check)
    listing = add(verbs, "list", _list, "every driver there is by name", "athanor driver list")
    listing.add_argument("--json", action="store_true", help="one list for programs")

    human = add(
        commands,
        "human",
        _human,
        "what a person is asked to do, and what they saw",
        "athanor human runs/mine    (lists what waits for a person)\n"
        "  athanor human runs/mine COMMAND thickness_mm=1.93 --by 'A. Chemist' --note 'a small crack'",
    )
    human.add_argument("dir", type=Path, metavar="RUN", help="the run's directory")
    human.add_argument("command_id", nargs="?", metavar="COMMAND", help="which request; none: list what waits")
    human.add_argument("readings", nargs="*", metavar="NAME=NUMBER", help="what was seen")
    human.add_argument("--by", default="", help="who says so")
    human.add_argument("--note", default="", help="anything else worth knowing")
    human.add_argument("--failed", action="store_true", help="it could not be done; say why in --note")


def _check(arguments: Any) -> int:
    from instruments.conformance_cli import check

    return check(arguments)


def _list(arguments: Any) -> int:
    from instruments.conformance_cli import list_drivers

    return list_drivers(as_json=arguments.json)


def _human(arguments: Any) -> int:
    from controller.rundir import RunDirectory
    from instruments.drivers.human import answer_request, open_requests
    from instruments.errors import InstrumentError

    directory = RunDirectory(arguments.dir)
    directory.require()
    folders = {path.parent.name: path.parent for path in sorted((directory.lab / "hosts").glob("*/requests"))}
    waiting = [(name, request) for name, folder in folders.items() for request in open_requests(folder)]
    if arguments.command_id is None:
        for name, request in waiting:
            print(f"{request['command_id']}  {name}: {request['instruction']}")
            for reading, (low, high) in request["readings"].items():
                print(f"    {reading} = ?  ({low:g} .. {high:g})")
        if not waiting:
            print("nobody is asked to do anything")
        return 0
    asked = [name for name, request in waiting if request["command_id"] == arguments.command_id]
    if not asked:
        raise CampaignError(f"nobody waits for {arguments.command_id}; athanor human {arguments.dir} lists what waits.")
    try:
        readings = {name: float(value) for name, _, value in (text.partition("=") for text in arguments.readings)}
        answer_request(
            folders[asked[0]], arguments.command_id, who=arguments.by, readings=readings, failed=arguments.failed,
            note=arguments.note,
        )  # fmt: skip
    except (InstrumentError, ValueError) as error:
        print(f"athanor: {error}", file=sys.stderr)
        return CampaignError.exit_code
    print(f"noted: {arguments.command_id} by {arguments.by}")
    return 0
