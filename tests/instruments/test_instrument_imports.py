"""The instrument floor runs on a small computer beside a furnace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        missing = "numpy torch ray pymatgen chgnet pandas scipy sklearn botorch models actors controller".split()
        if name.split(".")[0] in missing:
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocker())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCKER + code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_instrument_module_imports_without_the_science():
    code = """
import importlib, pathlib
for path in sorted(pathlib.Path("instruments").rglob("*.py")):
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    importlib.import_module(name)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_the_blocker_of_this_test_blocks():
    assert "not installed here" in run("import numpy").stderr


def test_lists_become_arrays_on_the_wire_without_numpy():
    code = """
from instruments.arrays import from_array
from instruments.messages import Outbox, Report, decode
header, frame = from_array("pattern", [[1.0, 2.0], [3.0, 4.0]])
report = Report(command_id="c", status="ok", arrays=(header,)).with_frames([frame])
assert decode(Outbox("s").wrap(report)).body.frames == (frame,)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
