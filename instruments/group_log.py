"""The log of a host process: what its ledgers must not forget reaches the disk by appending, and together.

A start or a report is durable once it is appended here, which takes half as long as a commit to a database. Where
instruments share a process, whoever comes while the disk is busy is in the next fsync with all others who wait. The
ledgers' databases take it in a little later, and a ledger that is opened takes in what the logs have of its instrument
(`Ledger`), so that neither a kill nor a power cut costs anything.

A record is a head of 12 bytes (length and CRC-32 of what follows, each 4 bytes; 4 of the magic word), a JSON object in
one line, and raw frames. What follows a torn record was never promised to anybody.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instruments.process import ProcessLock

log = logging.getLogger("athanor.host")

SUFFIX = ".redo"
MAX_BYTES = 4 << 20
"""A file that is longer is not continued; it is deleted when every ledger has its content on disk."""
_HEAD = struct.Struct("<4sII")
_MAGIC = b"ath1"


@dataclass(frozen=True)
class Record:
    """What is to be remembered together.

    Attributes:
        head: with the name of the ``instrument``.
        frames: raw bytes.
        settle: to be called once the record is on disk.
    """

    head: dict[str, Any]
    frames: Sequence[bytes] = ()
    settle: Callable[[], None] = lambda: None

    def packed(self) -> bytes:
        """As it stands in a file."""
        head = json.dumps(self.head | {"frames": [len(x) for x in self.frames]}).encode()
        body = b"\n".join([head, b"".join(self.frames)])
        return _HEAD.pack(_MAGIC, len(body), zlib.crc32(body)) + body


@dataclass
class _Request:
    data: bytes
    done: bool = False
    error: OSError | None = field(default=None)


class GroupLog:
    """The log that the ledgers of this process write to. Safe to use from any thread.

    Args:
        path: without number and suffix: the files are ``PATH.1.redo``, ``PATH.2.redo``, ...
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._guard, self._queue = path, threading.Lock(), list[_Request]()
        self._lock = ProcessLock(path.with_name(path.name + ".redo.lock"))
        self._lock.acquire(timeout_s=2.0)
        old = path.parent.glob(f"{path.name}.*{SUFFIX}")
        self._old = sorted((p for p in old if p.name == f"{path.name}.{_number(p)}{SUFFIX}"), key=_number)
        self._number, self._members = max(map(_number, self._old), default=0) + 1, dict[str, Callable[[], None]]()
        self._file, self._size = self._open(), 0

    def _open(self) -> int:
        self.file = self._path.with_name(f"{self._path.name}.{self._number}{SUFFIX}")
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        folder = os.open(self.file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return descriptor

    def join(self, instrument: str, settle: Callable[[], None]) -> None:
        """Make a ledger a member, which has taken in what the logs say; ``settle`` brings to disk what it commits."""
        self._members[instrument] = settle

    def append(self, *records: Record) -> None:
        """Return when the records are on disk. Raises OSError; then none of them is, and never will be."""
        mine = _Request(b"".join(record.packed() for record in records))
        self._queue.append(mine)
        with self._guard:
            if not mine.done:  # else it was in the fsync of somebody who came earlier
                self._write()
        if mine.error is not None:
            raise mine.error
        for record in records:
            record.settle()

    def _write(self) -> None:
        waiting = list(self._queue)
        del self._queue[: len(waiting)]
        data = b"".join(request.data for request in waiting)
        error: OSError | None = None
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file, data[done:], self._size + done)
            os.fdatasync(self._file)
            self._size += len(data)
        except OSError as trouble:
            error = trouble
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
        for request in waiting:
            request.error, request.done = error, True

    def tidy(self) -> None:
        """Begin a new file where the present one is long, and delete those that are no longer needed.

        Raises OSError, sqlite3.Error: nothing is deleted then.
        """
        if self._size < MAX_BYTES and not self._old:
            return
        with self._guard:
            self._old.append(self.file)
            old, self._number = self._file, self._number + 1
            self._file, self._size = self._open(), 0
            os.close(old)
        for settle in self._members.values():  # what the old files say is committed before this returns
            settle()
        while self._old:
            path = self._old.pop(0)
            if all(head["instrument"] in self._members for head, _ in _read(path)):
                path.unlink(missing_ok=True)
            else:  # an instrument that has moved to another process may not have read it yet
                log.warning("%s is kept: it speaks of instruments that are not in this process now", path)

    def close(self) -> None:
        """Give it up; what is not needed any more is deleted with the next start."""
        os.close(self._file)
        self._lock.release()


def records(folder: Path) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Yield head and frames of every whole record in a folder's logs, file by file, oldest first."""
    for path in sorted(folder.glob(f"*{SUFFIX}"), key=_number):
        yield from _read(path)


def _read(path: Path) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    try:
        data, place = path.read_bytes(), 0
    except FileNotFoundError:  # the ledgers have its content by now
        return
    while place + _HEAD.size <= len(data):
        magic, length, checksum = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        body, place = data[place : place + length], place + length
        if magic != _MAGIC or len(body) != length or zlib.crc32(body) != checksum:
            return
        line, _, rest = body.partition(b"\n")
        head, frames = json.loads(line), []
        for size in head["frames"]:
            frames.append(rest[:size])
            rest = rest[size:]
        yield head, frames


def _number(path: Path) -> int:
    return int(path.name.removesuffix(SUFFIX).rpartition(".")[2])
