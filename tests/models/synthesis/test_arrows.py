"""The planner that learns, with routes from a stand-in: no public data is needed."""

from __future__ import annotations

import pytest

from models import elements
from models.candidate import Candidate
from models.errors import DataError
from models.route import Interval, Route
from models.synthesis.arrows import ArrowsPlanner
from models.synthesis.pair_knowledge import Beliefs, pair_reactions, result_of
from models.synthesis.trial import Trial

SETS = {
    "BaTiO3": (("BaCO3", "TiO2"), ("Ba(NO3)2", "TiO2"), ("BaO", "TiO2")),
    "Ba3MgNb2O9": (("BaCO3", "MgO", "Nb2O5"), ("BaO", "MgO", "Nb2O5"), ("BaCO3", "MgCO3", "Nb2O5")),
    "Ba2YNbO6": (("BaCO3", "Nb2O5", "Y2O3"), ("BaO", "Nb2O5", "Y2O3")),
    "PbTiO3": (("PbO", "TiO2"), ("Pb(NO3)2", "TiO2")),
}


class Routes:
    """Another planner: sets of precursors, best first, all at 1,000 C."""

    def plan(self, candidate: Candidate) -> list[Route]:
        return [
            Route(
                candidate=candidate.id,
                operations=(),
                reason="because",
                score=0.8**place,
                target=candidate.formula,
                precursors=names,
                temperature_C=Interval(value=1000, low=700, high=1300),
                hours=Interval(value=12, low=4, high=48),
                atmosphere="air",
            )
            for place, names in enumerate(SETS.get(candidate.formula, ()))
        ]


def planner(**settings) -> ArrowsPlanner:
    return ArrowsPlanner(routes={"name": f"{__name__}:Routes"}, **settings)


def of(formula: str, attempt: int = 1) -> Candidate:
    return Candidate(id=f"{formula}-{attempt}", composition=elements.parse_formula(formula))


def tried(route: Route, purity: float, number: int = 1, **phases: float) -> Trial:
    """What the lab would tell of a route: the target's fraction and other phases, ``A_B`` for ``A(B)``."""
    readings = {f"weight_fraction_{name}": x for name, x in phases.items()}
    readings[f"weight_fraction_{route.target}"] = readings["phase_fraction"] = purity
    return Trial(
        experiment=f"E{number:04d}",
        candidate=of(route.target, number),
        precursors_g=route.precursors_g,
        operations=route.operations,
        readings=readings,
        outcome="measured" if purity >= 0.9 else "failed_synthesis",
    )


def heat(route: Route) -> float:
    return max(op.parameters["temperature_C"] for op in route.operations if op.capability == "fire")


def is_staged(route: Route) -> bool:
    return any("add_g" in op.parameters for op in route.operations)


@pytest.fixture(autouse=True)
def no_energies(monkeypatch):
    """Nothing is known of energies: what is learnt comes from the furnace alone. Any two oxides may combine."""
    monkeypatch.setattr(Beliefs, "left_eV", lambda *_: None)
    monkeypatch.setattr(Beliefs, "combined_eV", lambda *_: 0.1)


def test_the_first_attempt_is_the_other_planners_best_with_a_recipe_for_the_lab():
    best = planner().plan(of("BaTiO3"))[0]
    assert best.precursors == ("BaCO3", "TiO2")
    assert heat(best) == 1000
    assert best.operations[0].capability == "weigh_mix"


def test_a_slow_mixture_is_fired_hotter():
    mine = planner()
    first = mine.plan(of("BaTiO3"))[0]
    mine.learn([tried(first, 0.45, Ba2TiO4=0.3, TiO2=0.25)])
    second = mine.plan(of("BaTiO3", 2))[0]
    assert second.precursors == first.precursors
    assert heat(second) == 1100
    assert "hotter" in second.reason


def test_where_it_was_purer_before_it_is_fired_between():
    mine = planner()
    cool = mine.plan(of("BaTiO3"))[0]
    mine.learn([tried(cool, 0.6, TiO2=0.4)])
    hot = mine.plan(of("BaTiO3", 2))[0]
    mine.learn([tried(cool, 0.85, TiO2=0.15), tried(hot, 0.7, 2, TiO2=0.3)])
    assert heat(mine.plan(of("BaTiO3", 3))[0]) == 1050


