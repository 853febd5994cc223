"""From a formula to routes with numbers."""

import pytest

from models.candidate import Candidate
from models.errors import DataError
from models.registry import resolve
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
    best = ReactionPlanner().routes(target)[0]
    assert set(best.precursors) in LITERATURE[target]
    assert best.numbers["on_pareto_front"] == 1
    assert best.numbers["reaction_energy_eV_per_atom"] < 0
    assert best.numbers["nucleation_barrier_eV"] > 0
    assert "compete" in best.reason and "->" in best.reason
    assert best.temperature_C.low < best.temperature_C.value < best.temperature_C.high


def test_the_masses_give_the_sample(athanor_data):
    route = ReactionPlanner(sample_mass_g=10.0).routes("BaTiO3")[0]
    moles = 10.0 / 233.192
    assert route.precursors_g == pytest.approx({"BaCO3": moles * 197.336, "TiO2": moles * 79.866}, rel=1e-3)


def test_routes_come_best_first_and_scores_are_shares(athanor_data):
    scores = [route.score for route in ReactionPlanner(top=50).routes("LiCoO2")]
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) <= 1 + 1e-9


def test_the_planner_role_takes_a_candidate(athanor_data):
    planner = resolve("planners", "reactions")()
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
    assert ReactionPlanner().routes("MgAl2O4") == ReactionPlanner().routes("MgAl2O4")


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
        ReactionPlanner().routes(formula)


def test_nothing_in_the_code_knows_the_three_targets_by_name():
    from pathlib import Path

    import models

    for folder in ("synthesis", "thermo"):
        for file in (Path(models.__file__).parent / folder).glob("*.py"):
            code = [line for line in file.read_text().splitlines() if "``" not in line and "#" not in line]
            for target in LITERATURE:
                assert formulas.reduced(target) not in "\n".join(code), file
