"""`athanor lab ...` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_lab_commands(commands: Any, add: Callable[..., Any]) -> None:
    """Add ``lab`` and its own commands.

    Args:
        commands: where the program's commands are.
        add: ``add(commands, name, function, text, example)`` makes one.
    """
    lab = add(commands, "lab", _explain, "the lab: its file, keys and state", "athanor lab init north-lab")
    inner = lab.add_subparsers(metavar="WHAT", required=True)

    init = add(
        inner,
        "init",
        _init,
        "make a lab's folder, or add names to it",
        "athanor lab init north-lab --hosts kiln,xrd --observer ada",
    )
    init.add_argument("dir", type=Path, metavar="DIR", help="the lab's folder")
    init.add_argument("--hosts", type=_names, default=[], metavar="A,B", help="instruments on machines of their own")
    init.add_argument("--operator", action="append", default=[], metavar="NAME", help="may stop the lab and look at it")
    init.add_argument("--observer", action="append", default=[], metavar="NAME", help="may look at it")

    check = add(inner, "check", _check, "look a lab's folder over", "athanor lab check north-lab")
    check.add_argument("dir", type=Path, metavar="DIR", help="the lab's folder")

    status = add(
        inner, "status", _status, "who has the lab, and its instruments", "athanor lab status north-lab --json"
    )
    status.add_argument("dir", type=Path, metavar="DIR", help="the lab's folder, or a run's")
    status.add_argument("--key", metavar="NAME", help="whose key to show; default: an operator's or observer's")
    status.add_argument("--json", action="store_true", help="one object for programs")

    config = add(
        inner,
        "host-config",
        _host_config,
        "write the file of a host on another machine",
        "athanor lab host-config north-lab kiln --controller tcp://lab-pc:5570",
    )
    config.add_argument("dir", type=Path, metavar="DIR", help="the lab's folder")
    config.add_argument("name", metavar="NAME", help="the instrument")
    config.add_argument("--controller", required=True, metavar="ADDRESS", help="how it is reached from there")
    config.add_argument("--out", type=Path, help="where to write; default: NAME.json")


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _explain(arguments: Any) -> int:
    return 2  # argparse asks for one of its commands before this


def _init(arguments: Any) -> int:
    from controller.lab_setup import init_lab

    lines = init_lab(arguments.dir, hosts=arguments.hosts, operators=arguments.operator, observers=arguments.observer)
    print("\n".join(lines))
    return 0


def _check(arguments: Any) -> int:
    from controller.lab_setup import check_lab

    print("\n".join(check_lab(arguments.dir)))
    return 0


def _status(arguments: Any) -> int:
    from controller.estop import find_lab
    from controller.lab_status import look_at_lab, status_lines

    lab, _ = find_lab(arguments.dir)
    found = look_at_lab(lab, key=arguments.key)
    print(json.dumps(found) if arguments.json else "\n".join(status_lines(lab, found)))
    return 0


def _host_config(arguments: Any) -> int:
    from controller.lab_setup import write_host_config

    print("\n".join(write_host_config(arguments.dir, arguments.name, arguments.controller, arguments.out)))
    return 0
