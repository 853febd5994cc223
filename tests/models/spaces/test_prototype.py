import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import SpaceError, UnknownNameError
from models.roles import Condition, Generator
from models.spaces import build_space
from models.spaces.prototype import decoration_count
from tests.models.prototypes import ELEMENTS, L2_1, PEROVSKITE, XA

spglib_warns = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
"""spglib 2.6 and later warns of its own default in every call that pymatgen makes."""


def space_of(prototypes, elements, **settings):
    return build_space({"kind": "prototype", "prototypes": prototypes, "elements": elements, **settings})


def conventional_a(candidate, cells=4):
    return (cells * abs(np.linalg.det(candidate.crystal.lattice_A))) ** (1 / 3)


def matcher():
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(scale=True, primitive_cell=True)


# -- counting --------------------------------------------------------------------------------------------------------


def test_the_main_campaign_has_39270_different_heuslers(heuslers):
    n = len(ELEMENTS)
    assert n == 35
    assert heuslers.size == n * (n - 1) * (n - 2) == 39270 == 2 * decoration_count(n, 3, [2])
    assert len({heuslers.name_of(i) for i in range(heuslers.size)}) == heuslers.size


@settings(deadline=None)
@given(st.data())
def test_a_space_holds_every_decoration_once_up_to_equivalence(data):
    pool = ["Fe", "Co", "Mn", "Al", "Si", "Ga"]
    lists = {label: data.draw(st.lists(st.sampled_from(pool), min_size=1, unique=True)) for label in "XYZ"}
    distinct, exchange = data.draw(st.booleans()), data.draw(st.booleans())
    prototype = {**L2_1, "equivalent": [["Y", "Z"]] if exchange else []}

    def crystal(x, y, z):
        return (x, frozenset([y, z])) if exchange else (x, y, z)

    expected = {
        crystal(*trio)
        for trio in itertools.product(lists["X"], lists["Y"], lists["Z"])
        if not distinct or len(set(trio)) == 3
    }
    if not expected:
        with pytest.raises(SpaceError, match="space is empty"):
            space_of([prototype], lists, distinct=distinct)
        return
    space = space_of([prototype], lists, distinct=distinct)
    sites = [[space.elements[j] for j in space.sites_at(np.arange(space.size), label)] for label in "XYZ"]
    found = [crystal(*trio) for trio in zip(*sites, strict=True)]
    assert len(found) == len(set(found))
    assert set(found) == expected
    names = [f"L2_1-{x}2{y}{z}" for x, y, z in zip(*sites, strict=True)]
    assert [space.index_of(name) for name in names] == list(range(space.size))


def test_a_name_leads_to_its_candidate(heuslers):
    for i in range(0, heuslers.size, 1009):
        assert heuslers.index_of(heuslers.name_of(i)) == i == heuslers.index_of(heuslers[i])
        assert heuslers[i].id == heuslers.name_of(i)


@given(st.integers(3, 12), st.integers(1, 3))
def test_the_closed_form_counts_what_is_enumerated(n, groups):
    labels = [f"S{k}" for k in range(groups + 1)]
    prototype = {
        "name": "line",
        "spacegroup": 1,
        "lattice": {"a": 3.0 * len(labels), "b": 3.1, "c": 3.2},
        "sites": {label: [[k / len(labels), 0, 0]] for k, label in enumerate(labels)},
        "equivalent": [labels[:2]],
    }
    expected = decoration_count(n, len(labels), [2])
    if expected:
        assert space_of([prototype], {"*": ELEMENTS[:n]}).size == expected


def test_three_equivalent_sites_are_one_crystal_a_set():
    prototype = {**XA, "name": "three", "equivalent": [["X", "Y", "Z"]]}
    assert space_of([prototype], {"*": ELEMENTS[:7]}).size == decoration_count(7, 3, [3]) == 35


