from __future__ import annotations

import pytest

from actors.orders import Offer, compile_recipe
from controller.errors import LabNeedsPerson
from controller.safety import Safety, needs_approval
from models.route import Hazard, Operation, Route
from models.synthesis.hazards import hazards_of, key_of, questions, refusals
from tests.controller.fakes import FakeHands, FakeScience, begin, run

MELT = (Offer(capability="melt"),)


def route(*materials: str, hazards: tuple[Hazard, ...] = ()) -> Route:
    operations = (Operation(capability="melt"),)
    return Route(
        candidate="x", operations=operations, reason="", precursors_g=dict.fromkeys(materials, 1.0), hazards=hazards
    )


@pytest.mark.parametrize(
    "materials",
    [
        ("Tl2O3", "BaCO3"),
        ("HgO",),
        ("As2O3",),
        ("BeO",),
        ("UO2",),
        ("ThO2",),
        ("OsO4",),
        ("LiClO4",),
        ("Ba(ClO4)2",),
        ("KClO3",),
        ("NaN3",),
        ("Pb(N3)2",),
        ("NH4NO3",),
        ("H4N2O3",),
        ("KCN",),
        ("Ba(NO3)2", "C6H8O7"),
        ("LiNO3", "FeC2O4"),
        ("NaNO3", "ethanol"),
    ],
)
def test_what_kills_or_explodes_is_refused_whoever_planned_it(materials):
    assert refusals(hazards_of(materials))
    compiled = compile_recipe([route(*materials)], MELT)
    assert not compiled.steps
    assert compiled.reason.startswith("refused: ")


@pytest.mark.parametrize(
    "materials",
    [
        ("BaCO3", "TiO2"),
        ("Si3N4", "AlN", "Ta3N5"),
        ("Ba5P3ClO12",),
        ("NaHCO3", "SiO2"),
        ("Li2CO3", "Nb2O5", "2-propanol"),
        ("Ba(NO3)2", "TiO2"),
        ("Copper",),
    ],
)
def test_what_laboratories_use_every_day_is_not(materials):
    assert not refusals(hazards_of(materials))


@pytest.mark.parametrize(
    ("materials", "more", "asked"),
    [
        (("PbO", "TiO2"), {}, "PbO"),
        (("Pb3O4",), {}, "Pb3O4"),
        (("CdO",), {}, "CdO"),
        (("V2O5",), {}, "V2O5"),
        (("Fe2O3",), {"atmosphere": "H2"}, "H2"),
        (("Fe2O3",), {"atmosphere": "H2/N2"}, "H2/N2"),
        (("BaCO3",), {"target": "PbTiO3"}, "PbTiO3"),
        (("SeO2",), {"temperature_C": 600.0}, "boils off"),
    ],
)
def test_poison_and_hydrogen_are_asked_about(materials, more, asked):
    found = hazards_of(materials, **more)
    assert any(asked in sentence for sentence in questions(found))


def test_nitrate_and_alcohol_do_not_meet_and_peroxide_is_no_fuel_in_hydrogen():
    assert any("2-propanol" in s for s in refusals(hazards_of(["Sr(NO3)2", "TiO2"], medium="2-propanol")))
    assert refusals(hazards_of(["BaO2"], atmosphere="H2/N2"))
    assert not refusals(hazards_of(["Sr(NO3)2", "TiO2"], medium="dry"))


def test_a_substance_is_found_however_it_is_written():
    assert key_of("Ba(NO3)2") == key_of("BaN2O6")
    assert key_of("2-propanol") == "2-propanol"
    assert hazards_of(["BaN2O6"]) and hazards_of(["BaN2O6"])[0].codes == hazards_of(["Ba(NO3)2"])[0].codes


def test_the_worst_comes_first_and_what_the_lab_permits_is_not_asked_about():
    found = hazards_of(["TiO2", "PbO", "Tl2O3"])
    assert [h.verdict for h in found] == sorted((h.verdict for h in found), key=["refuse", "ask", "note"].index)
    lead = hazards_of(["TiO2", "PbO"])
    assert questions(lead) and not questions(lead, ["PbO"])


def test_the_next_best_route_is_taken_where_the_best_is_refused():
    compiled = compile_recipe([route("Tl2O3"), route("BaCO3")], MELT)
    assert compiled.precursors_g == {"BaCO3": 1.0}


def test_a_hazard_waits_for_a_person_although_the_campaign_says_nothing_of_approvals():
    recipe = compile_recipe([route("PbO", hazards=hazards_of(["PbO"]))], MELT)
    (why,) = needs_approval(Safety(), recipe)
    assert why.startswith("PbO: lead")
    permitted = Safety.model_validate({"hazards": {"permitted": ["PbO"]}})
    assert not needs_approval(permitted, recipe)


def test_a_campaign_permits_no_more_than_its_lab():
    lab = Safety.model_validate({"hazards": {"permitted": ["PbO"]}})
    wants = Safety.model_validate({"hazards": {"permitted": ["PbO", "CdO"]}})
    assert wants.inside(lab).hazards.permitted == ("PbO",)
    assert Safety().inside(lab).hazards.permitted == ("PbO",)
    assert Safety.model_validate({"hazards": {"permitted": []}}).inside(lab).hazards.permitted == ()


class LeadScience(FakeScience):
    async def plan(self, candidate, offers):
        return (await super().plan(candidate, offers)).model_copy(update={"hazards": hazards_of(["PbO"])})


def test_in_a_campaign_nothing_is_ordered_before_a_person_has_approved(tmp_path):
    hands = FakeHands()
    journal, state = begin(tmp_path / "journal.sqlite", budget=1)
    with pytest.raises(LabNeedsPerson, match="PbO: lead"):
        run(journal, state, hands, LeadScience())
    assert not hands.executed


def test_in_a_lab_that_is_equipped_for_it_the_campaign_goes_on(tmp_path):
    hands = FakeHands()
    more = "safety: {hazards: {permitted: [PbO]}}"
    journal, state = begin(tmp_path / "journal.sqlite", budget=1, more=more)
    assert run(journal, state, hands, LeadScience()).state.finished
    assert hands.executed
