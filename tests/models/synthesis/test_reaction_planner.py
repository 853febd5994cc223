"""From a formula to routes with numbers."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest

import models
from models.candidate import Candidate
from models.errors import DataError
from models.registry import resolve
from models.route import Interval
from models.synthesis.atmosphere import choose_atmosphere
from models.synthesis.landscape import survey
from models.synthesis.reaction_planner import ReactionPlanner
from models.thermo import formulas

LITERATURE = {
    "BaTiO3": ({"BaCO3", "TiO2"},),
    "LiCoO2": ({"Li2CO3", "Co3O4"}, {"Li2CO3", "CoO"}),
    "YBa2Cu3O7": ({"BaCO3", "CuO", "Y2O3"},),
}


@pytest.mark.parametrize("target", LITERATURE)
@pytest.mark.parametrize("temperature_C", [800.0, 950.0])
def test_the_routes_of_the_literature_are_on_the_front(athanor_data, target, temperature_C):
    found = survey(target, temperature_C)
    front = [{p.phase.formula for p in found.set_of(row)} for row in range(len(found.front)) if found.front[row]]
    assert any(route in front for route in LITERATURE[target])
    assert len(front) < len(found.front)


@pytest.mark.parametrize("target", LITERATURE)
def test_the_best_route_is_one_of_the_literature_and_says_why(athanor_data, target):
    best = ReactionPlanner(literature=False).routes(target)[0]
    assert set(best.precursors) in LITERATURE[target]
    assert best.numbers["on_pareto_front"] == 1
    assert best.numbers["reaction_energy_eV_per_atom"] < 0
    assert best.numbers["nucleation_barrier_eV"] > 0
    assert "compete" in best.reason and "->" in best.reason
    assert best.temperature_C.low < best.temperature_C.value < best.temperature_C.high


def test_the_masses_give_the_sample(athanor_data):
    route = ReactionPlanner(sample_mass_g=10.0, literature=False).routes("BaTiO3")[0]
    moles = 10.0 / 233.192
    assert route.precursors_g == pytest.approx({"BaCO3": moles * 197.336, "TiO2": moles * 79.866}, rel=1e-3)


def test_routes_come_best_first_and_scores_are_shares(athanor_data):
    scores = [route.score for route in ReactionPlanner(top=50, literature=False).routes("LiCoO2")]
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) <= 1 + 1e-9


def test_the_planner_role_takes_a_candidate(athanor_data):
    planner = resolve("planners", "reactions")(literature=False)
    (route, *_) = planner.plan(Candidate(id="row-7", composition={"Sr": 1, "Ti": 1, "O": 3}))
    assert route.candidate == "row-7"
    assert route.target == "SrTiO3"
    assert planner.plan(Candidate(id="dials", parameters={"flow": 1.0})) == []
    assert planner.plan(Candidate(id="noble", composition={"Xe": 1, "F": 2})) == []


def test_a_composition_that_no_table_knows_is_taken_to_lie_on_the_hull(athanor_data):
    found = survey("La0.7Sr0.3MnO3", 1100.0)
    assert not found.known
    assert found.std_eV_per_atom.min() >= 0.05
    assert found.front.any()


def test_equal_questions_have_equal_answers(athanor_data):
    assert ReactionPlanner(literature=False).routes("MgAl2O4") == ReactionPlanner(literature=False).routes("MgAl2O4")


@pytest.mark.parametrize(
    ("formula", "temperature_C", "gas"),
    [
        ("BaTiO3", 1100, "air"),
        ("YBa2Cu3O7", 950, "air"),
        ("LiFePO4", 870, "N2"),
        ("Cu2O", 800, "N2"),
        ("MnO", 900, "H2/N2"),
    ],
)
def test_the_gas_is_one_that_keeps_the_target(athanor_data, formula, temperature_C, gas):
    assert choose_atmosphere(formula, temperature_C) == gas


@pytest.mark.parametrize(("formula", "said"), [("XeF2", "another target"), ("Ba(", "formula"), ("H2O", "weighed")])
def test_what_cannot_be_planned_says_why(athanor_data, formula, said):
    with pytest.raises(DataError, match=said):
        ReactionPlanner(literature=False).routes(formula)


def test_nothing_in_the_code_or_its_tables_of_numbers_knows_the_three_targets():
    names = {spelled for target in LITERATURE for spelled in (target, formulas.reduced(target))}
    folder = Path(models.__file__).parent
    for file in [*folder.glob("thermo/*.py"), *folder.glob("synthesis/*.py")]:
        tree = ast.parse(file.read_text())
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                assert not any(name in node.value for name in names), f"{file}:{node.lineno}"
    for table in ("energy_corrections.csv", "likeness_quantiles.csv"):
        assert not any(name in (folder / "data" / table).read_text() for name in names)


class Literature:
    """A recommender and conditions that say what they are told."""

    def __init__(self, sets):
        self.sets = sets

    def recommend(self, target, top=5):
        return [SimpleNamespace(precursors=names, score=odds) for names, odds in self.sets][:top]

    def predict_all(self, targets, precursors):
        found = SimpleNamespace(
            temperature_C=Interval(value=1000.0, low=900.0, high=1100.0),
            hours=Interval(value=8.0, low=2.0, high=24.0),
            atmosphere="O2",
        )
        return [found] * len(targets)


def planner_that_reads(*sets):
    made = ReactionPlanner()
    made.recommender = made.conditions = Literature(sets)
    return made


def test_the_literature_sets_the_order_and_thermodynamics_gives_the_numbers(athanor_data):
    planner = planner_that_reads((("BaO", "TiO2"), 0.6), (("BaCO3", "TiO2"), 0.4))
    first, second, third, *_ = planner.routes("BaTiO3")
    assert [first.precursors, second.precursors] == [("BaO", "TiO2"), ("BaCO3", "TiO2")]
    assert first.numbers["literature_probability"] == 0.6
    assert first.numbers["reaction_energy_eV_per_atom"] < 0
    assert "literature_probability" not in third.numbers and third.score < 0.05
    assert (first.temperature_C.value, first.atmosphere) == (1000.0, "O2")


def test_a_powder_without_energies_still_gives_a_route_with_masses(athanor_data):
    (route, *_) = planner_that_reads((("BaC4O8", "TiO2"), 0.9)).routes("BaTiO3")
    assert {formulas.key(name) for name in route.precursors} == {formulas.key("BaC4O8"), formulas.key("TiO2")}
    assert sum(route.precursors_g.values()) > 2.0
    assert "reaction_energy_eV_per_atom" not in route.numbers
    assert "of the odds" in route.reason


def test_a_target_is_never_made_from_itself(athanor_data):
    planner = planner_that_reads((("BaTiO3",), 0.7), (("BaCO3", "TiO2"), 0.3))
    assert planner.quick_routes("BaTiO3")[0].precursors == ("BaCO3", "TiO2")


def test_what_the_literature_does_not_know_is_planned_by_thermodynamics(athanor_data):
    assert planner_that_reads().quick_routes("SrTiO3")[0].numbers["reaction_energy_eV_per_atom"] < 0


def test_elements_that_no_table_knows_are_planned_by_the_literature(athanor_data):
    (route,) = planner_that_reads((("XeF4", "Xe"), 0.8)).routes("XeF2")
    assert route.numbers == {} and route.score == 0.8
