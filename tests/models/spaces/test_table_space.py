import gzip

import numpy as np
import pytest

from models.candidate import Candidate
from models.errors import DataError, UnknownNameError
from models.pool import CandidatePool
from models.roles import Condition, Generator
from models.spaces import build_space

CSV = """temperature_C,solvent,n,yield
100,water,1,0.5
100,water,1,0.6
200,ethanol,2,0.7
100,ethanol,1,
200,water,2,0.1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    return tmp_path


def table(folder, outcomes=("yield",), **spec):
    return build_space({"kind": "table", "file": "t.csv", **spec}, folder, outcomes)


def test_rows_with_equal_parameters_are_one_candidate(folder):
    space = table(folder)
    assert isinstance(space, Generator)
    assert space.size == 4
    assert [space.name_of(i) for i in range(4)] == ["row-0", "row-2", "row-3", "row-4"]
    assert space[1].parameters == {"temperature_C": 200, "solvent": "ethanol", "n": 2}
    assert [space.index_of(space[i]) for i in range(4)] == [0, 1, 2, 3]


def test_numbers_stay_and_texts_become_one_hot(folder):
    space = table(folder)
    assert space.feature_names == ("temperature_C", "solvent=ethanol", "solvent=water", "n")
    features = {n: space.features_block(0, 4)[:, j].tolist() for j, n in enumerate(space.feature_names)}
    assert features["temperature_C"] == [100, 200, 100, 200]
    assert features["solvent=water"] == [1, 0, 0, 1]
    assert features["solvent=ethanol"] == [0, 1, 1, 0]


def test_named_parameters_leave_the_other_columns_out(folder):
    space = table(folder, parameters=["temperature_C"])
    assert space.size == 2
    assert space[0].parameters == {"temperature_C": 100}


def test_every_row_is_proposed_once_in_seeded_order(folder):
    space = table(folder)
    assert sorted(c.id for c in space.propose(10, Condition(seed=0))) == ["row-0", "row-2", "row-3", "row-4"]
    assert space.propose(10, Condition(seed=0, offset=4)) == []


def test_a_numeric_parameter_may_be_an_objective(folder):
    pool = CandidatePool(table(folder))
    pool.absorb(np.arange(4))
    assert pool.computed("temperature_C").tolist() == [100, 200, 100, 200]
    with pytest.raises(UnknownNameError):
        pool.computed("solvent")


def test_gzip_and_parquet_read_alike(folder):
    import pandas as pd

    with gzip.open(folder / "t.csv.gz", "wt") as stream:
        stream.write(CSV)
    pd.read_csv(folder / "t.csv").to_parquet(folder / "t.parquet")
    one, two, three = (table(folder, file=f) for f in ("t.csv", "t.csv.gz", "t.parquet"))
    np.testing.assert_array_equal(one.features_block(0, 4), two.features_block(0, 4))
    np.testing.assert_array_equal(one.features_block(0, 4), three.features_block(0, 4))


def test_a_formula_column_is_chemistry_not_text(folder):
    (folder / "t.csv").write_text("formula,T_C,s\nLi2MgCl4,450,1\nLi2Co0.5Fe0.5Cl4,450,2\nLi2MgCl4,500,3\n")
    space = table(folder, outcomes=("s",), composition="formula")
    assert space.size == 3
    assert space.elements == ("Li", "Mg", "Cl", "Fe", "Co")
    assert space[1].composition == {"Li": 2, "Co": 0.5, "Fe": 0.5, "Cl": 4}
    assert space[1].parameters == {"formula": "Li2Co0.5Fe0.5Cl4", "T_C": 450}
    assert "fraction_Co" in space.feature_names
    features = space.features_block(0, 3)
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == 3
    pool = CandidatePool(space)
    pool.absorb(np.arange(3))
    assert pool.computed("hhi")[0] == pool.computed("hhi")[2] != pool.computed("hhi")[1]


def test_a_path_may_hold_an_environment_variable(folder, monkeypatch):
    monkeypatch.setenv("MY_TABLES", str(folder))
    assert build_space({"kind": "table", "file": "${MY_TABLES}/t.csv"}, "/", ("yield",)).size == 4
    monkeypatch.delenv("MY_TABLES")
    with pytest.raises(DataError, match="MY_TABLES is not set"):
        build_space({"kind": "table", "file": "${MY_TABLES}/t.csv"}, "/", ("yield",))


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        (None, {"file": "missing.csv"}, "there is no table"),
        (None, {"parameters": ["temperature_K"]}, r"no column \['temperature_K'\].*temperature_C"),
        (None, {"parameters": ["temperature_C", "yield"]}, "cannot be parameters too"),
        (None, {"composition": "solvent"}, "row 0 .line 2., column 'solvent'.*not a formula"),
        ("a,yield\n1,2\n,3\n", {}, "row 1 .line 3. has no finite value in parameter 'a'"),
        ("a,yield\n1,2\ninf,3\n", {}, "row 1 .line 3. has no finite value in parameter 'a'"),
        ("a,b\n1,2\n", {}, "no column 'yield' for an objective"),
        ("yield\n1\n", {}, "no column besides"),
        ("a,yield\n", {}, "no rows"),
        ("", {}, "cannot be read"),
        ("a,yield\n" + "".join(f"name{i},1\n" for i in range(300)), {}, "300 different texts"),
    ],
)
def test_a_table_that_cannot_be_used_says_where_and_what_to_do(folder, text, spec, message):
    if text is not None:
        (folder / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        table(folder, **spec)


def test_an_unknown_row_is_refused(folder):
    space = table(folder)
    with pytest.raises(UnknownNameError, match="row-1"):
        space.index_of("row-1")


def test_a_row_from_elsewhere_has_features_where_the_table_knows_its_words(folder):
    space = table(folder)
    parameters = {"temperature_C": 150, "solvent": "ethanol", "n": 3}
    old = Candidate(id="prior-0", parameters=parameters)
    known, foreign = space.featurize([space[0], old])
    assert known.tolist() == space.features_at(np.array([0]))[0].tolist()
    assert dict(zip(space.feature_names, foreign.tolist(), strict=True)) == {
        "temperature_C": 150,
        "solvent=ethanol": 1,
        "solvent=water": 0,
        "n": 3,
    }
    for wrong, said in (({**parameters, "solvent": "acetone"}, "acetone"), ({"solvent": "water"}, "temperature_C")):
        with pytest.raises(DataError, match=said):
            space.featurize([Candidate(id="prior-1", parameters=wrong)])


@pytest.mark.parametrize(
    ("file", "outcome", "settings"),
    [("AgNP", "loss", 164), ("AutoAM", "Score", 100), ("Crossed_barrel", "toughness", 600)],
)
def test_the_published_campaigns_load(athanor_data, file, outcome, settings):
    spec = {"kind": "table", "file": f"{athanor_data}/campaigns/liang2021/{file}.csv"}
    space = build_space(spec, outcomes=(outcome,))
    assert space.size == settings
    assert np.isfinite(space.features_block(0, space.size)).all()
