"""Finds a driver class by name: built in, from a plug-in's entry point, or ``module:Class``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from instruments.errors import LabError

BUILT_IN = {
    "simulated.arc_furnace": "instruments.simulated.arc_furnace:ArcFurnace",
    "simulated.box_furnace": "instruments.simulated.box_furnace:BoxFurnace",
    "simulated.diffractometer": "instruments.simulated.diffractometer:Diffractometer",
    "simulated.powder_station": "instruments.simulated.solid_state:PowderStation",
    "simulated.reaction_furnace": "instruments.simulated.solid_state:ReactionFurnace",
    "simulated.phase_diffractometer": "instruments.simulated.phase_diffractometer:PhaseDiffractometer",
    "simulated.magnetometer": "instruments.simulated.magnetometer:Magnetometer",
    "ase": "instruments.drivers.ase_calculator:AseCalculator",
    "bluesky": "instruments.drivers.bluesky:BlueskyDevices",
    "human": "instruments.drivers.human:Human",
    "modbus_furnace": "instruments.drivers.modbus_furnace:ModbusFurnace",
    "mt_sics": "instruments.drivers.mt_sics:MtSicsBalance",
    "opcua": "instruments.drivers.opcua:OpcUaInstrument",
    "pylabrobot": "instruments.drivers.pylabrobot:PyLabRobotHandler",
    "scpi_lcr_meter": "instruments.drivers.scpi:ScpiLcrMeter",
    "scpi_source_meter": "instruments.drivers.scpi:ScpiSourceMeter",
    "sila": "instruments.drivers.sila:SilaInstrument",
    "table": "instruments.drivers.table:TableDriver",
    "function": "instruments.drivers.function:FunctionDriver",
}
"""Name -> ``module:Class`` of every driver that ships."""

GROUP = "athanor.drivers"
"""Entry point group of plug-in drivers."""


def plugins() -> dict[str, str]:
    """Name -> ``module:Class`` of every plug-in driver that is installed."""
    return {entry.name: entry.value for entry in entry_points(group=GROUP)}


def resolve_driver(name: str) -> type[Any]:
    """Return the driver class called ``name``; call it as ``cls(workdir=Path, **settings)``.

    Args:
        name: a built-in name, the name of an entry point in the group ``athanor.drivers``, or ``package.module:Class``.

    Raises:
        LabError: no such driver, or its module cannot be imported; the message lists the names there are.
    """
    if name in BUILT_IN:
        return _load(name, BUILT_IN[name])
    there = plugins()
    if name in there:
        return _load(name, there[name])
    if ":" in name:
        return _load(name, name)
    known = ", ".join(sorted(BUILT_IN | there))
    raise LabError(f"unknown driver {name!r}; choose one of: {known}; or write 'package.module:Class'")


def _load(name: str, target: str) -> type[Any]:
    module, _, attribute = target.partition(":")
    try:
        found = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise LabError(
            f"driver {name!r} cannot be loaded from {target!r}: {error}; install its package or correct the name"
        ) from error
    if not isinstance(found, type):
        raise LabError(f"driver {name!r}: {target!r} is not a class; name the class after the colon")
    return found
