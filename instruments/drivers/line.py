"""Lines of text to and from an instrument: TCP, serial or VISA behind one small face."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Any, Protocol

from instruments.drivers.base import Silent, need
from instruments.errors import InstrumentFault, LabError

MAX_LINE_BYTES = 1 << 20
QUIET_S = 0.05


class Line:
    """One conversation: a question, its answer. Opens when first used and again after every silence.

    An answer that comes after its time-out would be taken for the answer to the next question, and every one after it
    for the one before: so a silence closes the line, and what waits unread when a question is asked closes it too.

    Args:
        address: ``tcp://host:port``, ``serial:///dev/ttyUSB0?baud=9600`` or ``visa://RESOURCE`` (PyVISA's name).
        end: what ends a line that is sent; an answer ends with LF, a CR before it is dropped.
        timeout_s: for one answer.
        visa_backend: ``@py`` for PyVISA-py, ``""`` for the vendor's library, ``FILE@sim`` for PyVISA-sim.

    Raises:
        LabError: the address is malformed or its library is not installed.
    """

    def __init__(self, address: str, *, end: str = "\n", timeout_s: float = 2.0, visa_backend: str = "@py"):
        self.address, self._end, self._timeout_s = address, end, timeout_s
        kind, found, rest = address.partition("://")
        self._lock = threading.RLock()
        self._port: _Port | None = None
        if not found or not rest or kind not in ("tcp", "serial", "visa"):
            raise LabError(
                f"address {address!r}: write tcp://host:port, serial:///dev/ttyUSB0?baud=9600 or visa://NAME"
            )
        if kind == "tcp":
            host, _, port = rest.rpartition(":")
            if not host or not port.isdigit():
                raise LabError(f"address {address!r}: write tcp://host:port")
            self._open = lambda: _Tcp(host, int(port), timeout_s)
        elif kind == "serial":
            path, _, options = rest.partition("?")
            baud = options.removeprefix("baud=") or "9600"
            if not baud.isdigit():
                raise LabError(f"address {address!r}: write serial:///dev/ttyUSB0?baud=9600")
            library = need("serial", "serial")
            self._open = lambda: _Serial(library, path, int(baud))
        else:
            library = need("pyvisa", "visa")
            self._open = lambda: _Visa(library, rest, visa_backend)

    def ask(self, text: str) -> str:
        """Send a line and return the answer. Raises Silent where none comes, InstrumentFault where nobody is there."""
        with self._lock:
            self.tell(text)
            return self.hear()

    def tell(self, text: str) -> None:
        """Send a line that has no answer."""
        with self._lock:
            if self._port is not None and self._port.waiting():
                self.close()  # a late answer
            try:
                if self._port is None:
                    self._port = self._open()
                self._port.write((text + self._end).encode("ascii", "replace"))
            except (OSError, ValueError) as error:
                self.close()
                raise InstrumentFault(f"{self.address}: nobody is there ({error}); look at power and cable") from None

    def hear(self, timeout_s: float | None = None) -> str:
        """Return the next line."""
        with self._lock:
            if self._port is None:
                raise Silent(f"{self.address}: the line is closed")
            patience = self._timeout_s if timeout_s is None else timeout_s
            try:
                line = self._port.read_line(time.monotonic() + patience)
            except (OSError, ValueError) as error:
                self.close()
                raise Silent(f"{self.address}: the line broke before an answer came ({error})") from None
            if line is None:
                self.close()
                raise Silent(f"{self.address}: no answer in {patience:g} s")
            return line.decode("ascii", "replace").strip("\r\n")

    def close(self) -> None:
        """Close; the next question opens a new line."""
        with self._lock:
            port, self._port = self._port, None
            if port is not None:
                with contextlib.suppress(OSError):
                    port.close()


class _Port(Protocol):
    def write(self, data: bytes) -> None: ...
    def read_line(self, deadline: float) -> bytes | None: ...
    def waiting(self) -> bool: ...
    def close(self) -> None: ...


class _Tcp:
    def __init__(self, host: str, port: int, timeout_s: float):
        self._socket = socket.create_connection((host, port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read_line(self, deadline: float) -> bytes | None:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return None
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("closed by the instrument")
            self._buffer += chunk
            if len(self._buffer) > MAX_LINE_BYTES:
                raise ValueError(f"a line longer than {MAX_LINE_BYTES} bytes")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def waiting(self) -> bool:
        # Readable also where the other end has closed: a new connection is due in both cases.
        return bool(self._buffer) or bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        self._socket.close()


class _Serial:
    def __init__(self, library: Any, path: str, baud: int):
        self._serial = library.Serial(path, baud, timeout=QUIET_S, write_timeout=2.0, exclusive=True)
        while self._serial.read(4096):  # reopening alone does not drop what comes late on a wire
            pass
        self._buffer = b""

    def write(self, data: bytes) -> None:
        self._serial.write(data)

    def read_line(self, deadline: float) -> bytes | None:
        while b"\n" not in self._buffer:
            if time.monotonic() > deadline or len(self._buffer) > MAX_LINE_BYTES:
                return None
            self._buffer += self._serial.read(max(1, self._serial.in_waiting))
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def waiting(self) -> bool:
        return bool(self._buffer) or self._serial.in_waiting > 0

    def close(self) -> None:
        self._serial.close()


class _Visa:
    def __init__(self, library: Any, name: str, backend: str):
        self._errors = library.errors
        try:
            self._manager = library.ResourceManager(backend)
            self._resource = self._manager.open_resource(name, read_termination="\n")
        except (self._errors.Error, ValueError) as error:
            raise OSError(str(error)) from None

    def write(self, data: bytes) -> None:
        try:
            self._resource.write_raw(data)
        except self._errors.Error as error:
            raise OSError(str(error)) from None

    def read_line(self, deadline: float) -> bytes | None:
        self._resource.timeout = max(1, round(1000 * (deadline - time.monotonic())))
        try:
            return self._resource.read_raw(65536).rstrip(b"\n")
        except self._errors.VisaIOError as error:
            if error.error_code == -1073807339:  # VI_ERROR_TMO
                return None
            raise OSError(str(error)) from None

    def waiting(self) -> bool:
        return False  # VISA has no portable way to tell

    def close(self) -> None:
        try:
            self._resource.close()
            self._manager.close()
        except self._errors.Error as error:
            raise OSError(str(error)) from None
