import sys

import pytest

from models.errors import UnknownNameError
from models.registry import BUILT_IN, names, resolve


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, known in BUILT_IN.items() for n in known])
def test_every_built_in_name_gives_its_class(group, name):
    found = resolve(group, name)
    assert isinstance(found, type)
    assert f"{found.__module__}:{found.__name__}" == BUILT_IN[group][name]


def test_an_explicit_class_is_found():
    assert resolve("planners", "models.synthesis.direct:DirectPlanner").__name__ == "DirectPlanner"


def test_an_entry_point_is_found(monkeypatch):
    from importlib.metadata import EntryPoint

    import models.registry

    mine = EntryPoint("mine", "models.synthesis.direct:DirectPlanner", "athanor.planners")
    monkeypatch.setattr(models.registry, "entry_points", lambda group: [mine] if group == mine.group else [])
    assert resolve("planners", "mine").__name__ == "DirectPlanner"
    assert names("planners") == [*models.registry.BUILT_IN["planners"], "mine"]


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="arc_melting, direct"):
        resolve("planners", "sol_gel")
    with pytest.raises(UnknownNameError, match="planners"):
        resolve("planner", "direct")


@pytest.mark.parametrize("path", ["no_such_package:Thing", "models.synthesis.direct:Missing", "models.roles:np", ":X"])
def test_what_cannot_be_imported_says_so(path):
    with pytest.raises(UnknownNameError, match=r"cannot import|not a class"):
        resolve("planners", path)


def test_importing_the_science_floor_loads_nothing_heavy():
    import subprocess

    code = (
        "import sys, models.registry, models.screening, models.pool, models.spaces, models.quantities;"
        "import models.spaces.prototype, models.spaces.table, models.spaces.parameter;"
        "import models.predictors.optimistic, models.synthesis.arc_melting;"
        "heavy = {'torch', 'botorch', 'pymatgen', 'sklearn', 'scipy', 'pandas', 'ray', 'zmq'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
