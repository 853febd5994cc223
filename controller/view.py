"""What the user sees while a campaign runs: a live view on a terminal, log lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from controller.rundir import RunDirectory
from controller.state import State
from controller.view_lines import JsonLines, LogLines
from controller.view_progress import Progress
from controller.view_summary import status_lines

if TYPE_CHECKING:
    from controller.hold import Hold
    from controller.loop import Overhead


class View(Protocol):
    """A display of one controller's hold on a run."""

    def update(self, state: State, lab: Hold | None) -> None:
        """Take in the state after a turn of the loop; quick, and without a change to it."""
        ...

    def note(self, text: str) -> None:
        """Say what the user waits for."""
        ...

    def failed(self, error: BaseException) -> None:
        """Say what is safe and how to go on; the error's text is the caller's to print."""
        ...

    def done(self, state: State, overhead: Overhead, report: Path | None) -> None:
        """Say what was found and where the report is."""
        ...


def open_view(directory: RunDirectory, *, quiet: bool, as_json: bool) -> AbstractContextManager[Any]:
    """Return the display that fits: JSON lines where asked for, the live view on a terminal, else log lines.

    Args:
        directory: the run, begun.
        quiet: log lines even on a terminal.
        as_json: one object a line; the objects are described at ``controller.view_lines.JsonLines``.
    """
    if hasattr(sys.stdout, "reconfigure"):
        # A name that the terminal's encoding lacks must not end a campaign.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if as_json:
        return JsonLines(directory)
    if quiet or not _is_screen():
        return LogLines(directory)
    from controller.view_live import LiveView

    return LiveView(directory)


def _is_screen() -> bool:
    """True where the output is a terminal that can redraw and show the signs the live view is made of."""
    capable = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    return capable and sys.stdout.isatty() and (sys.stdout.encoding or "").lower().startswith("utf")


def print_status(directory: RunDirectory, state: State, summary: dict[str, Any]) -> None:
    """Print the human form of ``athanor status``."""
    progress = Progress()
    progress.take(state)
    for line in status_lines(directory, state, summary, progress):
        print(line)
