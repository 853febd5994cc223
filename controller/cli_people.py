"""What people decide, on the command line: `athanor reconcile`, `stop`, `reset`, `approve` and `reject`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_people_commands(commands: Any, add: Callable[..., Any]) -> None:
    """Add the commands.

    Args:
        commands: where the program's commands are.
        add: ``add(commands, name, function, text, example)`` makes one.
    """
    reconcile = add(
        commands,
        "reconcile",
        _reconcile,
        "say what became of a sample whose outcome is unknown",
        "athanor reconcile runs/mine    (lists what is unknown)\n"
        "  athanor reconcile runs/mine COMMAND done --by 'A. Chemist' --reading sample_mass_g=4.93",
    )
    reconcile.add_argument("dir", type=Path, metavar="RUN", help="the run's directory")
    reconcile.add_argument("command_id", nargs="?", metavar="COMMAND", help="which command; none: list what is unknown")
    reconcile.add_argument(
        "verdict", nargs="?", choices=("done", "failed", "discard", "repeat"), help="what became of it"
    )
    reconcile.add_argument("--by", help="who says so")
    reconcile.add_argument("--json", action="store_true", help="the list as an array for programs")
    reconcile.add_argument("--reason", default="", help="why")
    reconcile.add_argument(
        "--evidence",
        action="append",
        default=[],
        metavar="FILE_OR_TEXT",
        help="a photo or another file (its SHA-256 is noted), or words",
    )
    reconcile.add_argument(
        "--reading", action="append", default=[], metavar="NAME=NUMBER", help="a result (with `done`)"
    )

    stop = add(
        commands,
        "stop",
        _stop,
        "emergency stop: every instrument at once (it never replaces a hardware stop)",
        "athanor stop runs/mine --by 'A. Chemist' --reason 'smoke at the furnace'",
    )
    stop.add_argument("dir", type=Path, metavar="RUN|LAB", help="the directory of a run or of a lab")
    stop.add_argument("--by", default="", help="who asks; default: the user of this machine")
    stop.add_argument("--reason", default="", help="why")
    stop.add_argument("--json", action="store_true", help="one object for programs")

    reset = add(
        commands,
        "reset",
        _reset,
        "end an emergency stop, once every sample in flight has a verdict",
        "athanor reset runs/mine --by 'A. Chemist' --reason 'it was steam'",
    )
    reset.add_argument("dir", type=Path, metavar="RUN|LAB", help="the directory of a run or of a lab")
    reset.add_argument("--by", required=True, help="who answers for it")
    reset.add_argument("--reason", required=True, help="why")

    for name, text in (("approve", "let a recipe go to the lab"), ("reject", "keep a recipe from the lab")):
        person = add(commands, name, _approve, text, f"athanor {name} runs/mine E0007 --by 'A. Chemist'")
        person.add_argument("dir", type=Path, metavar="RUN", help="the run's directory")
        person.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="which; none: list what waits")
        person.add_argument("--by", default="", help="who says so")
        person.add_argument("--reason", default="", help="why")
        person.set_defaults(approve=name == "approve")


def _reconcile(arguments: Any) -> int:
    from controller.errors import CampaignError
    from controller.reconcile import describe_unknown, evidence_lines, reconcile
    from controller.rundir import RunDirectory

    directory = RunDirectory(arguments.dir)
    if arguments.command_id is None:
        unknown = describe_unknown(directory, directory.load())
        if arguments.json:
            print(json.dumps(unknown))
            return 0
        for entry in unknown:
            print("\n".join(evidence_lines(entry)))
        if not unknown:
            print("nothing is unknown")
        return 0
    if arguments.verdict is None or not arguments.by:
        raise CampaignError("give a verdict (done, failed, discard or repeat) and --by NAME: a person answers for it.")
    words = reconcile(
        directory,
        arguments.command_id,
        arguments.verdict,
        by=arguments.by,
        reason=arguments.reason,
        readings=arguments.reading,
        evidence=arguments.evidence,
    )
    print(words)
    return 0


def _stop(arguments: Any) -> int:
    import getpass

    from controller.estop import find_lab, stop

    lab, runs = find_lab(arguments.dir)
    outcome = stop(lab, runs, by=arguments.by or getpass.getuser(), reason=arguments.reason)
    if arguments.json:
        print(json.dumps({**vars(outcome), "complete": outcome.complete}))
    else:
        width = max([len("instrument"), *map(len, outcome.acknowledged_ms)])
        print(f"{'instrument':{width}}  acknowledged")
        for name, ms in outcome.acknowledged_ms.items():
            print(f"{name:{width}}  {'NOT ACKNOWLEDGED: go and look' if ms is None else f'{ms:.1f} ms'}")
        for note in outcome.notes:
            print(note)
        if outcome.latched:
            print(f"latched. Next: make the lab safe, then athanor reset {arguments.dir} --by NAME --reason TEXT")
    return 0 if outcome.complete else 5


def _reset(arguments: Any) -> int:
    from controller.estop import find_lab, reset

    lab, runs = find_lab(arguments.dir)
    reset(lab, runs, by=arguments.by, reason=arguments.reason)
    for run in runs:
        print(f"reset by {arguments.by}. Next: athanor resume {run.path}")
    if not runs:
        print(f"reset by {arguments.by}. The instruments are told when the next campaign begins.")
    return 0


def _approve(arguments: Any) -> int:
    from controller.approval import decide_on, waiting_lines
    from controller.rundir import RunDirectory

    directory = RunDirectory(arguments.dir)
    if arguments.experiment is None:
        print("\n".join(waiting_lines(directory.load())) or "nothing waits for approval")
        return 0
    words = decide_on(
        directory, arguments.experiment, approve=arguments.approve, by=arguments.by, reason=arguments.reason
    )
    print(words)
    return 0
