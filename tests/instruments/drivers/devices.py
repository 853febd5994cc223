"""Devices for the tests of the adapters: classic ophyd and PyLabRobot by their documented shape, and the real ones."""

from __future__ import annotations

import threading
from typing import Any


class Status:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: Exception | None = None

    def wait(self, timeout: float | None = None) -> None:
        if not self.done.wait(timeout):
            raise TimeoutError("the motor has not arrived")
        if self.error:
            raise self.error


class Motor:
    """A classic ophyd positioner."""

    def __init__(self, high: float = 10.0, stuck: bool = False) -> None:
        self.position, self.high, self.stuck, self.sets = 0.0, high, stuck, 0
        self.status = Status()

    def set(self, value: float) -> Status:
        if value > self.high:
            raise ValueError(f"{value} is above the limit {self.high}")
        self.status = Status()
        self.sets += 1
        if not self.stuck:
            self.position = value
            self.status.done.set()
        return self.status

    def read(self) -> dict[str, Any]:
        return {"motor": {"value": self.position, "timestamp": 0.0}}

    def trigger(self) -> Status:
        return self.set(self.position)

    def stop(self, *, success: bool = False) -> None:
        self.status.error = RuntimeError("stopped")
        self.status.done.set()


def soft_signal(value: float = 1.5) -> Any:
    """A real ophyd-async signal without hardware."""
    from ophyd_async.core import soft_signal_rw

    return soft_signal_rw(float, initial_value=value, name="signal")


class Wells(dict):
    def __init__(self, name: str) -> None:
        super().__init__({f"{row}{column}": [f"{name}.{row}{column}"] for row in "AB" for column in (1, 2)})


class Deck:
    def __init__(self) -> None:
        self.resources = {name: Wells(name) for name in ("plate", "tips")}

    def get_resource(self, name: str) -> Wells:
        return self.resources[name]


class Robot:
    """A LiquidHandler by its documented methods."""

    def __init__(self, jam: str = "") -> None:
        self.deck, self.moves, self.jam = Deck(), [], jam

    async def setup(self) -> None:
        self.moves.append("setup")

    async def stop(self) -> None:
        self.moves.append("stop")

    def _move(self, what: str) -> None:
        if what == self.jam:
            raise RuntimeError("the arm is blocked")
        self.moves.append(what)

    async def pick_up_tips(self, tip: list[str]) -> None:
        self._move(f"tip {tip[0]}")

    async def aspirate(self, wells: list[str], vols: list[float]) -> None:
        self._move(f"aspirate {vols[0]:g} {wells[0]}")

    async def dispense(self, wells: list[str], vols: list[float]) -> None:
        self._move(f"dispense {vols[0]:g} {wells[0]}")

    async def discard_tips(self) -> None:
        self._move("discard")

    async def return_tips(self) -> None:
        self._move("return")


async def chatterbox() -> Any:
    """A real PyLabRobot handler whose backend prints instead of moving."""
    from pylabrobot.liquid_handling import LiquidHandler
    from pylabrobot.liquid_handling.backends import LiquidHandlerChatterboxBackend
    from pylabrobot.resources import cor_96_wellplate_360uL_Fb, hamilton_96_tiprack_1000uL_filter
    from pylabrobot.resources.hamilton import STARLetDeck

    deck = STARLetDeck()
    tips, plate = hamilton_96_tiprack_1000uL_filter(name="tips"), cor_96_wellplate_360uL_Fb(name="plate")
    deck.assign_child_resource(tips, rails=3)
    deck.assign_child_resource(plate, rails=15)
    return LiquidHandler(backend=LiquidHandlerChatterboxBackend(), deck=deck)
