"""Puts a simulated device on a TCP port of loopback or on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from typing import Protocol

from instruments.simulators.dial import FaultDial


class Device(Protocol):
    """A device that speaks a wire protocol: bytes in, bytes out. Called by one thread at a time."""

    def split(self, buffer: bytes) -> tuple[bytes | None, bytes]:
        """Cut one whole request off the front of what came; ``None`` while it is not whole."""
        ...

    def acts(self, request: bytes) -> bool:
        """True where the request changes something."""
        ...

    def respond(self, request: bytes) -> bytes | None:
        """Carry the request out and return the answer, ``None`` where the protocol gives none."""
        ...


class _Served:
    """One device, its dial, and whether it is alive."""

    def __init__(self, device: Device, dial: FaultDial | None):
        self.device, self.dial = device, dial or FaultDial()
        self.alive = True
        self._one = threading.Lock()

    def answer(self, request: bytes) -> bytes | None:
        """What to send back, or None; ``alive`` is False afterwards where the device died of it."""
        fate = self.dial.fate(self.device.acts(request))
        if fate == "crash_before":
            self.alive = False
            return None
        with self._one:
            answer = self.device.respond(request)
        if fate == "crash_after":
            self.alive = False
        if fate == "slow":
            time.sleep(self.dial.slow_s)
        return answer if fate in ("", "slow") else None


class TcpServer(_Served):
    """Serves the device on ``host:port`` (0: any free port). A crash cuts every connection until ``power_on``."""

    def __init__(self, device: Device, dial: FaultDial | None = None, *, host: str = "127.0.0.1", port: int = 0):
        super().__init__(device, dial)
        self._listener = socket.create_server((host, port))
        self.host, self.port = self._listener.getsockname()[:2]
        self._open: set[socket.socket] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name="simulator", daemon=True)
        self._thread.start()

    def __enter__(self) -> TcpServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def power_on(self) -> None:
        """Live again after a crash, with the matter as it was."""
        self.alive = True

    def cut(self) -> None:
        """Cut every connection; the device lives on."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the server."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="simulator-link", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError), connection:
            while self.alive and not self._closing and (chunk := connection.recv(4096)):
                buffer += chunk
                while True:
                    request, buffer = self.device.split(buffer)
                    if request is None:
                        break
                    answer = self.answer(request)
                    if not self.alive:
                        self.cut()
                        break
                    if answer is not None:
                        connection.sendall(answer)
        self._open.discard(connection)


class PtyServer(_Served):
    """Serves the device on a pseudo-terminal; ``path`` is what a serial driver opens. A pty has no baud rate."""

    def __init__(self, device: Device, dial: FaultDial | None = None):
        import pty
        import tty

        super().__init__(device, dial)
        self._near, self._far = pty.openpty()
        tty.setraw(self._near)
        tty.setraw(self._far)
        self.path = os.ttyname(self._far)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="simulator", daemon=True)
        self._thread.start()

    def __enter__(self) -> PtyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def power_on(self) -> None:
        """Live again after a crash."""
        self.alive = True

    def close(self) -> None:
        """End the server."""
        self._closing = True
        self._thread.join(5)
        os.close(self._near)
        os.close(self._far)

    def _serve(self) -> None:
        buffer = b""
        while not self._closing:
            if not select.select([self._near], [], [], 0.05)[0]:
                continue
            buffer += os.read(self._near, 4096)
            while True:
                request, buffer = self.device.split(buffer)
                if request is None:
                    break
                if self.alive and (answer := self.answer(request)) is not None and self.alive:
                    os.write(self._near, answer)


def split_line(buffer: bytes) -> tuple[bytes | None, bytes]:
    """Cut one line off, whatever it ends with (LF or CR LF)."""
    line, found, rest = buffer.partition(b"\n")
    return (line.rstrip(b"\r"), rest) if found else (None, buffer)
