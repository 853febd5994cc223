"""A file that one process holds at a time and that says who: the run's lock, the lab's lease."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from pathlib import Path
from typing import IO, Any

Holder = dict[str, Any]
"""Who holds a file: ``pid``, ``host``, ``since``, and what else the holder wrote down."""


class HeldFile:
    """An exclusive hold on a file; the kernel gives it up with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def take(self) -> bool:
        """Take it; False where another process holds it. Raises OSError where the file cannot be made.

        With a little patience: whoever asks for the holder holds it for a moment too.
        """
        file = self.path.open("a+")
        for _ in range(10):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.05)
            else:
                self._file = file
                return True
        file.close()
        return False

    def write(self, facts: Holder, *, keep: bool = False) -> None:
        """Write a line that says who holds it: instead of what stood there, or with ``keep`` durably below it."""
        if self._file is None:
            raise RuntimeError(f"{self.path} is not held")
        if not keep:
            self._file.seek(0)
            self._file.truncate()
        self._file.write(json.dumps(facts) + "\n")
        self._file.flush()
        if keep:
            os.fsync(self._file.fileno())

    def release(self) -> None:
        """Let go."""
        if self._file is not None:
            self._file.close()
            self._file = None


def me() -> Holder:
    """Who we are, for a lock file."""
    return {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def holder_of(path: Path) -> Holder | None:
    """Who holds a file now, or ``None``; an empty dict where somebody does and has not written who."""
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                written = lines_of(path)
                return written[-1] if written else {}
    except OSError:
        return None
    return None


def lines_of(path: Path) -> list[Holder]:
    """Every line of a file of JSON objects; one that a crash has torn is left out."""
    found: list[Holder] = []
    try:
        text = path.read_text()
    except OSError:
        return []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def in_words(holder: Holder) -> str:
    """A holder for people."""
    words = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
    if "campaign" in holder:
        words += f", campaign {holder['campaign']}, run {holder.get('run', '?')}, epoch {holder.get('epoch', '?')}"
    return words
