from __future__ import annotations

import asyncio

import pytest

from actors.crew import LocalCrew
from actors.errors import ComputeLost
from actors.orders import ChoiceOrder, Offer, compile_recipe
from actors.pipeline import Pipeline
from actors.spec import Component, ScienceSpec
from models.candidate import Candidate
from models.observation import Constraint, Objective, Observation
from models.route import Operation, Route
from models.spaces.spec import parse_space

HEUSLERS = {
    "kind": "prototype",
    "prototypes": [
        {
            "name": "L2_1",
            "spacegroup": "Fm-3m",
            "a_A": 5.9,
            "sites": {"X": [[0.25, 0.25, 0.25]], "Y": [[0, 0, 0]], "Z": [[0.5, 0.5, 0.5]]},
            "equivalent": [["Y", "Z"]],
        }
    ],
    "elements": {"*": ["Fe", "Co", "Ni", "Mn", "Al", "Si", "Ga", "Ti", "Cu", "V"]},
}
DIALS = {"kind": "parameters", "parameters": {"x": {"low": 0, "high": 1}}}


def spec(space: dict = HEUSLERS, **more) -> ScienceSpec:
    given = {"acquisition": Component(name="random"), "objectives": (Objective(name="y"),), **more}
    return ScienceSpec(seed=1, space=parse_space(space), base_dir=".", **given)


def order(**more) -> ChoiceOrder:
    return ChoiceOrder(**{"decision": 1, "q": 3, "seed": 5, "observations": (), "pending": (), **more})


def choose(*orders: ChoiceOrder, given: ScienceSpec | None = None, crew: LocalCrew | None = None) -> list:
    async def work() -> list:
        pipeline = Pipeline(given or spec(), crew or LocalCrew())
        try:
            return [await pipeline.choose(o) for o in orders]
        finally:
            await pipeline.close()

    return asyncio.run(work())


def test_every_candidate_is_generated_once_and_goes_through_every_stage():
    (answer,) = choose(order())
    stages = {stage.stage: stage for stage in answer.stages}
    assert stages["generator"].passed == 10 * 9 * 8 // 2
    assert stages["rules"].taken == stages["rules"].passed == stages["acquisition"].taken == 360
    assert len({choice.candidate.id for choice in answer.choices}) == 3


def test_equal_orders_get_equal_answers_from_another_crew_and_after_other_orders():
    first, other, again = choose(order(), order(seed=6), order())
    assert first.choices == again.choices != other.choices
    assert choose(order())[0].choices == first.choices


def test_rules_keep_candidates_from_the_acquisition():
    from models.screening import ScreeningSpec

    rules = ScreeningSpec.model_validate({"rules": [{"rule": "exclude", "elements": ["Mn", "V"]}]})
    (answer,) = choose(order(), given=spec(screening=rules))
    stages = {stage.stage: stage for stage in answer.stages}
    assert stages["rules"].passed == 8 * 7 * 6 // 2
    assert stages["rules"].detail == {"exclude": 360 - 168}


@pytest.mark.slow
def test_the_ensemble_screens_once_there_are_results_to_learn_from():
    objectives = (Objective(name="moment"), Objective(name="hhi", direction="minimize", source="computed"))
    learning = spec(objectives=objectives, constraints=(Constraint(name="pure", at_least=0.5),)).model_copy(
        update={"predictor": Component(name="ensemble", settings={"keep": 20})}
    )
    space = learning.build_space()
    observations = tuple(
        Observation(
            experiment=f"E{i}",
            candidate=space[i * 17],
            values={"moment": 2.0 * ("Fe" in space[i * 17].composition), "pure": 0.9, "hhi": 1000.0},
            outcome="measured",
        )
        for i in range(20)
    )
    early, late = choose(order(), order(observations=observations), given=learning)
    screened = {stage.stage: stage for stage in late.stages}["ensemble"]
    assert {stage.stage: stage for stage in early.stages}["ensemble"].passed == 360
    assert 20 <= screened.passed < 360
    assert not {o.candidate.id for o in observations} & {c.candidate.id for c in late.choices}


def test_a_continuous_space_is_proposed_anew_for_each_decision_near_the_best_results():
    best = Candidate(id="best", parameters={"x": 0.25})
    seen = Observation(experiment="E1", candidate=best, values={"y": 9.0}, outcome="measured")
    given = spec(DIALS, pool_size=64)
    first, second, again = choose(order(), order(seed=9, observations=(seen,)), order(), given=given)
    assert first.choices == again.choices
    assert {c.candidate.id for c in first.choices}.isdisjoint({c.candidate.id for c in second.choices})


def test_a_crew_that_keeps_dying_is_given_up_with_advice():
    class Dying(LocalCrew):
        starts = 0

        @property
        def lost(self):
            return (ConnectionError,)

        async def start(self, spec):
            type(self).starts += 1
            await super().start(spec)

        async def result(self, handle):
            raise ConnectionError("raylet is gone")

    with pytest.raises(ComputeLost, match="lost 4 times in a row, at last: ConnectionError: raylet is gone"):
        choose(order(), crew=Dying())
    assert Dying.starts == 4


OFFERS = (
    Offer(capability="heat", limits={"temperature_C": (0, 1200)}, quantities={"mass_g": (0, 100)}),
    Offer(capability="weigh", idempotent=True),
)


def route(temperature_C: float, *capabilities: str) -> Route:
    operations = tuple(
        Operation(capability=c, parameters={"temperature_C": temperature_C}, quantities=("mass_g",))
        for c in capabilities
    )
    return Route(candidate="c", operations=operations, reason=f"at {temperature_C}")


def test_the_best_route_that_the_lab_can_carry_out_becomes_the_recipe():
    recipe = compile_recipe([route(1500, "heat"), route(900, "heat", "weigh"), route(100, "weigh")], OFFERS)
    assert [step.capability for step in recipe.steps] == ["heat", "weigh"]
    assert recipe.reason == "at 900"
    assert recipe.steps[0].bounds == {"mass_g": (0, 100)}
    assert [step.idempotent for step in recipe.steps] == [False, True]


def test_a_lab_that_cannot_says_why():
    recipe = compile_recipe([route(1500, "heat"), route(20, "fly")], OFFERS)
    assert recipe.steps == ()
    assert "temperature_C = 1500 is outside 0.0 .. 1200.0" in recipe.reason
    assert "no instrument offers fly" in recipe.reason
    assert compile_recipe([], OFFERS).reason == "the planner knows no route"
