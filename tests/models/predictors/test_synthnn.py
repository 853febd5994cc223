"""Can it be made: learnt from a small chemistry in which only charge-balanced halides exist."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pandas as pd
import pytest

from controller.cli import main
from models.blocks.composition import parse
from models.errors import DataError, NotFittedError
from models.predictors import synthnn as module
from models.predictors.fired_compounds import FiredCompounds
from models.predictors.known_compounds import NAMES, KnownCompounds, compound
from models.predictors.synthnn import SynthNN, generate, read_calculated, read_compounds

ALKALI, EARTH, HALOGEN, CHALCOGEN = ("Li", "Na", "K", "Rb", "Cs"), ("Mg", "Ca", "Sr", "Ba"), ("F", "Cl", "Br", "I"), (
    "O", "S", "Se", "Te",
)  # fmt: skip


def made() -> list[str]:
    """Every compound of this world."""
    out = [f"{a}{x}" for a, x in itertools.product(ALKALI, HALOGEN)]
    out += [f"{e}{x}2" for e, x in itertools.product(EARTH, HALOGEN)]
    out += [f"{a}2{c}" for a, c in itertools.product(ALKALI, CHALCOGEN)]
    out += [f"{e}{c}" for e, c in itertools.product(EARTH, CHALCOGEN)]
    return out + [f"{a}{e}{x}3" for a, e, x in itertools.product(ALKALI, EARTH, HALOGEN)]


@pytest.fixture(autouse=True, scope="module")
def _few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROUNDS", 40)
        yield


@pytest.fixture
def tables(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "synthesizability"
    folder.mkdir(parents=True)
    pd.DataFrame({"formula": made()}).to_parquet(folder / "synthnn_positive_formulas.parquet")
    monkeypatch.setenv("ATHANOR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ATHANOR_CACHE", str(tmp_path / "cache"))
    return folder


def test_what_is_like_known_compounds_scores_above_what_is_not():
    hidden = {"KCl", "CaCl2", "RbSrBr3", "Na2Se", "SrS", "CsCaF3"}
    model = SynthNN()
    model.fit([compound(parse(f)) for f in made() if f not in hidden])
    good, _ = model.predict(sorted(hidden))
    bad, _ = model.predict(["KCa", "ClBr2", "Rb3Sr", "Na2K", "S3Cl", "FCa3Cs"])
    assert good.min() > bad.max()
    assert ((good > 0) & (good < 1)).all()


def test_a_known_compound_never_speaks_for_itself():
    known = [compound(parse(f)) for f in made()]
    one = compound(parse("KCaCl3"))
    with_it, without = KnownCompounds(known), KnownCompounds([k for k in known if k != one])
    assert np.allclose(with_it.features([one]), without.features([one]))


def test_kin_by_substitution_are_counted():
    index = KnownCompounds(compound(parse(f)) for f in ("NaCl", "KCl", "NaBr", "CaO"))
    (row,) = index.features([compound(parse("KBr"))])
    assert row[NAMES.index("kin")] == pytest.approx(np.log1p(2))  # KCl by the anion, NaBr by the cation


def test_generated_formulas_are_new_and_have_the_positives_elements_and_half_of_them_their_proportions():
    known = [compound(parse(f)) for f in made()]
    elements = {z for one in known for z, _ in one}
    patterns = {tuple(sorted(share for _, share in one)) for one in known}
    usual = {}
    for natural in (1.0, 0.5):
        drawn = generate(known, 300, np.random.default_rng(0), natural=natural)
        assert not set(drawn) & set(known)
        assert all({z for z, _ in one} <= elements for one in drawn)
        usual[natural] = np.mean([tuple(sorted(share for _, share in one)) in patterns for one in drawn])
    assert usual[1.0] == 1.0
    assert 0.4 < usual[0.5] < 0.8  # random integers may be like a known compound's


def test_the_command_line_scores_a_table_and_flags_what_is_no_formula(tables, tmp_path, monkeypatch):
    asked = ["KCl", "not a formula", "Rb3Sr", "KRbBr2"]
    pd.DataFrame({"formula": asked}).to_csv(tmp_path / "new.csv", index=False)
    command = ["predict", "synthnn", str(tmp_path / "new.csv"), "--out", str(tmp_path / "scores.csv")]
    assert main(command) == 0
    with (tmp_path / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["formula"] for row in rows] == asked
    assert rows[0]["flag"] == "has a record" and float(rows[0]["probability"]) >= 0.99
    assert rows[1]["probability"] == "" and "not a formula" in rows[1]["flag"]
    assert 0 <= float(rows[2]["probability"]) < 0.5
    first = (tmp_path / "scores.csv").read_text()
    monkeypatch.setattr(SynthNN, "fit", lambda *_: pytest.fail("trained again"))
    assert main(command) == 0
    assert (tmp_path / "scores.csv").read_text() == first


def test_labelled_formulas_come_before_the_energies_of_an_older_release(tables):
    pd.DataFrame({"formula": ["KCl", "KRb3Cl2", "Na3Cl"]}).to_parquet(tables / "mp_ehull_by_formula.parquet")
    older = read_compounds(tables)[1]
    assert older == read_calculated(tables) == [compound(parse("KRb3Cl2")), compound(parse("Na3Cl"))]
    labelled = pd.DataFrame({"formula": ["CsAu", "K2O5", "K3O7"], "label": ["P", "U", "U"]})
    labelled.to_parquet(tables / "pu_compositions.parquet")
    positives, unlabelled, _ = read_compounds(tables)
    assert compound(parse("CsAu")) in positives
    assert unlabelled == [compound(parse("K2O5")), compound(parse("K3O7"))]
    assert read_calculated(tables) == [*unlabelled, *older]


def test_calculated_compounds_speak_for_others_and_are_not_taken_for_made(tables):
    positives = [compound(parse(f)) for f in made()]
    asked, kin = compound(parse("Rb3Cl")), compound(parse("Cs3Cl"))
    rows = []
    for calculated in ((), (kin,)):
        model = SynthNN()
        model.fit(positives, calculated=calculated)
        rows.append(model.features([asked])[0])
        assert not model.has_record(kin)
    changed = np.flatnonzero(rows[0] != rows[1])
    assert len(NAMES) + NAMES.index("kin") in changed and changed.min() >= len(NAMES)
    again = SynthNN()
    again.restore(*model.arrays())
    assert np.array_equal(again.features([asked])[0], rows[1])


def test_without_data_it_says_what_to_set(monkeypatch):
    monkeypatch.delenv("ATHANOR_DATA", raising=False)
    with pytest.raises(DataError, match="set ATHANOR_DATA"):
        SynthNN.load()


def test_before_it_has_learnt_it_says_what_to_call():
    with pytest.raises(NotFittedError, match="load"):
        SynthNN().predict(["KCl"])


def test_recipes_near_an_oxide_say_that_a_furnace_makes_it():
    fired = FiredCompounds([compound(parse(f)) for f in ("BaTiO3", "SrTiO3", "BaZrO3", "LiCoO2")])
    near, far, itself = (compound(parse(f)) for f in ("SrZrO3", "KRuO4", "BaTiO3"))
    row = fired.features([near, far, itself])
    nearest = row[:, 0]
    assert nearest[1] < nearest[0] < nearest[2] == pytest.approx(1.0)
    assert row[:, -1].tolist() == [0.0, 0.0, 1.0]
    hidden = fired.features([itself], look_up=False)
    others = FiredCompounds([compound(parse(f)) for f in ("SrTiO3", "BaZrO3", "LiCoO2")]).features([itself])
    assert hidden[0, -1] == 0.0
    assert hidden[0, 0] == pytest.approx(others[0, 0])
    assert not FiredCompounds([]).features([near]).any()


def test_a_record_elsewhere_is_looked_up_and_teaches_nothing():
    recorded = compound(parse("CaCl3"))
    known = [compound(parse(f)) for f in made()]
    with_it, without = SynthNN(), SynthNN()
    with_it.fit(known, recorded=[recorded])
    without.fit(known)
    assert with_it.predict(["CaCl3"])[1] == ["has a record"]
    (told,), (guessed,) = with_it.probability([recorded]), without.probability([recorded])
    assert told / (1 - told) == pytest.approx(50 * guessed / (1 - guessed))
    asked = [recorded, compound(parse("Rb3Sr"))]
    assert np.array_equal(with_it.probability(asked, look_up=False), without.probability(asked))


def test_a_compound_is_compared_with_all_of_its_pattern_and_not_with_itself():
    index = KnownCompounds(compound(parse(f)) for f in ("NaCl", "KCl", "CaO", "BaCl2"))
    alike = [NAMES.index("alike"), NAMES.index("most_alike")]
    rows = index.features([compound(parse(f)) for f in ("RbBr", "RbBr3", "NaCl")])[:, alike]
    assert (rows[0] > 0).all() and not rows[1].any()
    assert 0 < rows[2, 1] < 1


def test_elements_that_change_places_in_known_compounds_stand_for_one_another():
    pairs = [("Na", x) for x in HALOGEN] + [("Tl", x) for x in HALOGEN]
    index = KnownCompounds(compound(parse(a + x)) for a, x in [*pairs, ("Na", "H"), ("Cs", "Au")])
    most = NAMES.index("most_exchangeable")
    asked = index.features([compound(parse(f)) for f in ("TlH", "CsH")])[:, most]
    assert asked[0] > 0.3 > asked[1]
