"""The fault dial: everything that goes wrong with an instrument, seeded."""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass, fields
from typing import Literal

from instruments.errors import LabError

Fate = Literal["", "slow", "drop", "crash_before", "crash_after"]


@dataclass
class FaultDial:
    """How a simulated instrument misbehaves. All at zero: perfect. May be turned while it runs.

    Attributes:
        seed: of everything drawn.
        noise: standard deviation of a reading, in its unit.
        drift_per_s: what readings gain each second since the start, in their unit.
        nan: probability that a reading is not a number (each protocol has its own way to say so).
        stuck: True freezes readings at the first one that follows.
        slow: probability that a request is carried out and its answer is late by ``slow_s``.
        slow_s: how late.
        drop: probability that a request is carried out and never answered.
        crash_before: probability that the instrument dies on a request that acts, before acting.
        crash_after: probability that it dies after acting, before answering.
    """

    seed: int = 0
    noise: float = 0.0
    drift_per_s: float = 0.0
    nan: float = 0.0
    stuck: bool = False
    slow: float = 0.0
    slow_s: float = 2.0
    drop: float = 0.0
    crash_before: float = 0.0
    crash_after: float = 0.0

    def __post_init__(self) -> None:
        for name in ("nan", "slow", "drop", "crash_before", "crash_after"):
            if not 0 <= getattr(self, name) <= 1:
                raise LabError(f"{name} is a probability, not {getattr(self, name)!r}")
        self._rng = random.Random(self.seed)
        self._start = time.monotonic()
        self._frozen: dict[str, float] = {}
        self._guard = threading.Lock()

    @classmethod
    def names(cls) -> list[str]:
        """Everything that can be turned."""
        return [field.name for field in fields(cls)]

    def reading(self, true: float, channel: str = "") -> float:
        """What the instrument reads where ``true`` is the truth."""
        with self._guard:
            if self._rng.random() < self.nan:
                return math.nan
            value = true + self._rng.gauss(0, 1) * self.noise + self.drift_per_s * (time.monotonic() - self._start)
            if not self.stuck:
                self._frozen.pop(channel, None)
                return value
            return self._frozen.setdefault(channel, value)

    def fate(self, acts: bool) -> Fate:
        """What becomes of one request."""
        with self._guard:
            draws = [self._rng.random() for _ in range(4)]
        if acts and draws[1] < self.crash_before:
            return "crash_before"
        if acts and draws[2] < self.crash_after:
            return "crash_after"
        if draws[3] < self.drop:
            return "drop"
        return "slow" if draws[0] < self.slow else ""
