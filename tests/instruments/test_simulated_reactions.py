from __future__ import annotations

import pytest

from instruments.errors import LabError, Refused
from instruments.simulated.oxides import load, parse
from instruments.simulated.reactions import LEAVES, Firing, fire

OXIDES = load()


def metals(moles: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, n in moles.items():
        for el, count in (OXIDES[name].metals if name in OXIDES else parse(name)).items():
            if el not in "OCHN":
                found[el] = found.get(el, 0.0) + n * count
    return found


def by_weight(moles: dict[str, float]) -> dict[str, float]:
    grams = {name: n * OXIDES[name].g_per_mol for name, n in moles.items()}
    return {name: g / sum(grams.values()) for name, g in grams.items()}


def fired(moles: dict[str, float], at_C: float, hours: float = 12.0, atmosphere: str = "air") -> dict[str, float]:
    return fire(OXIDES, moles, Firing(at_C + 273.15, hours, 5.0, atmosphere))


BARIUM_TITANATE = {"BaCO3": 1.0, "TiO2": 1.0}
NIOBATE = {"BaCO3": 3.0, "MgO": 1.0, "Nb2O5": 1.0}


@pytest.mark.parametrize(
    ("formula", "atoms"),
    [
        ("Ba(NO3)2", {"Ba": 1, "N": 2, "O": 6}),
        ("YBa2Cu3O6.5", {"Y": 1, "Ba": 2, "Cu": 3, "O": 6.5}),
        ("Ca(Al(OH)4)2", {"Ca": 1, "Al": 2, "O": 8, "H": 8}),
    ],
)
def test_formulas_with_brackets_are_read(formula, atoms):
    assert parse(formula) == atoms


@pytest.mark.parametrize("text", ["", "ba", "Ba(NO3", "BaO)", "Ba O"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(LabError):
        parse(text)


@pytest.mark.parametrize(("carbonate", "below_C", "above_C"), [("CaCO3", 500, 900), ("BaCO3", 850, 1150)])
def test_a_carbonate_gives_off_its_gas_where_chemistry_says(carbonate, below_C, above_C):
    assert OXIDES.alone(carbonate, below_C + 273.15, "air") is None
    reaction = OXIDES.alone(carbonate, above_C + 273.15, "air")
    assert reaction is not None
    assert list(reaction.products) == [carbonate.replace("CO3", "O")]


@pytest.mark.parametrize(
    ("one", "other"),
    [("BaCO3", "TiO2"), ("La2O3", "Al2O3"), ("Li2CO3", "Mn2O3"), ("Ba3Nb2O8", "MgO"), ("MgO", "Nb2O5")],
)
def test_what_two_phases_form_holds_their_metals_and_gives_energy(one, other):
    reaction = OXIDES.between(one, other, 1300.0, "air")
    if reaction is None:
        assert (one, other) == ("Ba3Nb2O8", "MgO")
        return
    assert reaction.driving_eV > 0
    assert metals(reaction.products) == pytest.approx(metals(reaction.reactants))
    assert OXIDES.between(other, one, 1300.0, "air") is reaction


@pytest.mark.parametrize("moles", [BARIUM_TITANATE, NIOBATE, {"SrCO3": 1.0, "Al2O3": 1.0}])
def test_a_firing_loses_gas_and_no_metal(moles):
    assert not set(metals(moles)) & set(LEAVES)
    assert metals(fired(moles, 1100)) == pytest.approx(metals(moles), rel=1e-4)


def test_volatile_metals_leave_and_more_so_when_hotter():
    powders = {"Li2CO3": 0.5, "Nb2O5": 0.5}
    cool, hot = (metals(fired(powders, at_C))["Li"] for at_C in (800, 1100))
    assert 1.0 > cool > hot > 0.5


def test_more_heat_and_more_time_bring_more_of_the_target():
    purity = [by_weight(fired(BARIUM_TITANATE, at_C)).get("BaTiO3", 0.0) for at_C in (700, 900, 1100)]
    assert purity[0] < 0.2 < purity[1] < purity[2]
    short, long = (by_weight(fired(BARIUM_TITANATE, 900, hours)).get("BaTiO3", 0.0) for hours in (2.0, 24.0))
    assert short < long


def test_the_reaction_with_most_driving_force_goes_first_through_an_intermediate():
    early = by_weight(fired(BARIUM_TITANATE, 800, 1.0))
    assert early.get("Ba2TiO4", 0.0) > early.get("BaTiO3", 0.0)


def test_grinding_again_helps():
    once = by_weight(fired(BARIUM_TITANATE, 950, 12.0))["BaTiO3"]
    twice = by_weight(fired(fired(BARIUM_TITANATE, 950, 6.0), 950, 6.0))["BaTiO3"]
    assert twice > once


def test_the_obvious_route_to_a_niobate_is_a_trap_however_hot_and_the_columbite_way_is_not():
    together = [by_weight(fired(NIOBATE, at_C)) for at_C in (1100, 1400)]
    assert all(x.get("Ba3MgNb2O9", 0.0) < 0.2 and x["Ba3Nb2O8"] > 0.6 for x in together)
    columbite = fired({"MgO": 1.0, "Nb2O5": 1.0}, 1300)
    assert by_weight(columbite)["MgNb2O6"] > 0.8
    staged = by_weight(fired({**columbite, "BaCO3": 3.0}, 1300))
    assert staged["Ba3MgNb2O9"] > 0.8


def test_nitrates_hydroxides_and_metals_become_oxides_first():
    for source in ("Ba(NO3)2", "Ba(OH)2", "Ba"):
        assert metals(fired({source: 1.0, "TiO2": 1.0}, 1000)) == pytest.approx({"Ba": 1.0, "Ti": 1.0}, rel=1e-4)


def test_what_there_are_no_oxides_of_is_refused():
    with pytest.raises(Refused, match="no simulated matter for AuCl"):
        fired({"AuCl": 1.0}, 800)


def test_air_and_argon_give_different_oxides():
    assert set(fired({"MnO2": 1.0}, 1000)) != set(fired({"MnO2": 1.0}, 1000, atmosphere="Ar"))
