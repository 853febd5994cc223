"""A furnace behind an OPC UA server, by asyncua."""

from __future__ import annotations

import threading
import time
from typing import Any

from instruments.drivers.base import need
from instruments.simulators.dial import FaultDial

DROPPED_S = 5.0
"""So long does a dropped call hold its thread; a client must have given up by then."""


class OpcUaFurnace:
    """Nodes ``SP``, ``PV``, ``Busy``, ``Tag`` and method ``StartRamp`` under the object ``Furnace`` of namespace 2.

    Faults: noise, drift, nan and stuck act on ``PV``; slow, drop and the crashes on ``StartRamp``. A crash cuts every
    connection; what connects again finds the furnace as it was.
    """

    def __init__(self, dial: FaultDial | None = None, *, port: int, highest_C: float = 1_600.0, ramp_s: float = 0.1):
        sync, ua = need("asyncua.sync", "opcua"), need("asyncua.ua", "opcua")
        self.dial, self.highest_C, self.ramp_s, self.ramps = dial or FaultDial(), highest_C, ramp_s, 0
        self.url = f"opc.tcp://127.0.0.1:{port}/lab/"
        self._busy_until = 0.0
        self._closing = threading.Event()
        self._server = sync.Server()
        self._server.set_endpoint(self.url)
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        space = self._server.register_namespace("urn:lab:furnace")
        furnace = self._server.nodes.objects.add_object(ua.NodeId("Furnace", space), "Furnace")
        self._nodes = {
            name: furnace.add_variable(ua.NodeId(name, space), name, first)
            for name, first in (("SP", 20.0), ("PV", 20.0), ("Busy", False), ("Tag", ""))
        }
        for name in ("SP", "Tag"):
            self._nodes[name].set_writable()
        furnace.add_method(
            ua.NodeId("StartRamp", space), "StartRamp", self._start, [ua.VariantType.Double], [ua.VariantType.Boolean]
        )
        furnace.add_method(ua.NodeId("Abort", space), "Abort", self._abort, [], [])
        self._ua = ua
        self._server.start()

    def update(self) -> None:
        """Let the furnace follow; call it from time to time."""
        busy = time.monotonic() < self._busy_until
        self._nodes["Busy"].write_value(busy)
        if not busy:
            self._nodes["PV"].write_value(float(self.dial.reading(self._nodes["SP"].read_value(), "pv")))

    def close(self) -> None:
        """End the server."""
        self._closing.set()
        self._server.stop()

    def value(self, name: str) -> Any:
        """Value of a node, seen from inside."""
        return self._nodes[name].read_value()

    def _start(self, parent: Any, target: Any) -> list[Any]:
        allowed, fate = target.Value <= self.highest_C, self.dial.fate(True)
        if allowed and fate != "crash_before":
            self.ramps += 1
            self._busy_until = time.monotonic() + self.ramp_s
        if fate == "slow":
            time.sleep(self.dial.slow_s)
        elif fate == "drop":
            self._closing.wait(DROPPED_S)
        elif fate:
            self._cut()
        return [self._ua.Variant(allowed, self._ua.VariantType.Boolean)]

    def _cut(self) -> None:
        """Cut every connection; called from a thread of the server's pool."""
        for transport in list(self._server.aio_obj.iserver.asyncio_transports):
            self._server.tloop.loop.call_soon_threadsafe(transport.abort)
        self._closing.wait(0.2)  # the answer has nowhere to go

    def _abort(self, parent: Any) -> list[Any]:
        self._busy_until = 0.0
        return []
