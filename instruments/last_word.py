"""What a host last knew, left beside its ledger for people: progress of the running command, the driver's facts.

Evidence, not memory: nothing is decided by it, so it need not survive a power cut; it survives the process.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from instruments.files import write_whole

FILE = "last_word.json"
KEPT = 16
"""The progress of so many commands is kept."""


class LastWord:
    """Writes ``last_word.json`` in a host's folder, whole or not at all; a full disk is no reason to fail."""

    def __init__(self, workdir: Path):
        self._path = workdir / FILE
        self._said = read_last_word(workdir)

    def progress(self, command_id: str, fraction: float, message: str) -> None:
        """Note how far a command is."""
        known = dict(self._said.get("progress") or {})
        known.pop(command_id, None)
        known[command_id] = {"fraction": fraction, "message": message, "at_s": time.time()}
        self._write(progress=dict(list(known.items())[-KEPT:]))

    def facts(self, facts: dict[str, Any]) -> None:
        """Note the driver's facts."""
        self._write(facts={"values": facts, "at_s": time.time()})

    def _write(self, **said: Any) -> None:
        self._said |= said
        with contextlib.suppress(OSError, ValueError):
            write_whole(self._path, json.dumps(self._said), durable=False)


def read_last_word(workdir: Path) -> dict[str, Any]:
    """What a host left: ``progress`` (command id -> fraction, message, at_s) and ``facts`` (values, at_s), if any."""
    try:
        said = json.loads((workdir / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
