"""Bluesky devices (ophyd-async or ophyd) as one instrument, so that a laboratory keeps the devices it has."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from instruments.driver import Progress
from instruments.drivers.base import Silent, load_callable, need
from instruments.drivers.mapped import MappedInstrument
from instruments.errors import InstrumentFault, LabError, Refused


class BlueskyDevices(MappedInstrument):
    """Capabilities mapped onto devices; see ``MappedInstrument``.

    Addresses are ``device`` or ``device.child``: ``write`` calls its ``set(value)`` and awaits the status, ``call`` its
    ``trigger()``, ``read`` takes the one value of its ``read()``, or the one after a colon:
    ``detector:detector-counts``. What is written is not read back: a motor's set ends when it has arrived. At a stop
    every device's ``stop()`` is called.

    Settings beside those of ``MappedInstrument``:
        devices: name -> ``package.module:callable`` that makes the device (a class or a function), or
            ``{make: package.module:callable, options: {...}}``.
        timeout_s: for one set or trigger. connect_s: for connecting ophyd-async devices.
        mock: True connects ophyd-async devices to its mock backend.

    ophyd-async devices are awaited on an event loop of this driver; classic ophyd devices need none of it installed.
    """

    name = "Bluesky devices"

    def __init__(
        self,
        *,
        workdir: Path,
        devices: Mapping[str, Any],
        capabilities: Mapping[str, Mapping[str, Any]],
        stop: Mapping[str, Any] | None = None,
        timeout_s: float = 600.0,
        connect_s: float = 10.0,
        mock: bool = False,
    ) -> None:
        super().__init__(workdir=workdir, capabilities=capabilities, stop=stop)
        if not devices:
            raise LabError("devices is empty; name at least one")
        self.timeout_s, self.connect_s, self.mock = timeout_s, connect_s, mock
        self._specs = {name: spec if isinstance(spec, Mapping) else {"make": spec} for name, spec in devices.items()}
        self._devices: dict[str, Any] = {}
        self._asynchronous: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def readable(self, address: str) -> bool:
        """Never: a set has ended when its status says so."""
        return False

    def read_value(self, address: str) -> Any:
        """The one value that ``read()`` gives, or the named one."""
        address, _, key = address.partition(":")
        readings = self._ended(address, self._find(address).read, f"{address}.read()")
        values = {name: reading["value"] for name, reading in readings.items()}
        if key:
            if key not in values:
                raise InstrumentFault(f"{address} reads {', '.join(values)}, not {key}")
            return values[key]
        if len(values) != 1:
            raise InstrumentFault(f"{address} reads {', '.join(values)}: name one, as {address}:NAME")
        return next(iter(values.values()))

    def write_value(self, address: str, value: Any) -> None:
        """``set(value)``, until its status is done."""
        found = self._find(address)
        try:
            self._ended(address, lambda: found.set(value), f"{address}.set({value!r})")
        except (ValueError, TypeError) as error:  # ophyd's LimitError is a ValueError
            raise Refused(f"{address} does not take {value!r}: {error}") from None

    def invoke(self, address: str, arguments: Any, progress: Progress) -> Any:
        """``trigger()``, until its status is done."""
        self._ended(address, self._find(address).trigger, f"{address}.trigger()")
        return ()

    def safe(self) -> None:
        """Every device's ``stop()``, then what the settings say. Does not wait for a running set."""
        errors = []
        for name, device in self._devices.items():
            if callable(stop := getattr(device, "stop", None)):
                try:
                    self._ended(name, stop, f"{name}.stop()")
                except Exception as error:  # the others must be stopped all the same
                    errors.append(f"{name}.stop(): {type(error).__name__}: {error}")
        if errors:
            raise InstrumentFault("; ".join(errors))
        if self.stop_map:
            super().safe()

    def close(self) -> None:
        """End the event loop; the devices are made anew at the next use."""
        loop, self._loop = self._loop, None
        self._devices = {}
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def _write(self, address: str, value: Any) -> None:
        # Without the lock of the base: a set lasts as long as the motor moves, and a stop must not wait for it.
        self.check_stop()
        self.write_value(address, value)
        self.check_stop()

    def _find(self, address: str) -> Any:
        name, *children = address.split(".")
        if name not in self._specs:
            raise Refused(f"no device {name!r}; there are: {', '.join(self._specs)}")
        if name not in self._devices:
            spec = self._specs[name]
            make, options = load_callable(spec["make"]), dict(spec.get("options", {}))
            device = self._on_loop(_call(lambda: make(**options)), f"making {name}")
            if inspect.iscoroutinefunction(getattr(device, "connect", None)):
                need("ophyd_async.core", "bluesky")
                self._on_loop(device.connect(mock=self.mock, timeout=self.connect_s), f"connecting {name}")
                self._asynchronous.add(name)
            self._devices[name] = device
        found = self._devices[name]
        for child in children:
            found = getattr(found, child, None)
            if found is None:
                raise Refused(f"the device has no {address}")
        return found

    def _ended(self, address: str, call: Callable[[], Any], what: str) -> Any:
        """Call on the loop where the device is asynchronous, and wait for the status or the value that comes."""
        if address.partition(".")[0] in self._asynchronous:
            return self._on_loop(_call(call), what)
        status = call()
        if not callable(wait := getattr(status, "wait", None)):
            return status
        try:
            return wait(timeout=self.timeout_s)
        except Exception as error:
            raise InstrumentFault(f"{what}: {type(error).__name__}: {error}") from None

    def _on_loop(self, coroutine: Coroutine[Any, Any, Any], what: str) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(self._loop,), name="bluesky-loop", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(self.timeout_s)
        except TimeoutError:
            future.cancel()
            raise Silent(f"{what} has not ended in {self.timeout_s:g} s") from None
        except (ValueError, TypeError):
            raise
        except Exception as error:
            raise InstrumentFault(f"{what}: {type(error).__name__}: {error}") from None


async def _call(call: Callable[[], Any]) -> Any:
    # On the loop from the first line on: ophyd-async starts its tasks where it is called.
    status = call()
    return await status if inspect.isawaitable(status) else status


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
