"""A liquid handler through PyLabRobot (Wierenga et al., Device 1, 100111 (2023), 10.1016/j.device.2023.100111)."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.drivers.base import RealInstrument, Stopped, load_callable, number
from instruments.errors import LabError, Refused


class PyLabRobotHandler(RealInstrument):
    """Capability ``transfer``: one liquid from well to well with a fresh tip.

    Parameters: ``source``, ``target`` and ``tip`` as ``RESOURCE.WELL`` (``plate_1.A1``, ``tips_1.B3``), ``volume_uL``.
    Reading: ``volume_uL``, as commanded: the robot does not measure it.

    A stop comes through between two movements, since PyLabRobot cannot interrupt one: the robot's own stop button can.

    Settings:
        robot: ``package.module:callable`` that returns a ``LiquidHandler`` with its deck laid out; awaited if need be.
        options: its keyword arguments.
        max_volume_uL: limit. discard_tips: True drops tips into the trash, False puts them back.
    """

    name = "liquid handler"

    def __init__(
        self,
        *,
        workdir: Path,
        robot: str,
        options: Mapping[str, Any] | None = None,
        max_volume_uL: float = 1_000.0,
        discard_tips: bool = True,
    ) -> None:
        super().__init__(workdir=workdir)
        if max_volume_uL <= 0:
            raise LabError(f"max_volume_uL must be positive, not {max_volume_uL}")
        self._make, self._options = load_callable(robot), dict(options or {})
        self.max_volume_uL, self.discard_tips = max_volume_uL, discard_tips
        self._robot: Any = None
        self._loop = asyncio.Runner()

    def capabilities(self) -> list[Capability]:
        """``transfer``; not idempotent: twice is twice the volume."""
        volume = Limit(0.1, self.max_volume_uL)
        return [Capability("transfer", {"volume_uL": volume}, {"volume_uL": volume})]

    def act(self, job: Job, given: dict[str, Any], progress: Progress) -> Outcome:
        """Pick a tip up, aspirate, dispense, leave the tip; each movement is noted before it is made."""
        volume_uL, begun = number(given, "volume_uL"), time.monotonic()
        robot = self._connected()
        tip, source, target = (self._spot(robot, given, key) for key in ("tip", "source", "target"))
        movements = [
            ("picked up a tip", lambda: robot.pick_up_tips(tip)),
            ("aspirated", lambda: robot.aspirate(source, vols=[volume_uL])),
            ("dispensed", lambda: robot.dispense(target, vols=[volume_uL])),
            ("left the tip", lambda: robot.discard_tips() if self.discard_tips else robot.return_tips()),
        ]
        for index, (what, move) in enumerate(movements):
            try:
                self.check_stop()
            except Stopped:
                raise Stopped("before it " + what + (": a tip is on the head" if index else "")) from None
            self.notes.put(job.command_id, phase=what)
            self._await(move())
            progress((index + 1) / len(movements), what)
        return Outcome("ok", {"volume_uL": volume_uL}, duration_s=time.monotonic() - begun)

    def look(self, job: Job, note: Mapping[str, Any]) -> Outcome | None:
        """Untouched while no liquid can have moved; later a person must look at the plate."""
        if note["phase"] in ("begun", "picked up a tip"):
            return Outcome("untouched", message="no liquid was moved; a tip may be on the head")
        return None

    def close(self) -> None:
        """Give the robot back."""
        robot, self._robot = self._robot, None
        if robot is not None:
            self._await(robot.stop())
        self._loop.close()
        self._loop = asyncio.Runner()

    def _connected(self) -> Any:
        if self._robot is None:
            robot = self._await(self._make(**self._options))
            self._await(robot.setup())
            self._robot = robot
        return self._robot

    def _spot(self, robot: Any, given: Mapping[str, Any], key: str) -> Any:
        resource, dot, well = str(given.get(key, "")).rpartition(".")
        if not dot:
            raise Refused(f"{key} must be RESOURCE.WELL, not {given.get(key)!r:.50}")
        try:
            return robot.deck.get_resource(resource)[well]
        except Exception as error:  # PyLabRobot raises errors of many kinds for a name that is not there
            raise Refused(f"{key}: no {resource}.{well} on the deck ({type(error).__name__}: {error})") from None

    def _await(self, what: Any) -> Any:
        return self._loop.run(_finish(what)) if inspect.isawaitable(what) else what


async def _finish(what: Any) -> Any:
    return await what
