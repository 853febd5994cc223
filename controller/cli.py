"""The command line, ``athanor COMMAND``. A command imports what it needs, so that help is instant."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from controller.cli_bench import add_bench_commands
from controller.cli_knowledge import add_knowledge_commands
from controller.cli_lab import add_lab_commands
from controller.cli_models import add_model_commands
from controller.cli_people import add_people_commands
from controller.cli_synthesis import add_synthesis_commands
from controller.cli_values import positive
from controller.errors import AthanorError

EXIT_CODES = """exit codes:
  0  done                        4  stopped before the end; `athanor resume` goes on
  1  a fault of the program      5  the lab or the compute needs a person
  2  bad input                   6  a replayed decision differs
  3  the run directory is taken  7  the disk refused
     or in the wrong state"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except AthanorError as error:
        print(f"athanor: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("controller", "actors", "instruments", "models"):
            raise
        print(f"athanor: {error.name} is not installed: pip install 'athanor[lab]' (docs/cli.md).", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="athanor",
        description="A closed-loop controller for self-driving materials laboratories.",
        epilog=f"example:\n  athanor run campaigns/heusler-magnets.yaml\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    validate = _add(commands, "validate", _validate, "check a campaign file", "athanor validate my.yaml")
    validate.add_argument("file", type=Path, metavar="FILE", help="the campaign, YAML")

    run = _add(commands, "run", _run, "begin a campaign", "athanor run my.yaml --dir runs/mine --seed 7 --budget 20")
    run.add_argument("file", type=Path, metavar="FILE", help="the campaign, YAML")
    run.add_argument("--dir", type=Path, help="where the run lives; default: runs/NAME-001, runs/NAME-002, ...")
    run.add_argument("--seed", type=_natural, help="instead of the file's seed")
    run.add_argument("--budget", type=positive, help="experiments, instead of the file's budget")
    _add_takeover(run)
    _add_display(run)

    resume = _add(commands, "resume", _resume, "go on with a run, wherever it stopped", "athanor resume runs/mine")
    resume.add_argument("dir", type=Path, metavar="RUN", help="the run's directory")
    _add_takeover(resume)
    _add_display(resume)

    status = _add(commands, "status", _status, "what a run is doing", "athanor status runs/mine --json")
    status.add_argument("dir", type=Path, metavar="RUN", help="the run's directory")
    status.add_argument("--json", action="store_true", help="one object for programs")

    report = _add(commands, "report", _report, "write the report again", "athanor report runs/mine")
    report.add_argument("dir", type=Path, metavar="RUN", help="the run's directory")
    report.add_argument("--out", type=Path, help="where to write; default: RUN/report")
    report.add_argument("--baseline", type=Path, metavar="OTHER", help="a run that chose at random, to compare with")

    replay = _add(
        commands, "replay", _replay, "recompute every decision and compare", "athanor replay runs/mine && echo same"
    )
    replay.add_argument("dir", type=Path, metavar="RUN", help="the run's directory")
    replay.add_argument("--quiet", action="store_true", help="print only a difference")

    about = "why an experiment was chosen, what was expected and what it taught"
    why = _add(commands, "why", _why, about, "athanor why runs/mine E0012")
    why.add_argument("dir", type=Path, metavar="RUN", help="the run's directory")
    why.add_argument("experiment", metavar="EXPERIMENT", help="its name, E0012 or 12")
    why.add_argument("--json", action="store_true", help="one object for programs")

    add_people_commands(commands, _add)
    add_lab_commands(commands, _add)

    add_bench_commands(commands, _add)

    from controller.cli_instruments import add_commands

    add_commands(commands, _add)
    add_model_commands(commands, _add)
    add_synthesis_commands(commands, _add)
    add_knowledge_commands(commands, _add)

    doctor = _add(commands, "doctor", _doctor, "test this machine", "athanor doctor")
    doctor.add_argument("--json", action="store_true", help="one object for programs")

    init = _add(commands, "init", _init, "write a commented campaign to start from", "athanor init my-search")
    init.add_argument("name", metavar="NAME", help="name of the campaign; NAME.yaml is written")
    init.add_argument(
        "--kind",
        choices=("function", "table", "prototype"),
        default="function",
        help="which kind of space (default: %(default)s)",
    )
    return parser


def _add(commands: Any, name: str, function: Callable[[Any], int], text: str, example: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=function)
    return command


def _add_takeover(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--takeover", action="store_true", help="from another controller: it is asked to yield, then killed"
    )
    command.add_argument(
        "--grace", type=_seconds, default=60.0, metavar="SECONDS", help="to yield in (default: %(default)g)"
    )


def _add_display(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quiet", action="store_true", help="log lines instead of the live view")
    command.add_argument("--json", action="store_true", help="one JSON object a line for programs")
    command.add_argument("--no-report", action="store_true", help="do not write the report at the end")


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 or more")
    return value


def _validate(arguments: Any) -> int:
    from controller.campaign import load_campaign
    from controller.science import check_acquisition, check_science
    from controller.source import Source

    campaign, text = load_campaign(arguments.file)
    source, base_dir = Source(text, str(arguments.file)), arguments.file.resolve().parent
    size = check_science(campaign, base_dir, source)
    check_acquisition(campaign, base_dir, source)
    wants = ", ".join(f"{o.direction} {o.name}" for o in campaign.objectives)
    count = "a continuous space" if size is None else f"{size:,} candidates"
    print(f"{arguments.file}: ok. {campaign.name}: {count}, {wants}, {campaign.budget.experiments} experiments.")
    return 0


def _run(arguments: Any) -> int:
    from controller.campaign import lab_path, load_campaign
    from controller.labdir import LabDirectory
    from controller.run import begin
    from controller.rundir import RunDirectory, next_directory
    from controller.source import Source

    campaign, text = load_campaign(arguments.file, seed=arguments.seed, budget=arguments.budget)
    if file := lab_path(Source(text, str(arguments.file)).data, arguments.file.resolve().parent):
        _claim(LabDirectory(file.parent), arguments)
    directory = RunDirectory(arguments.dir or next_directory(campaign.name))
    begin(arguments.file, directory, seed=arguments.seed, budget=arguments.budget)
    return _carry_on(directory, arguments)


def _resume(arguments: Any) -> int:
    from controller.labdir import LabDirectory
    from controller.rundir import RunDirectory

    directory = RunDirectory(arguments.dir)
    directory.require()
    if arguments.takeover:
        _claim(directory, arguments)
    _claim(LabDirectory(directory.lab), arguments)
    return _carry_on(directory, arguments)


def _claim(held: Any, arguments: Any) -> None:
    """With --takeover, make whoever holds the run or the lab let go; the lab of a run that is held is not asked for."""
    from controller.errors import RunStateError
    from controller.labdir import LabDirectory, taken
    from controller.takeover import take_over

    if arguments.takeover:
        if done := take_over(held, arguments.grace):
            print(f"athanor: {done}", file=sys.stderr)
    elif isinstance(held, LabDirectory) and held.holder() is not None:
        raise RunStateError(taken(held))


def _carry_on(directory: Any, arguments: Any) -> int:
    from controller.run import go_on
    from controller.view import open_view

    handler = logging.FileHandler(directory.path / "logs" / "controller.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    with open_view(directory, quiet=arguments.quiet, as_json=arguments.json) as view:
        try:
            state, overhead = go_on(directory, view.update)
            report = None if arguments.no_report else _closing_report(directory, state, view)
        except AthanorError as error:
            view.failed(error)
            raise
        view.done(state, overhead, report)
    return 0


def _closing_report(directory: Any, state: Any, view: Any) -> Path:
    from controller.baseline import run_baseline
    from controller.report import write_report

    if state.require().baseline:
        view.note("random search over the same space, for comparison ...")
    return write_report(directory, directory.report, baseline=run_baseline(directory, state))


def _status(arguments: Any) -> int:
    from controller.approval import waiting_lines
    from controller.rundir import RunDirectory
    from controller.summary import summarize
    from controller.view import print_status

    directory = RunDirectory(arguments.dir)
    state = directory.load()
    summary = summarize(state, running=directory.holder() is not None)
    latched = state.latched.model_dump(include={"by", "reason"}) if state.latched else None
    waiting = waiting_lines(state)
    if arguments.json:
        print(json.dumps({**summary, "emergency_stop": latched, "approvals": waiting}))
    else:
        print_status(directory, state, summary)
        for line in waiting:
            print(line)
        if latched:
            from controller.estop import latched_message

            print(latched_message(state))
    return 0


def _report(arguments: Any) -> int:
    from controller.report import write_report
    from controller.rundir import RunDirectory

    directory = RunDirectory(arguments.dir)
    directory.require()
    baseline = arguments.baseline
    if baseline is None and RunDirectory(directory.path / "baseline" / "run").exists():
        baseline = directory.path / "baseline" / "run"
    print(write_report(directory, arguments.out or directory.report, baseline=baseline))
    return 0


def _replay(arguments: Any) -> int:
    from controller.replay import replay
    from controller.rundir import RunDirectory

    def tell(line: str) -> None:
        if not arguments.quiet:
            print(line, flush=True)

    counted = replay(RunDirectory(arguments.dir), tell)
    tell(f"{counted} decisions recomputed: every one is the same")
    return 0


def _why(arguments: Any) -> int:
    from controller.rundir import RunDirectory
    from controller.why import why
    from controller.why_words import lines

    found = why(RunDirectory(arguments.dir), arguments.experiment)
    print(json.dumps(found.as_json()) if arguments.json else "\n".join(lines(found)))
    return 0


def _doctor(arguments: Any) -> int:
    from controller.doctor import examine

    return examine(as_json=arguments.json)


def _init(arguments: Any) -> int:
    from controller.templates import write_template

    for line in write_template(arguments.name, arguments.kind, Path.cwd()):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
