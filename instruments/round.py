"""The acts of a process's prompt drivers: one write to the disk for all that end and begin, no thread in between."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from instruments.group_log import GroupLog, Record
from instruments.messages import Command, Report

if TYPE_CHECKING:
    from instruments.worker import Worker

RETRY_WRITE_S = 1.0


@dataclass
class _Ended:
    worker: Worker
    reports: list[Report]
    told: bool = False


class Round:
    """Does, turn by turn, what the prompt drivers of a process were given. To be used by the process's serving thread.

    Args:
        redo: the log of all ledgers concerned.
        clock: seconds; as the caller of ``turn`` counts them.
    """

    def __init__(self, redo: GroupLog, clock: Callable[[], float] = time.monotonic):
        self._log, self._clock = redo, clock
        self._acts: list[tuple[Worker, list[Command], int]] = []
        self._ended: list[_Ended] = []
        self._not_before = 0.0

    def add(self, worker: Worker, act: list[Command], epoch: int) -> None:
        """Do an act in the next turn, or when what the worker has to do before is over."""
        self._acts.append((worker, act, epoch))

    @property
    def due(self) -> float:
        """When ``turn`` has something to do, by the clock."""
        return self._not_before if self._acts or self._ended else math.inf

    def turn(self) -> None:
        """Write what has ended and what begins, tell the former, do the latter. Its reports wait for the next turn."""
        if self.due > self._clock():
            return
        acts, self._acts = self._acts, []
        busy: set[Worker] = set()
        begun: list[tuple[Worker, list[Command], Record]] = []
        for worker, act, epoch in acts:
            if worker in busy:
                self._acts.append((worker, act, epoch))
            elif start := worker.prepare(act, epoch):
                busy.add(worker)
                begun.append((worker, act, start))
        try:
            done = [x.worker.ledger.finishing(x.reports) for x in self._ended]
            if done or begun:
                self._log.append(*done, *(start for _, _, start in begun))
        except (sqlite3.Error, OSError) as error:
            self._failed([(worker, act) for worker, act, _ in begun], error)
            return
        self._not_before = 0.0
        for each in self._ended:
            each.worker.ended(each.reports)
        self._ended = [_Ended(worker, worker.perform(act)) for worker, act, _ in begun]

    def _failed(self, begun: list[tuple[Worker, list[Command]]], error: Exception) -> None:
        for worker, act in begun:
            worker.refuse(act, error)
        for each in self._ended:
            if not each.told:
                each.worker.not_stored(each.reports, error)
                each.told = True
        self._not_before = self._clock() + RETRY_WRITE_S if self._ended else 0.0
