import pytest
from pydantic import ValidationError

from models.errors import UnknownNameError
from models.spaces import build_space, parse_space
from tests.models.prototypes import L2_1

PROTOTYPES = {"kind": "prototype", "prototypes": [L2_1], "elements": {"*": ["Fe", "V", "Al"]}}
DIALS = {"kind": "parameters", "parameters": {"t": {"low": 0, "high": 1}}}


def changed(data, **changes):
    return {**data, **changes}


def prototype(**changes):
    return changed(PROTOTYPES, prototypes=[{k: v for k, v in {**L2_1, **changes}.items() if v is not None}])


def dial(**settings):
    return changed(DIALS, parameters={"t": settings})


@pytest.mark.parametrize("data", [PROTOTYPES, DIALS, {"kind": "table", "file": "x.csv"}], ids=lambda d: d["kind"])
def test_a_spec_survives_json(data):
    spec = parse_space(data)
    assert parse_space(spec.model_dump(mode="json")) == spec
    with pytest.raises(ValidationError, match="frozen"):
        spec.kind = "other"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "tabel"}, "'prototype', 'table', 'parameters'"),
        (changed(PROTOTYPES, elments={}), "elments"),
        (changed(PROTOTYPES, prototypes=[L2_1, L2_1]), "used twice.*L2_1"),
        (changed(PROTOTYPES, elements={"X": ["Fe"], "Y": ["V"]}), r"no elements for the site labels \['Z'\]"),
        (changed(PROTOTYPES, elements={"*": ["Fe"], "W": ["V"]}), r"elements given for \['W'\]"),
        (changed(PROTOTYPES, elements={"*": ["Fe", "Fe"]}), "without repetitions"),
        (prototype(name="L2-1"), "name"),
        (prototype(name="../x"), "name"),
        (prototype(a_A=None), "exactly one of 'a_A'"),
        (prototype(a_A=-1), "greater than 0"),
        (prototype(spacegroup=None), "'spacegroup' and 'a_A'"),
        (prototype(file="x.cif"), "not both"),
        (prototype(file="x.cif", a_A=None, spacegroup=None), "element in the file: label"),
        (prototype(sites={"Fe": "X"}, equivalent=None), "label: .*x, y, z"),
        (prototype(sites={"X": []}, equivalent=None), "at least one position"),
        (prototype(equivalent=[["Y", "Q"]]), "equivalent names.*Q"),
        (prototype(equivalent=[["Y"]]), "two labels or more"),
        ({"kind": "table", "file": "x.csv", "parameters": []}, "at least one column"),
        (dial(low=1, high=0), "must be smaller"),
        (dial(low=1), "needs 'low' and 'high'"),
        (dial(low=0, high=1, log=True), "low > 0"),
        (dial(type="int", low=0.5, high=3), "whole numbers"),
        (dial(type="int", low=0, high=3, step=0.5), "whole number"),
        (dial(low=0, high=1, step=2), "larger than the range"),
        (dial(low=0, high=1, values=[1]), "categorical"),
        (dial(type="categorical"), "needs 'values'"),
        (dial(type="categorical", values=["a"], low=1), "drop low"),
        (dial(low=0, high=float("inf")), "finite"),
        (changed(DIALS, constraints=[{"coefficients": {"t": 1}}]), "at_most, at_least or equal"),
        (changed(DIALS, constraints=[{"coefficients": {"t": 1}, "equal": 1, "at_most": 1}]), "either 'equal'"),
        (changed(DIALS, constraints=[{"coefficients": {"t": 0}, "equal": 1}]), "not zero"),
        (changed(DIALS, constraints=[{"coefficients": {"u": 1}, "equal": 1}]), "names 'u'.*'t'"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_the_fix(data, message):
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        parse_space(data)


def test_a_category_cannot_be_added_up():
    data = {
        "kind": "parameters",
        "parameters": {"s": {"type": "categorical", "values": ["a", "b"]}},
        "constraints": [{"coefficients": {"s": 1}, "at_most": 1}],
    }
    with pytest.raises(ValidationError, match="only numbers add up"):
        parse_space(data)


def test_what_is_not_an_element_is_named():
    with pytest.raises(UnknownNameError, match="'Fr1'"):
        build_space(changed(PROTOTYPES, elements={"*": ["Fe", "V", "Fr1"]}))
