import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from instruments import registry
from instruments.drivers.table import TableDriver
from instruments.errors import LabError
from instruments.registry import BUILT_IN, resolve_driver


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_name_gives_a_class_with_the_verbs_of_a_driver(name):
    driver = resolve_driver(name)
    assert all(callable(getattr(driver, verb)) for verb in ("capabilities", "run", "stop", "health", "inspect"))


def test_an_explicit_path_gives_the_class():
    assert resolve_driver("instruments.drivers.table:TableDriver") is TableDriver


def test_an_entry_point_gives_a_plug_in(monkeypatch):
    entry = importlib.metadata.EntryPoint("mine", "instruments.drivers.table:TableDriver", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    assert resolve_driver("mine") is TableDriver


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tabel", "choose one of: .*function, .*simulated.arc_furnace"),
        ("nowhere.at_all:X", "cannot be loaded"),
        ("instruments.registry:Nothing", "Nothing"),
        ("instruments.registry:GROUP", "not a class"),
    ],
)
def test_a_wrong_name_says_what_there_is(name, says):
    with pytest.raises(LabError, match=says):
        resolve_driver(name)


def test_the_simulated_instruments_announce_themselves_without_the_science_installed(tmp_path):
    code = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"numpy", "scipy", "torch", "chgnet", "pymatgen", "pandas", "models"}}:
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Blocker())
from instruments.registry import BUILT_IN, resolve_driver
for name in BUILT_IN:
    if name.startswith("simulated"):
        driver = resolve_driver(name)(workdir={str(tmp_path)!r}, world={str(tmp_path)!r})
        print(driver.capabilities()[0].name, driver.health()["state"])
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    verbs = ["arc_melt", "sinter", "diffract", "weigh_mix", "fire", "identify", "magnetometry"]
    assert done.stdout.split() == [word for verb in verbs for word in (verb, "idle")], done.stderr
