import numpy as np
import pytest
from pydantic import ValidationError

from models.errors import SpaceError, UnknownNameError
from models.pool import CandidatePool
from models.quantities import compute
from models.screening import ChargeRule, ScreeningSpec, screen
from models.spaces import build_space
from tests.models.prototypes import L2_1, PEROVSKITE

PEROVSKITES = {
    "kind": "prototype",
    "prototypes": [PEROVSKITE],
    "elements": {"A": ["Sr", "Ba", "Na", "Cs"], "B": ["Ti", "Zr", "Al", "Pb"], "X": ["O", "F", "I"]},
}


def spec(*rules):
    return ScreeningSpec.model_validate({"rules": list(rules)})


def passes(space, rule, name):
    return bool(screen(spec(rule), space, np.array([space.index_of(name)])).mask[0])


def test_no_rules_let_everything_pass(heuslers):
    assert screen(ScreeningSpec(), heuslers).mask.all()


def test_every_dropped_candidate_is_counted_once_by_the_first_rule(heuslers):
    rules = spec({"rule": "charge"}, {"rule": "size"}, {"rule": "price", "at_most_USD_per_kg": 5000})
    result = screen(rules, heuslers)
    assert list(result.dropped) == ["charge", "size", "price"]
    assert sum(result.dropped.values()) == (~result.mask).sum()
    assert all(result.reasons[name] for name in result.dropped)
    assert 0.4 < result.mask.mean() < 0.9


def test_the_magnets_that_everybody_knows_pass(heuslers):
    for name in ("L2_1-Co2MnSi", "L2_1-Ni2MnGa", "L2_1-Cu2MnAl", "L2_1-Fe2VAl", "L2_1-Co2FeSi", "XA-Mn2CoAl"):
        assert passes(heuslers, {"rule": "charge"}, name)
        assert passes(heuslers, {"rule": "size"}, name)


def test_alloys_with_too_few_or_too_many_electrons_are_dropped(heuslers):
    assert not passes(heuslers, {"rule": "charge"}, "L2_1-Li2MgCa")
    assert not passes(heuslers, {"rule": "charge"}, "L2_1-Pt2CuAu")


def test_atoms_of_very_different_size_are_dropped(heuslers):
    assert not passes(heuslers, {"rule": "size"}, "L2_1-Ca2BBi")


def test_the_price_cap_is_the_computed_price(heuslers):
    block = np.arange(0, 39270, 137)
    result = screen(spec({"rule": "price", "at_most_USD_per_kg": 100}), heuslers, block)
    prices = compute("price_USD_per_kg", [heuslers[int(i)] for i in block])
    np.testing.assert_array_equal(result.mask, prices <= 100)


def test_excluded_elements_are_dropped_and_no_others():
    space = build_space(
        {"kind": "prototype", "prototypes": [L2_1], "elements": {"*": ["Fe", "Al", "Be", "Tc", "Nd", "V"]}}
    )
    rule = {"rule": "exclude", "groups": ["radioactive", "rare_earth", "poisonous"], "elements": ["V"]}
    left = CandidatePool(space)
    left.absorb(np.flatnonzero(screen(spec(rule), space).mask))
    assert len(left) == 0
    rule["elements"] = []
    mask = screen(spec(rule), space).mask
    assert {space[int(i)].formula for i in np.flatnonzero(mask)} == {"Fe2VAl", "Al2VFe", "V2FeAl"}


def test_salts_must_be_neutral():
    space = build_space(PEROVSKITES)
    assert passes(space, {"rule": "charge"}, "perovskite-SrTiO3")
    assert passes(space, {"rule": "charge"}, "perovskite-CsPbI3")
    assert not passes(space, {"rule": "charge"}, "perovskite-NaAlO3")
    assert not passes(space, {"rule": "charge"}, "perovskite-SrZrF3")


def test_mixed_valence_is_neutral():
    rule = ChargeRule(rule="charge")
    amounts = np.array([[3.0, 4.0], [1.0, 4.0], [1.0, 1.0], [0.0, 1.0]])
    assert rule.passes(amounts, ["Fe", "O"]).tolist() == [True, False, True, False]


def test_the_tolerance_factor_keeps_strontium_titanate_and_drops_what_does_not_fit():
    space = build_space(PEROVSKITES)
    rule = {"rule": "tolerance_factor"}
    assert passes(space, rule, "perovskite-SrTiO3")
    assert passes(space, rule, "perovskite-CsPbI3")
    assert not passes(space, rule, "perovskite-CsZrO3")


def test_a_pool_is_screened_like_its_block(heuslers):
    block = np.arange(0, 39270, 311)
    pool = CandidatePool(heuslers)
    pool.absorb(block)
    rules = spec({"rule": "size", "max_mismatch": 0.1})
    np.testing.assert_array_equal(screen(rules, pool).mask, screen(rules, heuslers, block).mask)


def test_rules_over_a_space_without_compositions_are_refused():
    dials = build_space({"kind": "parameters", "parameters": {"t": {"low": 0, "high": 1}}})
    with pytest.raises(SpaceError, match="remove 'screening'"):
        screen(spec({"rule": "charge"}), CandidatePool(dials))


def test_mistakes_in_the_rules_are_refused():
    with pytest.raises(ValidationError, match="once"):
        spec({"rule": "size"}, {"rule": "size", "max_mismatch": 0.2})
    with pytest.raises(ValidationError, match="tolerance_factor"):
        spec({"rule": "weight"})
    with pytest.raises(ValidationError, match="greater than 0"):
        spec({"rule": "price", "at_most_USD_per_kg": 0})


def test_a_wrong_element_in_exclude_is_named(heuslers):
    with pytest.raises(UnknownNameError, match="'Qq'"):
        screen(spec({"rule": "exclude", "elements": ["Qq"]}), heuslers)
