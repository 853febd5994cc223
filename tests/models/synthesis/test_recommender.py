"""Precursors for a target, learnt from a small chemistry."""

from __future__ import annotations

import pytest

from models.errors import DataError, NotFittedError
from models.synthesis import recommender as module
from models.synthesis.literature import read_recipes
from models.synthesis.recommender import PrecursorRecommender
from tests.models.synthesis.recipes import sources, write_tables


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True, scope="module")
def _few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROUNDS", 20)
        yield


@pytest.fixture(scope="module")
def recommender(tables):
    made = PrecursorRecommender(members=1)
    made.fit(read_recipes(tables / "synthesis"))
    return made


def test_a_recipe_leaves_out_what_the_target_does_not_contain(tables):
    mined = [r for r in read_recipes(tables / "synthesis") if r.source == "mined"]
    assert mined and all("Al2O3" not in r.precursors for r in mined)


@pytest.mark.parametrize(
    ("target", "elements"),
    [("Ba0.9Sr0.1TiO3", ("Ba", "Sr", "Ti")), ("LaTi0.3Mn0.7O3", ("La", "Ti", "Mn")), ("CaMnO3", ("Ca", "Mn"))],
)
def test_a_new_target_is_made_from_what_its_kin_are_made_from(recommender, target, elements):
    assert recommender.recommend(target)[0].precursors == sources(elements)


def test_scores_fall_and_are_probabilities(recommender):
    scores = [one.score for one in recommender.recommend("SrMnO3", top=5)]
    assert len(scores) > 1
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) <= 1 + 1e-9


def test_a_formula_means_the_same_however_it_is_written(recommender):
    assert recommender.recommend("BaZr0.5Ti0.5O3") == recommender.recommend("Ba2(ZrTi)O6")


def test_nothing_is_made_from_itself(recommender):
    for target in ("BaCO3", "Co3O4", "BaTiO3"):
        assert all(target not in one.precursors for one in recommender.recommend(target))


def test_an_element_without_a_known_source_gets_no_set(recommender):
    assert recommender.recommend("BaUO4") == []


def test_what_is_no_formula_is_refused(recommender):
    with pytest.raises(DataError, match="Ba=TiO3"):
        recommender.recommend("Ba=TiO3")


def test_before_it_has_learnt_it_says_what_to_call():
    with pytest.raises(NotFittedError, match="load"):
        PrecursorRecommender().recommend("BaTiO3")


def test_it_trains_once_and_then_comes_from_the_cache(tables, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ATHANOR_DATA", str(tables))
    monkeypatch.setenv("ATHANOR_CACHE", str(tmp_path))
    first = PrecursorRecommender.load().recommend("SrTi0.7Mn0.3O3")
    assert "training" in capsys.readouterr().err
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
    monkeypatch.setattr(PrecursorRecommender, "fit", lambda *_: pytest.fail("trained again"))
    assert PrecursorRecommender.load().recommend("SrTi0.7Mn0.3O3") == first
    assert capsys.readouterr().err == ""


def test_a_damaged_cache_is_trained_again(tables, tmp_path, monkeypatch):
    monkeypatch.setenv("ATHANOR_DATA", str(tables))
    monkeypatch.setenv("ATHANOR_CACHE", str(tmp_path))
    first = PrecursorRecommender.load().recommend("CaTi0.7Mn0.3O3")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    assert PrecursorRecommender.load().recommend("CaTi0.7Mn0.3O3") == first


def test_without_data_it_says_what_to_set(monkeypatch):
    monkeypatch.delenv("ATHANOR_DATA", raising=False)
    with pytest.raises(DataError, match="set ATHANOR_DATA"):
        PrecursorRecommender.load()
