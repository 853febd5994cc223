"""The floors of the house, shown by importing them where what they must not need is missing."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCKER = """
import importlib, importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (left out on purpose)", name=name)
sys.meta_path.insert(0, Missing())
for module in {modules!r}:
    importlib.import_module(module)
print("imported", len({modules!r}))
"""


def modules_of(package: str) -> list[str]:
    return [package, *(m.name for m in pkgutil.walk_packages([str(ROOT / package)], f"{package}."))]


@pytest.mark.parametrize(
    ("package", "missing"),
    [
        ("instruments", {"torch", "ray", "pymatgen", "numpy", "scipy", "chgnet", "botorch", "models", "actors"}),
        ("models", {"ray", "zmq", "sqlite3", "fastapi", "instruments", "actors", "controller"}),
        ("actors", {"controller"}),
    ],
)
def test_a_floor_imports_without_what_it_must_not_need(package, missing):
    program = BLOCKER.format(missing=missing, modules=modules_of(package))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("imported")


def test_the_base_install_asks_for_neither_torch_nor_ray():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name.split(">")[0] for name in project["dependencies"]} == {"pydantic", "pyzmq"}


def test_no_file_holds_a_local_version_or_the_host_of_a_registry():
    text = (ROOT / "constraints.txt").read_text() + (ROOT / "pyproject.toml").read_text()
    assert "+cpu" not in text
    assert "http" not in (ROOT / "constraints.txt").read_text()
    assert "nvidia-cublas" not in text, "the lock was made against the wrong torch"