def test_a_space_that_is_too_large_is_refused_before_it_is_made():
    many = {label: [[k / 6, 0.1, 0.2]] for k, label in enumerate("ABCDEF")}
    with pytest.raises(SpaceError, match="shorten the element lists"):
        space_of([{"name": "big", "spacegroup": 1, "a_A": 20, "sites": many}], {"*": ELEMENTS})


# -- crystals --------------------------------------------------------------------------------------------------------


def test_a_heusler_has_four_atoms_in_its_primitive_cell(heuslers):
    for name in ("L2_1-Co2MnSi", "XA-Co2MnSi"):
        candidate = heuslers[heuslers.index_of(name)]
        assert candidate.id == name
        assert candidate.composition == {"Co": 2, "Mn": 1, "Si": 1}
        assert candidate.sites == {"X": "Co", "Y": "Mn", "Z": "Si"}
        assert candidate.formula == "Co2MnSi"
        assert sorted(candidate.crystal.species) == ["Co", "Co", "Mn", "Si"]


@spglib_warns
@pytest.mark.parametrize(
    ("name", "group"), [("L2_1-Co2MnSi", "Fm-3m"), ("XA-Mn2CoAl", "F-43m"), ("XA-Cu2MnAl", "F-43m")]
)
def test_a_decoration_keeps_the_symmetry_of_its_prototype(heuslers, name, group):
    structure = heuslers[heuslers.index_of(name)].crystal.to_pymatgen()
    assert structure.get_space_group_info()[0] == group


def test_the_two_orderings_of_one_composition_differ(heuslers):
    for formula in ("Co2MnSi", "Fe2VAl", "Ni2MnGa"):
        one, other = (heuslers[heuslers.index_of(f"{p}-{formula}")].crystal.to_pymatgen() for p in ("L2_1", "XA"))
        assert not matcher().fit(one, other)


@pytest.mark.parametrize("prototype", [L2_1, XA], ids=lambda p: p["name"])
def test_exchanging_equivalent_sites_gives_the_same_crystal(prototype):
    free = space_of([{**prototype, "equivalent": []}], {"*": ["Co", "Mn", "Si"]})
    assert free.size == 6
    name = prototype["name"]
    one, other = free[free.index_of(f"{name}-Co2MnSi")], free[free.index_of(f"{name}-Co2SiMn")]
    assert matcher().fit(one.crystal.to_pymatgen(), other.crystal.to_pymatgen())
    third = free[free.index_of(f"{name}-Mn2CoSi")]
    assert not matcher().fit(one.crystal.to_pymatgen(), third.crystal.to_pymatgen())


def test_equivalent_sites_may_be_written_in_any_order(heuslers):
    assert heuslers.index_of("L2_1-Co2SiMn") == heuslers.index_of("L2_1-Co2MnSi")
    assert heuslers.index_of("XA-Mn2PtPd") == heuslers.index_of("XA-Mn2PdPt")


@pytest.mark.parametrize(
    ("name", "a_A"), [("L2_1-Co2MnSi", 5.65), ("L2_1-Ni2MnGa", 5.82), ("L2_1-Cu2MnAl", 5.95), ("L2_1-Fe2VAl", 5.76)]
)
def test_the_unrelaxed_cell_is_near_the_measured_one(heuslers, name, a_A):
    assert conventional_a(heuslers[heuslers.index_of(name)]) == pytest.approx(a_A, rel=0.06)


def test_the_unrelaxed_cells_of_a_thousand_heuslers_are_near_dft(athanor_data):
    import pandas as pd

    table = pd.read_csv(athanor_data / "compositions" / "heusler_full.csv.gz")
    different = (table.X != table.Y) & (table.X != table.Z) & (table.Y != table.Z)
    table = table[(table.structure_type == "l21") & ~table.suspect_row & different]
    space = space_of([L2_1], {"*": sorted({*table.X, *table.Y, *table.Z})})
    rows = [(space.index_of(f"L2_1-{r.X}2{r.Y}{r.Z}"), r.lattice_parameter_ang) for r in table.itertuples()]
    indices, measured = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    guessed = (16 * space.volumes_A3_per_atom(indices)) ** (1 / 3)
    error = guessed / measured - 1
    assert len(rows) > 1000
    assert abs(np.median(error)) < 0.01
    assert np.quantile(np.abs(error), 0.95) < 0.05


