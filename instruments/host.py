"""Instrument hosts: ``python -m instruments.host --config FILE.json ...``, one process an instrument or several.

One thread of the process speaks with the controller for all its instruments, and has prompt drivers act
(`instruments.round`). Each instrument has a second one that owns its driver (`instruments.worker`) and a third that
listens for the emergency stop, so that a stop waits neither for work nor for the disk.
"""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import sqlite3
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from selectors import EVENT_READ, BaseSelector, DefaultSelector

import zmq
from pydantic import ValidationError

from instruments.bell import Bell
from instruments.errors import InstrumentError
from instruments.group_log import GroupLog
from instruments.host_config import HostConfig
from instruments.hosted import EXIT_CONFIG, EXIT_HELD, EXIT_OK, Host
from instruments.round import Round

log = logging.getLogger("athanor.host")

TIDY_S = 1.0
"""How often to look whether a log has grown long."""


def serve(hosts: Sequence[Host], bell: Bell, selector: BaseSelector, logs: Mapping[GroupLog, Round]) -> int:
    """Run hosts of several instruments, which share a bell and logs, until all have ended. Returns the exit code.

    They share an interpreter, so that many quick instruments cost little; a driver that brings it down ends them all.
    """

    def terminate(*_: object) -> None:
        for host in hosts:
            host.terminate()

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    code, open_hosts = EXIT_OK, list(hosts)
    selector.register(bell.descriptor, EVENT_READ)
    for host in hosts:
        host.begin()
    due, next_tidy = dict.fromkeys(open_hosts, 0.0), 0.0
    try:
        while open_hosts:
            soonest = min(*due.values(), *(turns.due for turns in logs.values()))
            found = selector.select(max(0.0, soonest - time.monotonic()))
            ready = {key.data for key, _ in found}
            if None in ready:
                bell.hush()
            now = time.monotonic()
            if now >= next_tidy:
                next_tidy = now + TIDY_S
                _tidy(logs)
            for host in [x for x in open_hosts if x in ready or x.has_heard or due[x] <= now]:
                due[host] = host.turn()
                if host.over:
                    open_hosts.remove(host)
                    del due[host]
                    host.end()
                    code = max(code, host.exit_code)
                    if host.exit_code:
                        terminate()  # what one needs a new process for, the others must bear
            for turns in logs.values():
                turns.turn()
    finally:
        for host in open_hosts:
            host.end()
    return code


def _tidy(logs: Iterable[GroupLog]) -> None:
    for redo in logs:
        try:
            redo.tidy()
        except (OSError, sqlite3.Error) as error:  # nothing is lost, it only grows
            log.error("the log of the process cannot be tidied: %s", error)


def main(arguments: list[str] | None = None) -> int:
    """Run the hosts of a process. Returns 0 after an orderly end, 2 for bad files, 3 where a ledger is held, 4 bad
    driver."""
    parser = argparse.ArgumentParser(prog="python -m instruments.host", description="Host one instrument or several.")
    parser.add_argument(
        "--config", type=Path, required=True, nargs="+", help="JSON file an instrument, see instruments.host_config"
    )
    parser.add_argument("--linger-s", type=float, help="end after so many seconds without a controller")
    given = parser.parse_args(arguments)
    gc.freeze()  # what was imported stays: looking through it again and again costs more than the work does
    if len(given.config) == 1:  # many threads would wake up for nothing all the time
        sys.setswitchinterval(0.001)  # a driver that computes in Python must not keep a stop waiting
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    hosts, context, bell, selector = [], zmq.Context(), Bell(), DefaultSelector()
    logs: dict[Path, GroupLog] = {}
    rounds: dict[GroupLog, Round] = {}
    for path in given.config:
        name = str(path)
        try:
            config = HostConfig.load(path)
            name = config.name
            if given.linger_s is not None:
                config = config.model_copy(update={"linger_s": given.linger_s})
            if config.log not in logs:
                redo = logs[config.log] = GroupLog(config.log)
                rounds[redo] = Round(redo)
            hosts.append(Host(config, context, bell, selector, logs[config.log], rounds[logs[config.log]]))
        except (OSError, ValidationError, InstrumentError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return EXIT_HELD if "is held by" in str(error) else EXIT_CONFIG
    code = serve(hosts, bell, selector, rounds)
    for redo in logs.values():
        redo.close()
    if all(host.closed for host in hosts):
        context.term()
    return code


if __name__ == "__main__":
    sys.exit(main())
