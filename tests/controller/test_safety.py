from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.orders import Offer, Recipe, Step, compile_recipe
from controller import events as ev
from controller.campaign import parse_campaign
from controller.errors import CampaignError
from controller.journal import Journal
from controller.loop import Loop
from controller.replay import replay
from controller.rundir import RunDirectory
from controller.safety import (
    Amounts,
    Safety,
    amounts,
    breaches,
    forbidden_use,
    narrowed,
    needs_approval,
    over_the_cap,
    unknown_names,
)
from controller.state import State, decide, evolve
from models.route import Operation, Route
from tests.controller.fakes import CAMPAIGN, OFFERS, FakeHands, FakeScience, fold


def melt(precursors_g: dict[str, float] | None = None, **parameters) -> Recipe:
    step = Step(capability="melt", parameters=parameters, quantities=())
    return Recipe(steps=(step,), precursors_g=precursors_g or {})


def safety(**section) -> Safety:
    return Safety.model_validate(section)


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(-100, 0), st.floats(0, 100))
def test_a_parameter_breaks_its_limit_exactly_where_it_is_not_within(value, low, high):
    envelope = safety(limits={"melt.current_A": {"low": low, "high": high}})
    (step,) = melt(current_A=value).steps
    assert bool(breaches(envelope, step)) == (not low <= value <= high)


@pytest.mark.parametrize(
    ("parameters", "broken"),
    [
        ({"current_A": [5, 11]}, "melt.current_A = 11 is outside 1 .. 10"),
        ({"current_A": {"Fe": 0.5}}, "melt.current_A = 0.5 is outside 1 .. 10"),
        ({"current_A": "5"}, "must be a number"),
        ({"current_A": True}, "must be a number"),
        ({"curent_A": 5}, "the recipe does not give it"),
    ],
)
def test_lists_objects_words_and_what_is_not_given_are_judged_too(parameters, broken):
    (sentence,) = breaches(safety(limits={"melt.current_A": {"low": 1, "high": 10}}), melt(**parameters).steps[0])
    assert broken in sentence


def test_a_limit_is_on_its_own_capability_alone():
    envelope = safety(limits={"sinter.current_A": {"high": 1}})
    assert not breaches(envelope, melt(current_A=5).steps[0])


@pytest.mark.parametrize(
    ("forbidden", "recipe", "sentence"),
    [
        ({"elements": ["Cd"]}, melt({"CdO": 1.0}), "the element Cd is forbidden"),
        ({"elements": ["Pb"]}, melt(), "the element Pb is forbidden"),
        ({"precursors": ["NaN3"]}, melt({"NaN3": 1.0}), "NaN3 is forbidden"),
        ({"precursors": ["NaN3"]}, melt(masses_g={"NaN3": 1.0}), "NaN3 is forbidden"),
        ({"precursors": ["ether"]}, melt(solvent="ether"), "ether is forbidden"),
        ({"together": [["KClO3", "Al"]]}, melt({"KClO3": 1.0, "Al": 1.0}), "KClO3 and Al must not come together"),
        ({"together": [["H2", "Ni"]]}, melt({"NiO": 1.0}, atmosphere="H2"), "H2 and Ni must not come together"),
    ],
)
def test_what_is_forbidden_is_found_wherever_the_recipe_names_it(forbidden, recipe, sentence):
    assert forbidden_use(safety(forbidden=forbidden), ["Pb", "O"], recipe) == [sentence]


def test_a_word_that_only_looks_like_a_formula_hides_no_element():
    assert not forbidden_use(safety(forbidden={"elements": ["Co"]}), [], melt({"Copper": 1.0}))


def test_amounts_are_grams_hours_and_money():
    envelope = safety(max={"money": 100}, prices={"per_g": {"Fe": 2.0, "Si": 1.0}, "per_hour": 10.0})
    recipe = melt({"Fe": 3.0, "Si": 1.0}, anneal_h=2.0, soak_min=30, rate_C_per_min=5, programme=[{"hold_s": 1800}])
    assert amounts(envelope, recipe) == Amounts(4.0, 3.0, 37.0)


@given(st.lists(st.floats(0.01, 10), max_size=30), st.floats(1, 50))
def test_what_is_let_through_never_exceeds_a_cap(masses, cap):
    envelope, planned = safety(max={"grams": cap}), Amounts()
    for mass_g in masses:
        wanted = amounts(envelope, melt({"Fe": mass_g}))
        if not over_the_cap(envelope, planned, 0.0, wanted):
            planned = planned.plus(wanted)
    assert planned.grams <= cap


def test_hours_that_instruments_have_used_count_where_they_are_more_than_was_planned():
    envelope = safety(max={"hours": 10})
    assert not over_the_cap(envelope, Amounts(hours=1), 8.0, Amounts(hours=2))
    assert over_the_cap(envelope, Amounts(hours=1), 9.0, Amounts(hours=2))


def test_people_are_asked_above_the_threshold_and_where_it_cannot_be_told():
    envelope = safety(approval={"above": {"melt.current_A": 100}})
    assert not needs_approval(envelope, melt(current_A=100))
    assert needs_approval(envelope, melt(current_A=101)) == ["melt.current_A = 101 is above 100"]
    assert needs_approval(envelope, melt())


def test_the_planner_takes_its_next_best_route_where_the_best_breaks_the_envelope():
    offer = Offer(capability="melt", limits={"current_A": (0, 500)})
    routes = [
        Route(candidate="c", operations=(Operation(capability="melt", parameters={"current_A": a}),), reason=f"{a} A")
        for a in (400, 200)
    ]
    envelope = safety(limits={"melt.current_A": {"low": -5, "high": 300}})
    (narrow,) = narrowed(envelope, [offer])
    assert narrow.limits["current_A"] == (0, 300), "an envelope never widens a driver's limit"
    assert compile_recipe(routes, (narrow,)).reason == "200 A"


