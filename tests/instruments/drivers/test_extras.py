"""A driver whose library is missing says which extra to install; every driver imports without any of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from instruments.errors import LabError
from instruments.simulators.__main__ import main
from instruments.simulators.dial import FaultDial

ROOT = Path(__file__).parents[3]
LIBRARIES = "pymodbus serial pyvisa asyncua sila2 ase ophyd_async ophyd pylabrobot numpy"
MAP = {"capabilities": {"x": {"call": "A.B"}}}


@pytest.mark.parametrize(
    ("driver", "settings", "extra"),
    [
        ("modbus_furnace", {"host": "127.0.0.1"}, "modbus"),
        ("scpi_lcr_meter", {"address": "visa://TCPIP0::h::INSTR"}, "visa"),
        ("mt_sics", {"address": "serial:///dev/ttyUSB0"}, "serial"),
        ("opcua", {"url": "opc.tcp://127.0.0.1:1/", **MAP}, "opcua"),
        ("sila", {"host": "127.0.0.1", "port": 1, **MAP}, "sila"),
        ("ase", {}, "ase"),
    ],
)
def test_a_missing_library_names_its_extra(tmp_path, driver, settings, extra):
    code = f"""
import json, sys
from pathlib import Path
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {LIBRARIES.split()}:
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Blocker())
from instruments.errors import LabError
from instruments.registry import BUILT_IN, resolve_driver
for name in BUILT_IN:
    resolve_driver(name)
try:
    resolve_driver({driver!r})(workdir=Path({str(tmp_path)!r}), **json.loads({json.dumps(settings)!r}))
except LabError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"athanor[{extra}]" in done.stdout, done.stderr


def test_every_driver_has_a_page():
    pages = " ".join(path.read_text() for path in (ROOT / "docs" / "instruments").glob("*.md"))
    from instruments.registry import BUILT_IN

    assert [name for name in BUILT_IN if not name.startswith("simulated") and f"`{name}`" not in pages] == []


def test_the_dial_is_seeded():
    def draw(seed):
        dial = FaultDial(seed=seed, noise=1.0, drop=0.3, slow=0.3)
        return [(dial.reading(1.0), dial.fate(True)) for _ in range(20)]

    assert draw(1) == draw(1) != draw(2)
    with pytest.raises(LabError, match="probability"):
        FaultDial(drop=2)


def test_a_wrong_dial_is_refused_at_the_command_line(capsys):
    assert main(["balance", "--port", "0", "--dial", '{"drop": 2}']) == 2
    assert main(["balance", "--port", "0", "--dial", '{"smoke": 1}']) == 2
    assert "smoke" in capsys.readouterr().err