def test_a_way_that_was_tried_is_not_tried_again():
    mine, trials = planner(), []
    for number in range(12):
        routes = mine.plan(of("BaTiO3", number))
        if not routes:
            break
        trials.append(tried(routes[0], 0.3 + 0.01 * number, number, TiO2=0.5))
        mine.learn(trials)
    ways = [(trial.precursors_g.keys(), heat_of(trial)) for trial in trials]
    assert len(ways) > 3
    assert all(way not in ways[:place] for place, way in enumerate(ways))


def heat_of(trial: Trial) -> float:
    return max(op.parameters["temperature_C"] for op in trial.operations if op.capability == "fire")


def test_the_pair_that_trapped_a_synthesis_is_learnt():
    first = planner().plan(of("Ba3MgNb2O9"))[0]
    result = result_of(tried(first, 0.01, Ba3Nb2O8=0.94, MgO=0.05))
    assert result is not None
    (reaction,) = pair_reactions([result])
    assert reaction.pair == {"BaCO3", "Nb2O5"}
    assert reaction.product == "Ba3Nb2O8"


def test_what_several_pairs_may_have_made_teaches_nothing():
    first = planner().plan(of("Ba3MgNb2O9"))[0]
    result = result_of(tried(first, 0.1, BaO=0.5, Ba4MgNb3O12=0.4))
    assert result is not None
    assert pair_reactions([result]) == []


def test_after_a_trap_the_pair_does_not_meet_first_again():
    mine = planner()
    first = mine.plan(of("Ba3MgNb2O9"))[0]
    mine.learn([tried(first, 0.01, Ba3Nb2O8=0.94, MgO=0.05)])
    second = mine.plan(of("Ba3MgNb2O9", 2))[0]
    assert is_staged(second)
    begun = set(second.operations[0].parameters["precursors_g"])
    assert begun != {"BaCO3", "Nb2O5"} and len(begun) == 2
    assert "Ba3Nb2O8" in second.reason


def test_a_trap_is_remembered_for_other_targets():
    mine = planner()
    fresh = {option.way: option.value for option in mine.options(of("Ba2YNbO6"))}
    first = mine.plan(of("Ba3MgNb2O9"))[0]
    mine.learn([tried(first, 0.01, Ba3Nb2O8=0.94, MgO=0.05)])
    warned = {option.way: option.value for option in mine.options(of("Ba2YNbO6"))}
    for way, value in warned.items():
        if not way.first:
            assert value < (0.2 if "BaCO3" in way.precursors else 0.5) * fresh[way] + 1e-9


def test_equal_trials_give_equal_routes_whatever_was_asked_before():
    told, other = planner(), planner()
    first = told.plan(of("BaTiO3"))[0]
    trials = [tried(first, 0.45, Ba2TiO4=0.3, TiO2=0.25)]
    other.learn([tried(first, 0.05, 9, TiO2=0.9)])
    other.plan(of("Ba3MgNb2O9"))
    told.learn(trials)
    other.learn(trials)
    assert told.plan(of("BaTiO3", 2)) == other.plan(of("BaTiO3", 2))


def test_an_attempt_without_a_look_may_be_repeated_once():
    mine = planner()
    first = mine.plan(of("BaTiO3"))[0]
    broken = tried(first, 0.0).model_copy(update={"readings": {}, "outcome": "failed_measurement"})
    mine.learn([broken])
    assert mine.plan(of("BaTiO3", 2))[0].precursors_g == first.precursors_g
    mine.learn([broken, broken])
    assert mine.plan(of("BaTiO3", 3))[0].operations != first.operations


def test_without_learning_routes_come_in_their_order_each_at_rising_temperatures():
    mine, trials, seen = planner(learns=False), [], []
    for number in range(5):
        route = mine.plan(of("BaTiO3", number))[0]
        seen.append((route.precursors, heat(route)))
        trials.append(tried(route, 0.5, number, TiO2=0.5))
        mine.learn(trials)
    assert [at_C for _, at_C in seen] == [1000, 1100, 1200, 1300, 1000]
    assert len({names for names, _ in seen[:4]}) == 1


def test_what_needs_a_persons_approval_comes_last():
    routes = planner().plan(of("BaTiO3"))
    asks = [any(hazard.verdict == "ask" for hazard in route.hazards) for route in routes]
    assert asks == sorted(asks)
    assert all(any(h.verdict == "ask" for h in route.hazards) for route in planner().plan(of("PbTiO3")))


def test_without_the_public_data_it_says_what_to_do(monkeypatch):
    monkeypatch.delenv("ATHANOR_DATA", raising=False)
    with pytest.raises(DataError, match="ATHANOR_DATA"):
        planner().plan(of("NaCl"))
