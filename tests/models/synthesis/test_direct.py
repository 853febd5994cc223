from models.candidate import Candidate, Crystal
from models.roles import Planner
from models.synthesis.direct import DirectPlanner


def test_the_dials_go_to_the_instrument_as_they_are():
    candidate = Candidate(id="p-1", parameters={"temperature_C": 80.5, "solvent": "water", "n": 3})
    planner = DirectPlanner(capability="synthesize", quantities=["yield"])
    assert isinstance(planner, Planner)
    (route,) = planner.plan(candidate)
    (operation,) = route.operations
    assert route.candidate == "p-1"
    assert operation.capability == "synthesize"
    assert operation.quantities == ("yield",)
    assert operation.parameters == {
        "candidate": "p-1",
        "parameters": {"temperature_C": 80.5, "solvent": "water", "n": 3},
    }
    assert "temperature_C = 80.5" in route.reason
    assert route.precursors_g == {}


def test_a_crystal_goes_along_as_the_target():
    rows = ((0.0, 2.0, 2.0), (2.0, 0.0, 2.0), (2.0, 2.0, 0.0))
    crystal = Crystal(lattice_A=rows, species=("Mg", "O"), frac_coords=((0, 0, 0), (0.5, 0.5, 0.5)))
    (route,) = DirectPlanner("calculate").plan(Candidate(id="B1-MgO", composition={"Mg": 1, "O": 1}, crystal=crystal))
    target = route.operations[0].parameters["target"]
    assert target["formula"] == "MgO" and target["species"] == ["Mg", "O"]
    assert target["lattice_A"] == [list(row) for row in rows]


def test_the_default_is_to_measure():
    (route,) = DirectPlanner().plan(Candidate(id="row-1"))
    assert route.operations[0].capability == "measure"
    assert "row-1" in route.reason