def test_a_perovskite_a_half_heusler_and_a_rock_salt_decorate_too():
    perovskites = space_of([PEROVSKITE], {"A": ["Sr", "Ba", "K"], "B": ["Ti", "Zr", "Nb"], "X": ["O", "F"]})
    assert perovskites.size == 18
    srtio3 = perovskites[perovskites.index_of("perovskite-SrTiO3")]
    assert srtio3.composition == {"Sr": 1, "Ti": 1, "O": 3}
    assert conventional_a(srtio3, 1) == pytest.approx(3.905, rel=0.05)

    half = {
        "name": "half",
        "spacegroup": "F-43m",
        "a_A": 6,
        "sites": {"X": [[0.25, 0.25, 0.25]], "Y": [[0, 0, 0]], "Z": [[0.5, 0.5, 0.5]]},
        "equivalent": [["Y", "Z"]],
    }
    halves = space_of([half], {"*": ["Ni", "Ti", "Sn", "Zr", "Co", "Sb"]})
    assert halves.size == decoration_count(6, 3, [2])
    tinisn = halves[halves.index_of("half-NiTiSn")]
    assert len(tinisn.crystal.species) == 3
    # A quarter of the sites is empty, so that summed atomic volumes make the cell of a half-Heusler too small.
    assert conventional_a(tinisn) == pytest.approx(5.93, rel=0.07)

    salt = {"name": "salt", "spacegroup": 225, "a_A": 5.6, "sites": {"A": [[0, 0, 0]], "B": [[0.5, 0.5, 0.5]]}}
    salts = space_of([salt], {"A": ["Na", "K", "Mg"], "B": ["Cl", "O"]})
    assert salts.size == 6
    assert conventional_a(salts[salts.index_of("salt-NaCl")]) == pytest.approx(5.64, rel=0.05)
    assert conventional_a(salts[salts.index_of("salt-MgO")]) == pytest.approx(4.21, rel=0.05)
    for space in (perovskites, halves, salts):
        assert np.isfinite(space.features_block(0, space.size)).all()


def test_prototypes_with_different_labels_share_one_space():
    space = space_of([L2_1, PEROVSKITE], {"*": ["Fe", "Co", "Al", "Si"]})
    features = space.features_block(0, space.size)
    assert features.shape == (12 + 24, len(space.feature_names))
    assert np.isfinite(features).all()


@spglib_warns
def test_a_structure_file_is_a_prototype(tmp_path, heuslers):
    known = heuslers[heuslers.index_of("L2_1-Co2MnSi")].crystal.to_pymatgen()
    known.to(filename=str(tmp_path / "co2mnsi.cif"))
    spec = {
        "kind": "prototype",
        "prototypes": [
            {"name": "mine", "file": "co2mnsi.cif", "sites": {"Co": "X", "Mn": "Y", "Si": "Z"}, "rescale": False}
        ],
        "elements": {"X": ["Fe", "Ni"], "Y": ["V"], "Z": ["Al"]},
    }
    space = build_space(spec, tmp_path)
    fe2val = space[space.index_of("mine-Fe2VAl")]
    assert conventional_a(fe2val) == pytest.approx(conventional_a(heuslers[heuslers.index_of("L2_1-Co2MnSi")]))
    assert fe2val.crystal.to_pymatgen().get_space_group_info()[0] == "Fm-3m"

    spec["prototypes"][0]["sites"] = {"Co": "X", "Mn": "Y", "Ge": "Z"}
    with pytest.raises(SpaceError, match="sites names"):
        build_space(spec, tmp_path)[0]
    spec["prototypes"][0]["file"] = "missing.cif"
    with pytest.raises(SpaceError, match="does not exist"):
        build_space(spec, tmp_path)[0]
    (tmp_path / "missing.cif").write_text("nonsense")
    with pytest.raises(SpaceError, match="not a readable CIF"):
        build_space(spec, tmp_path)[0]


