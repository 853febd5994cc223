import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import elements
from models.candidate import Candidate
from models.errors import SpaceError
from models.roles import Planner
from models.synthesis.arc_melting import (
    ArcMeltingPlanner,
    melting_current_A,
    solidus_estimate_K,
    vapour_pressure_atm,
)


def route_of(heuslers, name, **settings):
    (route,) = ArcMeltingPlanner(**settings).plan(heuslers[heuslers.index_of(name)])
    return route


@settings(max_examples=100, deadline=None)
@given(index=st.integers(0, 39269), grams=st.floats(0.1, 50))
def test_masses_are_those_of_the_formula_and_sum_to_the_sample(heuslers, index, grams):
    candidate = heuslers[index]
    planner = ArcMeltingPlanner(sample_mass_g=grams)
    (route,) = planner.plan(candidate)
    melt = route.operations[0].parameters
    assert sum(route.precursors_g.values()) == pytest.approx(grams, rel=1e-9)
    assert melt["masses_g"] == route.precursors_g
    moles = {el: g / elements.values("mass_g_per_mol", [el])[0] for el, g in route.precursors_g.items()}
    melt_K = planner.melt_temperature_K(candidate.composition)
    per_atom = [moles[el] / n / (1 + planner.excess_pct(el, melt_K) / 100) for el, n in candidate.composition.items()]
    np.testing.assert_allclose(per_atom, per_atom[0], rtol=1e-9)


@settings(max_examples=100, deadline=None)
@given(index=st.integers(0, 39269))
def test_every_setting_is_one_that_a_furnace_has(heuslers, index):
    (route,) = ArcMeltingPlanner().plan(heuslers[index])
    melt = route.operations[0].parameters
    assert 25 <= melt["melt_temperature_C"] < 3800
    assert 25 <= melt["anneal_temperature_C"] <= 1100
    assert 60 <= melt["current_A"] <= 400
    assert melt["melts"] == 4
    composition = heuslers[index].composition
    assert melt["melt_temperature_C"] + 273.15 >= solidus_estimate_K(composition) + 100
    json.dumps(route.model_dump(mode="json"), allow_nan=False)


def test_the_three_operations_carry_what_the_instruments_read(heuslers):
    route = route_of(heuslers, "L2_1-Co2MnSi")
    assert [o.capability for o in route.operations] == ["arc_melt", "diffract", "magnetometry"]
    melt, diffract, magnetometry = route.operations
    assert set(melt.parameters) == {
        "masses_g",
        "sample_mass_g",
        "melt_temperature_C",
        "current_A",
        "melts",
        "atmosphere",
        "anneal_temperature_C",
        "anneal_h",
        "target",
    }
    assert set(melt.parameters["target"]) == {"formula", "lattice_A", "species", "frac_coords"}
    assert melt.parameters["target"] == diffract.parameters["target"]
    assert melt.parameters["target"]["formula"] == "Co2MnSi"
    assert melt.parameters["atmosphere"] == "Ar"
    assert set(diffract.parameters) >= {
        "two_theta_min_deg",
        "two_theta_max_deg",
        "step_deg",
        "count_time_s",
        "wavelength",
    }
    assert set(magnetometry.parameters) == {"field_T", "temperature_K"}
    assert melt.quantities == ("sample_mass_g", "mass_loss_pct")
    assert diffract.quantities == ("lattice_parameter_A", "cell_volume_A3_per_atom", "phase_fraction", "rwp_pct")
    assert magnetometry.quantities == ("moment_A_m2", "field_T")


def test_co2mnsi_melts_above_cobalt_with_a_little_manganese_in_excess(heuslers):
    planner = ArcMeltingPlanner()
    route = route_of(heuslers, "L2_1-Co2MnSi")
    assert isinstance(planner, Planner)
    assert route.operations[0].parameters["melt_temperature_C"] == pytest.approx(1495 + 150, abs=1)
    melt_K = planner.melt_temperature_K({"Co": 2, "Mn": 1, "Si": 1})
    assert 1 < planner.excess_pct("Mn", melt_K) < 4
    assert planner.excess_pct("Co", melt_K) == planner.excess_pct("Si", melt_K) == 0
    for words in ("Co melts highest (1495 C)", "1645 C", "3 flips", "Mn 2.", "48 h at"):
        assert words in route.reason


def test_a_volatile_partner_lowers_the_melt_as_far_as_the_refractory_one_dissolves():
    planner = ArcMeltingPlanner()
    with_zinc = planner.melt_temperature_K({"Fe": 2, "Ta": 1, "Zn": 1})
    without = planner.melt_temperature_K({"Nb": 2, "Ta": 1, "W": 1})
    assert with_zinc == 3290 - 600 + 150
    assert without == 3695 + 150
    assert planner.excess_pct("Zn", with_zinc) == planner.max_excess_pct


def test_vapour_pressures_have_the_right_order_of_magnitude():
    """Mn 1,800 K: 4e-2 atm; Zn boils at 1,180 K; iron at 1,900 K: 1e-3 atm or less."""
    assert 0.01 < vapour_pressure_atm("Mn", 1800) < 0.1
    assert vapour_pressure_atm("Zn", 1180) == pytest.approx(1.0)
    assert vapour_pressure_atm("Fe", 1900) < 5e-3


def test_the_current_rises_with_temperature_and_mass_and_stays_in_its_range():
    assert melting_current_A(2000, 5) == 150
    assert melting_current_A(2500, 5) > melting_current_A(2000, 5) > melting_current_A(2000, 1)
    assert melting_current_A(500, 0.1) == 60
    assert melting_current_A(4000, 50) == 400


def test_what_an_arc_cannot_make_has_no_route(heuslers):
    planner = ArcMeltingPlanner()
    crystal = heuslers[0].crystal
    assert planner.plan(Candidate(id="p-1", parameters={"t": 1})) == []
    assert planner.plan(Candidate(id="oxide", composition={"Ba": 1, "O": 1}, crystal=crystal)) == []
    assert planner.plan(Candidate(id="no-crystal", composition={"Fe": 1})) == []


def test_settings_reach_the_route(heuslers):
    route = route_of(heuslers, "L2_1-Cu2MnAl", melts=6, anneal_h=12, field_T=1.5, count_time_s=2.0)
    melt, diffract, magnetometry = (o.parameters for o in route.operations)
    assert (melt["melts"], melt["anneal_h"]) == (6, 12)
    assert magnetometry["field_T"] == 1.5
    assert diffract["count_time_s"] == 2.0


@pytest.mark.parametrize("settings", [{"sample_mass_g": 0}, {"melts": 0}, {"anneal_fraction": 1.2}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SpaceError, match=next(iter(settings))):
        ArcMeltingPlanner(**settings)
