from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.orders import Offer, compile_recipe
from models.errors import SpaceError
from models.route import Interval, Route
from models.synthesis.recipe import (
    Powder,
    balance,
    calcination_C,
    choose_crucible,
    crucibles,
    excess_pct,
    molar_mass_g,
    write_recipe,
)


def route(target: str, *precursors: str, at_C: float = 1000.0, atmosphere: str = "air") -> Route:
    return Route(
        candidate=target,
        operations=(),
        reason="",
        target=target,
        precursors=precursors,
        temperature_C=Interval(value=at_C, low=at_C - 100, high=at_C + 100),
        hours=Interval(value=12.0, low=6.0, high=24.0),
        atmosphere=atmosphere,
    )


LAB = tuple(Offer(capability=name) for name in ("weigh_mix", "fire", "regrind", "identify"))


def test_barium_titanate_is_weighed_mole_for_mole_with_what_the_bottles_lack():
    written = write_recipe(route("BaTiO3", "BaCO3", "TiO2"), sample_mass_g=2.33192)
    assert written.precursors_g["BaCO3"] == pytest.approx(1.97334 / 0.995, rel=1e-3)  # 10 mmol
    assert written.precursors_g["TiO2"] == pytest.approx(0.79866 / 0.998, rel=1e-3)
    assert [op.capability for op in written.operations] == ["weigh_mix", "fire", "regrind", "fire", "identify"]
    calcine, sinter = (op.parameters for op in written.operations if op.capability == "fire")
    assert calcine["temperature_C"] < sinter["temperature_C"] == 1000


@pytest.mark.parametrize(
    ("target", "precursors", "moles"),
    [
        ("LiCoO2", ("Li2CO3", "Co3O4"), (1 / 2, 1 / 3)),
        ("YBa2Cu3O7", ("Y2O3", "BaCO3", "CuO"), (1 / 2, 2, 3)),
        ("BaTiO3", ("Ba(NO3)2", "TiO2"), (1, 1)),
        ("LiFePO4", ("Li2CO3", "FeC2O4", "NH4H2PO4"), (1 / 2, 1, 1)),
        ("Ba2TiO4", ("BaO", "BaTiO3"), (1, 1)),
    ],
)
def test_the_balance_leaves_gases_out(target, precursors, moles):
    assert balance(target, precursors) == pytest.approx(dict(zip(precursors, moles, strict=True)))


@pytest.mark.parametrize(
    ("target", "precursors", "words"),
    [
        ("BaTiO3", ("BaCO3",), "has Ti"),
        ("BaTiO3", ("BaCO3", "TiO2", "SiO2"), "bring Si"),
        ("BaTi2O5", ("BaTiO3", "BaO"), "no amounts"),
        ("CO2", ("C",), "nothing of it is solid"),
    ],
)
def test_precursors_that_do_not_add_up_are_refused_with_the_element(target, precursors, words):
    with pytest.raises(SpaceError, match=words):
        balance(target, precursors)


@given(st.floats(300, 1400), st.floats(1, 48))
def test_the_excess_grows_with_heat_and_time_and_stays_within_ten_percent(temperature_C, hours):
    less, more = excess_pct("Li2CO3", temperature_C, hours), excess_pct("Li2CO3", temperature_C + 100, hours)
    assert 0 <= less <= more <= 10
    assert less <= excess_pct("Li2CO3", temperature_C, 2 * hours)
    assert excess_pct("TiO2", temperature_C, hours) == 0


def test_volatile_metals_are_weighed_in_excess_with_the_reason():
    written = write_recipe(route("LiNbO3", "Li2CO3", "Nb2O5", at_C=1000))
    plain = balance("LiNbO3", ("Li2CO3", "Nb2O5"))["Li2CO3"] * molar_mass_g("Li2CO3") * 5 / molar_mass_g("LiNbO3")
    assert written.precursors_g["Li2CO3"] > 1.03 * plain
    assert "more Li2CO3: it evaporates" in written.reason


def test_a_labs_own_certificate_counts_more_than_the_table():
    pure = {"TiO2": Powder("TiO2", purity_pct=50.0)}
    usual, other = (write_recipe(route("BaTiO3", "BaCO3", "TiO2"), powders=p) for p in (None, pure))
    assert other.precursors_g["TiO2"] == pytest.approx(usual.precursors_g["TiO2"] * 0.998 / 0.5, rel=1e-4)


def test_what_takes_up_water_is_dried_ground_dry_and_may_not_lie_about():
    (mixing, *_), reason = (written := write_recipe(route("LaAlO3", "La2O3", "Al2O3"))).operations, written.reason
    assert mixing.parameters["dry_C"]["La2O3"] == 900
    assert mixing.parameters["medium"] == "dry"
    assert mixing.max_wait_h == 1
    assert "hydroxide" in reason


def test_nitrates_are_ground_dry_since_alcohol_must_not_meet_them():
    written = write_recipe(route("SrTiO3", "Sr(NO3)2", "TiO2"))
    assert written.operations[0].parameters["medium"] == "dry"
    assert not [hazard for hazard in written.hazards if hazard.verdict == "refuse"]


def test_a_low_firing_or_one_without_gas_needs_no_calcination():
    assert calcination_C(["Li2CO3", "V2O5"], 550) is None
    assert calcination_C(["MgO", "Al2O3"], 950) is None
    assert calcination_C(["BaCO3", "TiO2"], 1100) == 880


@pytest.mark.parametrize(
    ("materials", "at_C", "atmosphere", "crucible"),
    [
        (("BaCO3", "TiO2"), 1100, "air", "alumina"),
        (("PbO", "TiO2"), 850, "air", "magnesia"),
        (("Na2CO3", "SiO2"), 1000, "air", "platinum"),
        (("Li2CO3", "Al2O3", "LiAlO2"), 900, "air", "alumina"),
    ],
)
def test_the_cheapest_crucible_that_does_not_react_is_taken(materials, at_C, atmosphere, crucible):
    assert choose_crucible(materials, at_C, atmosphere, materials[-1])[0] == crucible


def test_where_every_crucible_reacts_the_reason_names_each():
    with pytest.raises(SpaceError) as error:
        choose_crucible(("Na2CO3", "SiO2"), 1000, "H2/N2")
    for crucible in crucibles():
        assert crucible.name in str(error.value)


def test_what_the_lab_did_not_announce_is_refused_with_the_reason():
    written = write_recipe(route("BaTiO3", "BaCO3", "TiO2", at_C=1300))
    assert compile_recipe([written], LAB).steps
    cold = (*(o for o in LAB if o.capability != "fire"), Offer(capability="fire", limits={"temperature_C": (20, 1200)}))
    assert "temperature_C = 1300 is outside" in compile_recipe([written], cold).reason
    blind = tuple(o for o in LAB if o.capability != "identify")
    assert "no instrument offers identify" in compile_recipe([written], blind).reason
    airless = (*LAB[:1], *LAB[2:], Offer(capability="fire", allowed={"atmosphere": ("Ar",)}))
    assert "atmosphere = air is not allowed" in compile_recipe([written], airless).reason
