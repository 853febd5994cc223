"""`athanor` as the tests call it: as a process, or in this process where another one would show nothing more."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

from controller.cli import main

ROOT = Path(__file__).resolve().parents[1]


def athanor(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """As a user has it: a process, with one thread for its arithmetic."""
    return subprocess.run(
        [sys.executable, "-m", "controller.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )


def athanor_here(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same command without a process for it: what it loads is loaded once for all tests.

    Not for `run` and `resume`, which set up this process's logging and signals.
    """
    words = [*map(str, arguments)]
    with (
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        try:
            code = main(words)
        except SystemExit as ended:  # what argparse refuses
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