def test_a_name_that_no_instrument_offers_is_found():
    envelope = safety(limits={"mlet.current_A": {"high": 1}}, approval={"above": {"melt.current_A": 1}})
    assert unknown_names(envelope, ["melt"]) == ["mlet.current_A"]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{limits: {current_A: {high: 1}}}", "must be capability.parameter"),
        ("{limits: {melt.current_A: {low: 2, high: 1}}}", "must not be above high"),
        ("{limits: {melt.current_A: {}}}", "give low, high or both"),
        ("{limits: {melt.current_A: {high: .nan}}}", "finite"),
        ("{forbidden: {together: [[A]]}}", "two or more different"),
        ("{forbiden: {}}", "Did you mean 'forbidden'?"),
        ("{max: {money: 5}}", "needs prices"),
        ("{approval: {above: {melt.x: 1}, on_timeout: reject}}", "needs timeout_h"),
        ("{approval: {above: {melt.x: 1}, people: 3}}", "people"),
    ],
)
def test_a_mistake_in_the_envelope_is_named_with_its_line(section, words):
    text = CAMPAIGN.format(budget=1, batch=1, clock="wall") + f"safety: {section}\n"
    with pytest.raises(CampaignError, match=r"mine.yaml:\d+: safety") as error:
        parse_campaign(text, "mine.yaml")
    assert words in str(error.value)


# In the loop


class Weighing(FakeScience):
    """Weighs 2 g of Fe for each sample."""

    async def plan(self, candidate, offers):
        recipe = await super().plan(candidate, offers)
        return recipe.model_copy(update={"precursors_g": {"Fe": 2.0}})


def begun(folder, section: str, budget: int = 6, clock: str = "simulated") -> tuple[RunDirectory, Journal, State]:
    folder.mkdir(exist_ok=True)
    directory = RunDirectory(folder)
    journal = Journal(directory.journal, create=True)
    text = CAMPAIGN.format(budget=budget, batch=2, clock=clock) + f"safety: {section}\n"
    journal.stage(
        [
            ev.CampaignStarted(run_id="run", text=text, base_dir="/", seed=0, budget=budget, version="0"),
            ev.ControllerStarted(epoch=1, pid=1, host="here"),
            *(ev.InstrumentAnnounced(instrument=n, driver="fake", offers=(o,)) for n, o in OFFERS.items()),
        ]
    )
    journal.commit()
    return directory, journal, fold(journal)


def test_an_unsafe_recipe_never_reaches_the_lab_and_says_why_and_the_replay_agrees(tmp_path):
    directory, journal, state = begun(tmp_path / "r", "{limits: {heat.x: {high: 0.5}}}", budget=20)
    hands = FakeHands()
    loop = Loop(state, journal, FakeScience(), hands)
    asyncio.run(loop.run())
    xs = {e.id: float(e.candidate.parameters["x"]) for e in loop.state.experiments.values()}
    unsafe = {name for name, x in xs.items() if x > 0.5}
    assert unsafe
    assert len(unsafe) < 20
    assert not [c for c in hands.executed if c.split("/")[1] in unsafe]
    for experiment in loop.state.experiments.values():
        assert (experiment.outcome == "failed_measurement") == (experiment.id in unsafe)
        assert ("not safe, never sent to the lab: heat.x" in experiment.reason) == (experiment.id in unsafe)
    assert replay(directory, science=FakeScience()) > 60


def test_a_cap_ends_the_campaign_before_it_is_exceeded(tmp_path):
    directory, journal, state = begun(tmp_path / "r", "{max: {grams: 7}}")
    hands = FakeHands()
    loop = Loop(state, journal, Weighing(), hands)
    asyncio.run(loop.run())
    made = {c.split("/")[1] for c in hands.executed}
    assert len(made) == 3
    assert "safety.max.grams: 6 of 7 are taken" in loop.state.finished
    assert loop.state.planned.grams == 6
    assert replay(directory, science=Weighing()) > 10


def test_a_precursor_without_a_price_is_refused_where_money_is_capped(tmp_path):
    _, journal, state = begun(tmp_path / "r", "{max: {money: 7}, prices: {per_g: {Co: 1}}}", budget=1)
    hands = FakeHands()
    loop = Loop(state, journal, Weighing(), hands)
    asyncio.run(loop.run())
    assert "no price for Fe" in loop.state.experiments["E0001"].reason
    assert not hands.executed


def test_a_step_that_breaks_the_envelope_is_not_ordered_even_if_its_recipe_had_passed(tmp_path):
    _, _, state = begun(tmp_path / "r", "{limits: {heat.x: {high: 0.5}}}", budget=1)
    for event in decide(state).events:
        state = evolve(state, event)
    answer = asyncio.run(FakeScience().choose(_order(state)))
    state = evolve(state, ev.ChoiceMade(decision=1, choices=answer.choices))
    recipe = asyncio.run(FakeScience().plan(answer.choices[0].candidate, ()))
    smuggled = recipe.steps[0].model_copy(update={"parameters": {"x": 0.9}})
    state.experiments["E0001"].recipe = recipe.model_copy(update={"steps": (smuggled,)})
    state.filing.experiment(state.experiments["E0001"])
    (event,) = decide(state).events
    assert isinstance(event, ev.ExperimentFinished)
    assert "step 1 not sent: heat.x = 0.9" in event.reason


def _order(state):
    from controller.state import choice_order

    return choice_order(state, state.choosing)