def test_sites_that_coincide_are_refused():
    twice = {**L2_1, "sites": {**L2_1["sites"], "X": [[0.25, 0.25, 0.25], [0.75, 0.75, 0.75]]}}
    with pytest.raises(SpaceError, match=r"coincide|not a crystal"):
        space_of([twice], {"*": ["Co", "Mn", "Si"]})[0]
    with pytest.raises(SpaceError, match="not a crystal"):
        space_of([{**L2_1, "spacegroup": "Fm-4m"}], {"*": ["Co", "Mn", "Si"]})[0]


# -- features and proposals ------------------------------------------------------------------------------------------


def test_features_are_finite_named_and_tell_every_candidate_apart(heuslers):
    features = heuslers.features_block(0, heuslers.size)
    assert features.shape == (39270, len(heuslers.feature_names))
    assert 25 <= len(heuslers.feature_names) == len(set(heuslers.feature_names)) <= 40
    assert np.isfinite(features).all()
    assert len(np.unique(features.round(9), axis=0)) == heuslers.size


def test_features_of_candidates_are_those_of_their_numbers(heuslers):
    picked = [3, 20000, 39269]
    block = np.vstack([heuslers.features_block(i, i + 1) for i in picked])
    np.testing.assert_array_equal(heuslers.featurize([heuslers[i] for i in picked]), block)
    assert heuslers.featurize([]).shape == (0, len(heuslers.feature_names))


def test_features_do_not_depend_on_the_order_of_equivalent_sites():
    free = space_of([{**L2_1, "equivalent": []}], {"*": ["Co", "Mn", "Si"]})
    grouped = space_of([L2_1], {"*": ["Co", "Mn", "Si"]})
    composition = [n for n in grouped.feature_names if n in free.feature_names]
    a, b = (free.featurize([free[free.index_of(n)]])[0] for n in ("L2_1-Co2MnSi", "L2_1-Co2SiMn"))
    column = [free.feature_names.index(n) for n in composition]
    assert len(composition) > 15
    np.testing.assert_allclose(a[column], b[column])


def test_the_slater_pauling_count_of_co2mnsi_is_five_electrons_a_cell(heuslers):
    row = heuslers.featurize([heuslers[heuslers.index_of("L2_1-Co2MnSi")]])[0]
    assert row[heuslers.feature_names.index("slater_pauling")] * 4 == pytest.approx(5.0)


def test_two_orderings_differ_by_who_touches_whom(heuslers):
    regular, inverse = heuslers.templates
    assert regular.contacts.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(regular.contacts, regular.contacts.T)
    assert regular.contacts[0, 1] > inverse.contacts[0, 1], "in the regular order, X touches Y and Z most"
    assert inverse.contacts[0, 0] > regular.contacts[0, 0], "in the inverse order, X touches X"


def test_every_candidate_is_proposed_once(heuslers):
    assert isinstance(heuslers, Generator)
    given_out = [heuslers.propose_indices(1000, Condition(seed=5, offset=k)) for k in range(0, 40000, 1000)]
    assert sorted(np.concatenate(given_out).tolist()) == list(range(heuslers.size))
    assert heuslers.propose(10, Condition(seed=5, offset=heuslers.size)) == []
    first = [c.id for c in heuslers.propose(3, Condition(seed=5))]
    assert first == [heuslers.name_of(int(i)) for i in given_out[0][:3]]
    assert first != [c.id for c in heuslers.propose(3, Condition(seed=6))]


def test_a_name_that_is_not_in_the_space_is_refused_with_a_reason(heuslers):
    for name in ("L2_1-Co2MnXe", "L2_1-Co2Mn", "L2_1-Co2CoSi", "row-3", "D0_3-Fe3Al", ""):
        with pytest.raises(UnknownNameError):
            heuslers.index_of(name)
    with pytest.raises(IndexError):
        heuslers[39270]
    with pytest.raises(IndexError):
        heuslers.features_block(-1, 2)
